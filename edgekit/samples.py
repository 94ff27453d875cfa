"""Samples: inputs, again and again, some to calibrate with and others to judge by."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import io
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edgekit import strict
from edgekit.errors import SamplesError
from edgekit.model import Preprocess, Signature, Tensor, file_sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.lib.npyio import NpzFile
    from numpy.typing import NDArray
    from PIL import Image

    Feed = dict[str, NDArray[np.generic]]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
DESCRIPTION_FILE = "samples.toml"
SPLIT_SEED = 0
LARGEST_SIDE = 8192


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A samples file, as people write it.

    Attributes:
        schema: version of this file format.
        name: what reports call these samples.
        kind: pictures, or ``.npz`` files with one array per input name.
        path: folder of the samples, relative to this file.
        licence: of the samples.
        sha256: of the samples; if given, other samples are refused.
        calibrate: how many calibrate, drawn with a fixed seed; the others judge. Half of them if not given.
        calibrate_files: the files that calibrate, instead: patterns such as ``unlabelled/*.png``, relative to ``path``.
        fetch: how to get the samples, told to whoever does not have them.
        labels: what the classes are called: a file with one name a line.
        preprocess: from a picture to the network's input; fills an empty signature only.
    """

    schema: Literal[1]
    name: str
    kind: Literal["images", "arrays"] = "images"
    path: str = "."
    licence: str = ""
    sha256: str = ""
    calibrate: int | None = None
    calibrate_files: tuple[str, ...] = ()
    fetch: str = ""
    labels: str = ""
    preprocess: Preprocess | None = None


class Sample(msgspec.Struct, frozen=True):
    """One file, and its class index where that is known."""

    path: Path
    label: int | None = None


class Samples(msgspec.Struct, frozen=True):
    """Files that become feeds of a model; read anew each time, one at a time.

    Attributes:
        name: what reports call them.
        kind: pictures or arrays.
        calibrating: these calibrate.
        judging: these judge; none of them calibrates.
        preprocess: what the description says; fills an empty signature only.
        label_names: of the classes, if known.
        licence: of the samples.
        sha256: over all files and labels, in order, and the split.
        skipped: files left out because they could not be read, with the reason.
    """

    name: str
    kind: Literal["images", "arrays"]
    calibrating: tuple[Sample, ...]
    judging: tuple[Sample, ...]
    sha256: str
    preprocess: Preprocess | None = None
    label_names: tuple[str, ...] = ()
    licence: str = ""
    skipped: tuple[str, ...] = ()

    def feeds(self, part: Literal["calibrating", "judging"], signature: Signature) -> Iterator[Feed]:
        """Each sample of a part as arrays by input name, batch of one, in the signature's shape and layout.

        Raises:
            SamplesError: a file cannot be read or does not fit the signature.
        """
        for sample in self.calibrating if part == "calibrating" else self.judging:
            yield feed_of(sample.path, self.kind, signature)


def read_samples(path: Path, *, skip_bad: bool = False) -> Samples:
    """Samples of a folder or of a samples file.

    A folder holds pictures (with ``labels.csv``, columns ``file`` and ``class_index``, or in folders by class), or ``.npz``
    files; it may hold ``samples.toml``. Which files calibrate is drawn with a fixed seed, so it is the same every time.

    Args:
        path: the folder, or a ``.toml`` file.
        skip_bad: leave unreadable files out instead of refusing all.

    Raises:
        SamplesError: nothing usable is there, or a file cannot be read (all bad files are named at once).
    """
    file = path / DESCRIPTION_FILE if path.is_dir() else path
    if not path.exists():
        raise SamplesError(f"{path}: no such folder or file", hint="--samples takes a folder of pictures or .npz files, or a samples .toml")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise SamplesError(f"{path}: permission denied", hint="let yourself read it: chmod u+rX")
    if not path.is_dir() and path.suffix != ".toml":
        raise SamplesError(f"{path}: not a folder and not a .toml file", hint="put the samples into a folder, or describe them in a .toml")
    if file.exists():
        described = strict.read(file, Description)
        folder = (file.parent / described.path).absolute()
    else:
        described = Description(schema=1, name=path.resolve().name, kind=_kind_in(path))
        folder = path.absolute()  # children that read samples have working directories of their own
    faults = preprocess_faults(described.preprocess) if described.preprocess is not None else []
    if faults:
        raise SamplesError(f"{file}: preprocess: " + "; ".join(faults), hint="correct [preprocess]")
    if described.fetch and not folder.is_dir():
        raise SamplesError(f"{folder}: the samples {described.name} are not there", hint=described.fetch)
    found = _find(folder, described.kind)
    good, bad = _sift(found, described.kind, thoroughly=skip_bad)
    if bad and not skip_bad:
        more = f" (and {len(bad) - 5} more)" if len(bad) > 5 else ""
        raise SamplesError(
            f"{len(bad)} of {len(found)} samples cannot be read: " + "; ".join(bad[:5]) + more,
            hint="remove or replace them, or leave them out with --skip-bad-samples",
        )
    return _split(described, folder, good, tuple(bad))


def _kind_in(folder: Path) -> Literal["images", "arrays"]:
    suffixes = {path.suffix.lower() for path in folder.rglob("*") if path.is_file()}
    if ".npz" in suffixes and suffixes & IMAGE_SUFFIXES:
        raise SamplesError(f"{folder}: pictures and .npz files", hint=f"keep one kind, or say which in {folder / DESCRIPTION_FILE}: kind = …")
    return "arrays" if ".npz" in suffixes else "images"


def _find(folder: Path, kind: str) -> list[Sample]:
    if not folder.is_dir():
        raise SamplesError(f"{folder}: no such folder", hint="correct `path` in the samples file")
    suffixes = IMAGE_SUFFIXES if kind == "images" else frozenset({".npz"})
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not files:
        known = ", ".join(sorted({*suffixes, ".npz"}))
        raise SamplesError(f"{folder}: no {'pictures' if kind == 'images' else '.npz files'} in it", hint=f"samples are files of {known}")
    labels = folder / "labels.csv"
    if labels.exists():
        by_name = _read_labels(labels)
        names = {path.relative_to(folder).as_posix() for path in files}
        if by_name and not names & by_name.keys():
            raise SamplesError(f"{labels}: none of its files is there", hint=f"names are relative to {folder}, such as {min(names)}")
        return [Sample(path=path, label=by_name.get(path.relative_to(folder).as_posix())) for path in files]
    classes = sorted({path.parent for path in files} - {folder})
    if classes and all(path.parent in classes for path in files):
        labels_of = _class_indices(classes)
        return [Sample(path=path, label=labels_of[path.parent]) for path in files]
    return [Sample(path=path) for path in files]


def _class_indices(folders: list[Path]) -> dict[Path, int]:
    """Class folders named by numbers are those classes; others count in the order of their names, as torchvision's ImageFolder has it."""
    if all(folder.name.isdigit() for folder in folders):
        return {folder: int(folder.name) for folder in folders}
    return {folder: index for index, folder in enumerate(folders)}


def _read_labels(path: Path) -> dict[str, int]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SamplesError(f"{path}: not UTF-8 text", hint="save it as UTF-8; spreadsheets call that CSV UTF-8") from error
    with io.StringIO(text, newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"file", "class_index"} <= set(rows.fieldnames or ()):
            raise SamplesError(f"{path}: needs the columns file,class_index", hint=f"its first line is {','.join(rows.fieldnames or ())}")
        try:
            return {row["file"].removeprefix("./"): int(row["class_index"]) for row in rows}
        except (ValueError, TypeError) as error:
            raise SamplesError(
                f"{path}:{rows.line_num}: class_index is not a number", hint="class indices count from 0, as the model's outputs do"
            ) from error


def _sift(found: list[Sample], kind: str, *, thoroughly: bool) -> tuple[list[Sample], list[str]]:
    """Which samples can be read at all.

    Without ``thoroughly`` a picture's two ends are looked at and its pixels are left to whoever feeds them, who refuses
    what cannot be decoded; whoever wants to leave bad samples out must know all of them now, so each is decoded.
    """
    good, bad = [], []
    for sample in found:
        reason = _broken_image(sample.path) if kind == "images" else _broken_arrays(sample.path)
        if thoroughly and not reason:
            reason = _undecodable(sample.path) if kind == "images" else _damaged_arrays(sample.path)
        if reason:
            bad.append(f"{sample.path.name}: {reason}")
        else:
            good.append(sample)
    return good, bad


def _damaged_arrays(path: Path) -> str:
    try:
        with _loaded(path) as held:
            for name in held.files:
                _array_of(held, name, path)
    except SamplesError as error:
        return error.message.removeprefix(f"{path}: ")
    return ""


def _undecodable(path: Path) -> str:
    try:
        _opened(path)
    except SamplesError as error:
        return error.message.removeprefix(f"{path}: ")
    return ""


def _broken_image(path: Path) -> str:
    """Why a picture cannot be decoded; "" if it can. A cheap look at both ends of the file: pixels are decoded when fed."""
    with path.open("rb") as stream:
        head = stream.read(12)
        stream.seek(0, 2)
        size = stream.tell()
        stream.seek(max(0, size - 4096))
        tail = stream.read()
    if size == 0:
        return "empty file"
    known = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"P5", b"P6")
    if not head.startswith(known):
        return "not a picture"
    if head.startswith(b"\xff\xd8\xff") and b"\xff\xd9" not in tail:
        return "JPEG cut short"
    if head.startswith(b"\x89PNG") and b"IEND" not in tail:
        return "PNG cut short"
    return ""


def _broken_arrays(path: Path) -> str:
    import zipfile

    return "" if zipfile.is_zipfile(path) else "not an .npz file"


def _split(described: Description, folder: Path, good: list[Sample], skipped: tuple[str, ...]) -> Samples:
    if len(good) < 2:
        raise SamplesError(f"{folder}: {len(good)} usable samples", hint="at least two are needed: some calibrate, others judge")
    order = list(range(len(good)))
    random.Random(SPLIT_SEED).shuffle(order)
    digest = hashlib.sha256()
    for index in order:
        label = good[index].label
        try:
            digest.update(f"{file_sha256(good[index].path)} {label}\n".encode())
        except OSError as error:
            raise SamplesError(f"{good[index].path}: {error.strerror}", hint="check its permissions") from error
    if described.sha256 and digest.hexdigest() != described.sha256:
        raise SamplesError(
            f"{folder}: samples are not those described: sha256 {digest.hexdigest()[:12]}…, not {described.sha256[:12]}…",
            hint="restore the files, or correct sha256 in the samples file",
        )
    calibrating = _calibrating(described, folder, good, order)
    digest.update(f"calibrate {sorted(calibrating)}".encode())
    return Samples(
        name=described.name,
        kind=described.kind,
        calibrating=tuple(sample for index, sample in enumerate(good) if index in calibrating),
        judging=tuple(sample for index, sample in enumerate(good) if index not in calibrating),
        sha256=digest.hexdigest(),
        preprocess=described.preprocess,
        label_names=_label_names(folder / described.labels) if described.labels else (),
        licence=described.licence,
        skipped=skipped,
    )


def _calibrating(described: Description, folder: Path, good: list[Sample], order: list[int]) -> frozenset[int]:
    """Indices of the samples that calibrate: those named, or so many drawn."""
    if described.calibrate_files and described.calibrate is not None:
        raise SamplesError("the samples file gives both calibrate and calibrate_files", hint="keep one of them")
    if described.calibrate_files:
        names = [sample.path.relative_to(folder).as_posix() for sample in good]
        if empty := [pattern for pattern in described.calibrate_files if not fnmatch.filter(names, pattern)]:
            raise SamplesError(f"{folder}: no sample fits {', '.join(empty)}", hint="correct `calibrate_files` in the samples file")
        chosen = frozenset(index for index, name in enumerate(names) if any(fnmatch.fnmatchcase(name, one) for one in described.calibrate_files))
    else:
        chosen = frozenset(order[: described.calibrate if described.calibrate is not None else len(good) // 2])
    if not 0 < len(chosen) < len(good) or (described.calibrate or 0) < 0:
        wanted = "calibrate_files" if described.calibrate_files else f"calibrate = {described.calibrate}"
        raise SamplesError(f"{folder}: {wanted} leaves none of {len(good)} samples to judge by, or none to calibrate with", hint="take fewer or more")
    return chosen


def _label_names(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise SamplesError(f"{path}: {error.strerror}", hint="correct `labels` in the samples file") from error


def with_preprocess(signature: Signature, samples: Samples) -> Signature:
    """The signature, its empty preprocessing and labels filled from the samples' description.

    Raises:
        SamplesError: both say something and they disagree, or pictures are given and neither says anything.
    """
    import msgspec.structs

    if signature.preprocess and samples.preprocess and signature.preprocess != samples.preprocess:
        raise SamplesError(
            f"the model's preprocessing and that of samples {samples.name} disagree",
            hint="remove [preprocess] from the samples file, or set preprocess.* to what is right",
        )
    preprocess = signature.preprocess or samples.preprocess
    if samples.kind == "images" and preprocess is None:
        raise SamplesError(
            "how pictures become the model's input is not known: the model does not say, and the samples do not",
            hint="--set preprocess.mean=… --set preprocess.std=… (pixels are 0 to 255), or a samples.toml with [preprocess]",
        )
    return msgspec.structs.replace(signature, preprocess=preprocess, labels=signature.labels or samples.label_names)


def preprocess_faults(how: Preprocess) -> list[str]:
    """What cannot be done with any picture, one line each."""
    faults = []
    channels = 1 if how.colour == "grey" else 3
    for name, values in (("mean", how.mean), ("std", how.std)):
        if len(values) not in (1, channels):
            faults.append(f"{name} has {len(values)} values for {channels} channels; give one, or {channels} as [a, b, …]")
        if not all(math.isfinite(value) for value in values):
            faults.append(f"{name} is not finite")
    if any(value == 0 for value in how.std):
        faults.append("std is 0")
    crop = (how.crop,) if isinstance(how.crop, int) else how.crop or ()
    for name, sizes in (("resize_short", (how.resize_short,) if how.resize_short is not None else ()), ("resize", how.resize or ()), ("crop", crop)):
        if any(not 1 <= size <= LARGEST_SIDE for size in sizes):
            faults.append(f"{name} is not between 1 and {LARGEST_SIDE}")
    return faults


def feed_of(path: Path, kind: Literal["images", "arrays"], signature: Signature) -> Feed:
    """One sample as arrays by input name.

    Raises:
        SamplesError: the file cannot be decoded or does not fit the signature.
    """
    if kind == "arrays":
        return _arrays(path, signature)
    if len(signature.inputs) != 1:
        names = ", ".join(tensor.name for tensor in signature.inputs)
        raise SamplesError(
            f"pictures feed one input; this model has {len(signature.inputs)}: {names}", hint="give .npz files with one array per input name"
        )
    return {signature.inputs[0].name: image_input(path, signature.inputs[0], signature.preprocess or Preprocess())}


def _arrays(path: Path, signature: Signature) -> Feed:
    import numpy as np

    feed: Feed = {}
    with _loaded(path) as held:
        for tensor in signature.inputs:
            if tensor.name not in held:
                raise SamplesError(
                    f"{path.name}: no array named {tensor.name}; it has {', '.join(held.files)}", hint="name the arrays as the model's inputs"
                )
            array = _array_of(held, tensor.name, path)
            if len(array.shape) == len(tensor.shape) - 1:
                array = array[None]
            fits = len(array.shape) == len(tensor.shape) and all(
                isinstance(want, str) or have == want for have, want in zip(array.shape, tensor.shape, strict=True)
            )
            if not fits:
                raise SamplesError(
                    f"{path.name}: {tensor.name} has shape {array.shape}, the model wants {tensor.shape}", hint="save one sample per file"
                )
            feed[tensor.name] = np.ascontiguousarray(array.astype(tensor.dtype))
    return feed


def _loaded(path: Path) -> NpzFile:
    import zipfile

    import numpy as np

    try:
        held: NpzFile = np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SamplesError(f"{path}: cannot be read: {error}", hint="save it with numpy.savez, one array per input name") from error
    if not hasattr(held, "files"):
        raise SamplesError(f"{path}: holds one array without a name", hint="save it with numpy.savez, one array per input name")
    return held


def _array_of(held: NpzFile, name: str, path: Path) -> NDArray[np.generic]:
    import zipfile

    try:
        array: NDArray[np.generic] = held[name]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SamplesError(f"{path}: {name} cannot be read: {error}", hint="save plain arrays of numbers with numpy.savez") from error
    if array.dtype.kind not in "fiub":
        raise SamplesError(f"{path}: {name} holds {array.dtype}, not numbers", hint="save plain arrays of numbers with numpy.savez")
    return array


def image_input(path: Path, tensor: Tensor, how: Preprocess) -> NDArray[np.generic]:
    """Decode a picture and make it the network's input, shape as ``tensor`` says with a batch of one.

    Raises:
        SamplesError: it cannot be decoded, or what comes out has another shape than the input.
    """
    import numpy as np

    with _opened(path) as picture:
        resized = _cropped(_resized(picture.convert("L" if how.colour == "grey" else "RGB"), tensor, how), how)
    pixels = np.asarray(resized, np.float32)
    if how.colour == "grey":
        pixels = pixels[:, :, None]
    if how.colour == "bgr":
        pixels = pixels[:, :, ::-1]
    values = (pixels - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    array = values[None] if tensor.layout == "nhwc" else values.transpose(2, 0, 1)[None]
    if len(array.shape) != len(tensor.shape) or any(
        isinstance(want, int) and want != have for have, want in zip(array.shape, tensor.shape, strict=True)
    ):
        raise SamplesError(
            f"{path.name}: becomes {array.shape}, the model's input {tensor.name} is {tensor.shape}",
            hint=_misfit_hint(array.shape, tensor),
        )
    return np.ascontiguousarray(array.astype(tensor.dtype))


def _misfit_hint(shape: tuple[int, ...], tensor: Tensor) -> str:
    if len(tensor.shape) != 4:
        return "pictures feed inputs of four axes; give .npz files with an array for this one"
    if tensor.shape[0] not in (1,) and isinstance(tensor.shape[0], int):
        return f"samples have a batch of one, the model of {tensor.shape[0]}: pin it with --shape, or export it with a batch of 1"
    channels = tensor.shape[3] if tensor.layout == "nhwc" else tensor.shape[1]
    if channels in (1, 3) and channels not in (shape[1], shape[3]):
        return f"--set preprocess.colour={'grey' if channels == 1 else 'rgb'}"
    return "set preprocess.resize or preprocess.crop to the input's height and width"


def _eight_bits(picture: Image.Image, path: Path) -> Image.Image:
    """Pillow cuts 16-bit grey off at 255 when it converts: scaled here, as 8-bit copies of the same picture are."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        import numpy as np
        from PIL import Image

        values = np.asarray(picture, np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise SamplesError(f"{path}: pixels of more than 16 bits", hint="save it with 8 or 16 bits a channel")
        return Image.fromarray((values // 257).astype(np.uint8))
    return picture


def _opened(path: Path) -> Image.Image:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            picture.load()
            return ImageOps.exif_transpose(_eight_bits(picture, path))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SamplesError(f"{path}: cannot be decoded: {error}", hint="replace it, or leave it out with --skip-bad-samples") from error


def _resized(picture: Image.Image, tensor: Tensor, how: Preprocess) -> Image.Image:
    """Resize as told; told nothing, stretch to the input's height and width where these are fixed."""
    from PIL import Image

    filters = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    filter_ = filters[how.interpolation]
    if how.resize_short:
        scale = how.resize_short / min(picture.size)
        size = (max(how.resize_short, round(picture.width * scale)), max(how.resize_short, round(picture.height * scale)))
        return picture.resize(size, filter_)
    height, width = how.resize or (tensor.shape[1:3] if tensor.layout == "nhwc" else tensor.shape[-2:])
    if how.crop is None and isinstance(height, int) and isinstance(width, int):
        return picture.resize((width, height), filter_)
    return picture.resize((how.resize[1], how.resize[0]), filter_) if how.resize else picture


def _cropped(picture: Image.Image, how: Preprocess) -> Image.Image:
    if how.crop is None:
        return picture
    height, width = (how.crop, how.crop) if isinstance(how.crop, int) else how.crop
    if picture.height < height or picture.width < width:
        raise SamplesError(
            f"a picture has {picture.width}×{picture.height} pixels before the crop to {width}×{height}",
            hint="--set preprocess.resize_short=… enlarges pictures first",
        )
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))

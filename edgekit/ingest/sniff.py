"""What a file is, by its content: suffixes are only believed when nothing else speaks."""

from __future__ import annotations

import codecs
import enum
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgekit.errors import SourceError

if TYPE_CHECKING:
    import zipfile


class Kind(enum.Enum):
    """Kinds of source; the value is what messages call it."""

    ONNX = "ONNX"
    ONNX_CUT = "an ONNX file that is cut short"
    KERAS = "Keras archive"
    HDF5 = "Keras HDF5"
    SAVEDMODEL = "TensorFlow SavedModel"
    EXPORTED = "PyTorch ExportedProgram"
    STATE_DICT = "PyTorch state dict"
    PICKLED = "pickled Python objects"
    TORCHSCRIPT = "TorchScript"
    TFLITE = "a TFLite file"
    SAFETENSORS = "a safetensors file"
    GGUF = "a GGUF file"
    LFS = "a Git LFS pointer"
    ZIP = "a zip archive"
    ZIP_CUT = "a zip archive that is cut short or damaged"
    PICKLE_CUT = "a PyTorch file that is cut short or damaged"
    TEXT = "a text file"
    EMPTY = "empty"
    FOLDER = "a folder without a model"
    UNKNOWN = "of no format known here"


TAKEN = "taken are .onnx, .keras, .h5, a SavedModel folder, .pt2, and a PyTorch state dict with --factory"

_HINTS = {
    Kind.ONNX_CUT: "download or export it again",
    Kind.ZIP_CUT: "download or save it again",
    Kind.PICKLE_CUT: "download or save it again",
    Kind.EMPTY: "download or export it again",
    Kind.LFS: "fetch the file itself: git lfs pull",
    Kind.TFLITE: "give the Keras, PyTorch or ONNX model that it was converted from",
    Kind.SAFETENSORS: "torch.save(safetensors.torch.load_file(FILE), 'net.pth'), then --factory module.py:function",
    Kind.FOLDER: "a SavedModel folder holds saved_model.pb; " + TAKEN,
}

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_PICKLE_PROTOCOLS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_STARTS = {_HDF5: Kind.HDF5, b"version https://git-lfs": Kind.LFS, b"GGUF": Kind.GGUF}
_SAFETENSORS_HEADER_MAX_BYTES = 1 << 27
_HEAD_BYTES = 4096
_PICKLE_MAX_BYTES = 8 << 20
_LEGACY_PICKLES = 4
_DATA_ONLY_MODULES = frozenset(
    {"torch", "torch._utils", "torch.storage", "torch.serialization", "torch.nn.parameter", "collections", "_codecs", "numpy"}
)

_VARINT, _LENGTH = 0, 2
_ONNX_FIELDS = {1: _VARINT, 2: _LENGTH, 3: _LENGTH, 4: _LENGTH, 5: _VARINT, 6: _LENGTH, 7: _LENGTH, 8: _LENGTH}
_ONNX_FIELDS |= {14: _LENGTH, 20: _LENGTH, 25: _LENGTH, 26: _LENGTH}
_ONNX_GRAPH = 7


def kind_of(source: Path) -> Kind:
    """What a file or folder is.

    Raises:
        SourceError: it is not there or cannot be read.
    """
    try:
        if source.is_dir():
            named = any((source / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt"))
            return Kind.SAVEDMODEL if named else Kind.FOLDER
        with source.open("rb") as stream:
            return _kind_of_file(stream, stream.read(_HEAD_BYTES))
    except OSError as error:
        raise SourceError(f"{source}: cannot be read: {error.strerror}", hint=f"check the path: ls -l {source.parent}") from error


def unreadable(source: Path, kind: Kind) -> SourceError:
    """The error that says what a source is, and what would be taken instead."""
    hint = _HINTS.get(kind, TAKEN)
    if kind is Kind.ZIP:
        inside = next((name for name in _names(source) if name.endswith((".h5", ".keras", ".onnx", ".pt2", ".pth"))), "")
        hint = f"unzip it first and give {inside}" if inside else TAKEN
    if source.name in ("saved_model.pb", "saved_model.pbtxt"):
        hint = f"give its folder: {source.parent}"
    return SourceError(f"{source}: this is {kind.value}", hint=hint)


def pickled_globals(source: Path) -> tuple[str, ...]:
    """Classes and functions that a torch file's pickle calls for and that are no plain tensors, as ``module.name``."""
    import zipfile

    with source.open("rb") as stream:
        if stream.read(len(_ZIP)) == _ZIP:
            with zipfile.ZipFile(source) as archive, archive.open(next(name for name in archive.namelist() if name.endswith("data.pkl"))) as inner:
                return _before_damage(_foreign_globals(inner, pickles=1))
        stream.seek(0)
        return _before_damage(_foreign_globals(stream, pickles=_LEGACY_PICKLES))


def _before_damage(names: Iterator[str]) -> tuple[str, ...]:
    found: list[str] = []
    with suppress(ValueError):
        found.extend(names)
    return tuple(dict.fromkeys(found))


def _kind_of_file(stream: IO[bytes], head: bytes) -> Kind:
    if not head:
        return Kind.EMPTY
    for magic, kind in _STARTS.items():
        if head.startswith(magic):
            return kind
    if head.startswith(_ZIP):
        return _kind_of_zip(stream)
    if head.startswith(_PICKLE_PROTOCOLS):
        stream.seek(0)
        return _kind_of_pickles(stream, pickles=_LEGACY_PICKLES) if head.startswith(_TORCH_LEGACY) else Kind.PICKLED
    return _kind_of_other(stream, head)


def _kind_of_other(stream: IO[bytes], head: bytes) -> Kind:
    if head[4:8] == b"TFL3":
        return Kind.TFLITE
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _SAFETENSORS_HEADER_MAX_BYTES:
        return Kind.SAFETENSORS
    return Kind.TEXT if _is_text(head) else _kind_of_protobuf(stream)


def _kind_of_zip(stream: IO[bytes]) -> Kind:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(stream) as archive:
            if min((entry.header_offset for entry in archive.infolist()), default=0):
                return Kind.ZIP_CUT  # the table of contents is that of an archive within this one
            return _kind_of_archive(archive)
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, NotImplementedError, EOFError, RuntimeError, OSError):
        return Kind.ZIP_CUT


def _kind_of_archive(archive: zipfile.ZipFile) -> Kind:
    names = archive.namelist()
    ends = {name.rpartition("/")[2] for name in names}
    if {"config.json", "model.weights.h5"} <= set(names):
        return Kind.KERAS
    if ends & {"archive_format", "serialized_exported_program.json"}:
        return Kind.EXPORTED
    if "constants.pkl" in ends and any("/code/" in name for name in names):
        return Kind.TORCHSCRIPT
    pickle = next((name for name in names if name.endswith("data.pkl")), "")
    if not pickle:
        return Kind.ZIP
    with archive.open(pickle) as inner:
        return _kind_of_pickles(inner, pickles=1)


def _kind_of_pickles(stream: IO[bytes], *, pickles: int) -> Kind:
    try:
        return Kind.PICKLED if any(_foreign_globals(stream, pickles=pickles)) else Kind.STATE_DICT
    except ValueError:
        return Kind.PICKLE_CUT


def _names(source: Path) -> list[str]:
    import zipfile

    with zipfile.ZipFile(source) as archive:
        return archive.namelist()


def _foreign_globals(stream: IO[bytes], *, pickles: int) -> Iterator[str]:
    """What the pickles would import, read from their opcodes; nothing is loaded.

    Raises:
        ValueError: a pickle is damaged.
    """
    import pickletools

    for _ in range(pickles):
        texts: list[str] = []
        for opcode, argument, position in pickletools.genops(stream):
            if isinstance(argument, str) and "UNICODE" in opcode.name:
                texts.append(argument)
            if opcode.name == "GLOBAL" or (opcode.name == "STACK_GLOBAL" and len(texts) > 1):
                module, _, name = str(argument).partition(" ") if opcode.name == "GLOBAL" else (texts[-2], "", texts[-1])
                if module not in _DATA_ONLY_MODULES:
                    yield f"{module}.{name}"
            if (position or 0) > _PICKLE_MAX_BYTES:
                return


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\r\n\t\f\v" for letter in text)


def _kind_of_protobuf(stream: IO[bytes]) -> Kind:
    """Walk the fields of a serialized ``onnx.ModelProto`` without reading them."""
    size = stream.seek(0, 2)
    stream.seek(0)
    seen: set[int] = set()
    while (position := stream.tell()) < size:
        tag = _varint(stream)
        field, wire = (tag >> 3, tag & 7) if tag is not None else (0, 0)
        if _ONNX_FIELDS.get(field) != wire:
            return Kind.UNKNOWN
        value = _varint(stream)
        if value is None:
            return Kind.ONNX_CUT if seen else Kind.UNKNOWN
        seen.add(field)
        if wire == _LENGTH and stream.tell() + value > size:
            return Kind.ONNX_CUT if 1 in seen and (position or field == 1) else Kind.UNKNOWN
        if wire == _LENGTH:
            stream.seek(value, 1)
    return Kind.ONNX if _ONNX_GRAPH in seen else Kind.UNKNOWN


def _varint(stream: IO[bytes]) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None

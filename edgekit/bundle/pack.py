"""From an engine that was built to one file that a device installs: the same build, the same bytes."""

from __future__ import annotations

import datetime
import hashlib
import re
import shutil
import tempfile
from importlib import metadata
from pathlib import Path, PurePath

import msgspec

import edgekit.run
from edgekit import plugins, strict
from edgekit.bundle import known, sbom
from edgekit.bundle.manifest import Boxes, Build, Descriptor, ForTarget, HealthLimits, Licences, Listed, Manifest, Opened, Origin
from edgekit.engine.contract import Engine, Port, read_engine
from edgekit.errors import BundleError, StoreError, UnsupportedError, UsageError
from edgekit.model import Signature, Tensor, file_sha256
from edgekit.report import EngineEntry, Fidelity, Report, TargetEntry, read_report
from edgekit.run import bundle_file, trust
from edgekit.run.bundle_file import Member, RefusedError
from edgekit.samples import read_samples, with_preprocess

SUFFIX = ".edgekit"
SBOM = "sbom.cdx.json"
NOT_BUILT = "not built: needs the device"
BUILT_THERE = "the engine that a board built stays here; the bundle has the package that it was built of, and each device builds its own"
TOLERANCE = 0.05  # int8 kernels of two processors were seen to differ by 5 steps of 256 (tflite-runtime 2.14)
TOLERANCE_BUILT = 0.1  # what TensorRT builds is held against its graph in ONNX Runtime, which rounds otherwise
HEALTH_S = 300.0
BUILD_S = 7200.0
OWN_CODE = ("trainer", "loss")  # options of steps
NEEDS = {"tflite": ("ai-edge-litert", "numpy"), "onnxruntime": ("onnxruntime", "numpy"), "tensorrt": ()}
"""Packages that a device must have for a runtime; TensorRT comes with JetPack."""
RUNNER = (
    "__init__",
    "agent",
    "application",
    "boxes",
    "bundle_file",
    "counting",
    "errors",
    "health",
    "pictures",
    "session",
    "state",
    "tensors",
    "timing",
)
"""Modules of the room that travels which run an engine; its runtime's adapter comes besides, with what that needs."""
NEEDED_BY = {
    "tensorrt": (
        "board",
        "cuda_memory",
        "jetson",
        "plan_header",
        "tensorrt_run",
        "trtexec",
        "trtexec_output",
        "trtexec_path",
        "trtexec_query",
    )
}
_RUN = '''"""Runs the engine of this folder: files in, a line of JSON each out; --check holds it against what was recorded."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
if os.path.islink(HERE):  # the slot itself, whatever "current" points to by the time this ends
    HERE = os.path.join(os.path.dirname(HERE), os.readlink(HERE))
sys.path.insert(0, os.path.join(HERE, "runner"))
sys.dont_write_bytecode = True

from edgekit_run.application import main  # noqa: E402

sys.exit(main(HERE, sys.argv[1:]))
'''


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How a bundle is made.

    Attributes:
        engine: ``TARGET-RUNTIME`` or a target of the build; needed where it has several.
        name: of the application; the model's file name if empty.
        version: a number that grows; if 0, the time of the build, in seconds since 1970.
        samples: known inputs are the first of these that judge; made-up ones if None.
        boxes: file that says how a detector's outputs become boxes.
        licence: of the model.
        tolerance: most that an output may differ on the device, as a share of its largest value; if 0, the usual one.
        max_latency_ms: most the median query may take on the device; if None, as the build's budget says.
        threads: that the engine computes with.
    """

    engine: str = ""
    name: str = ""
    version: int = 0
    samples: Path | None = None
    boxes: Path | None = None
    licence: str = ""
    tolerance: float = 0.0
    max_latency_ms: float | None = None
    threads: int = 1


class Packed(msgspec.Struct, frozen=True):
    """A bundle that was written.

    Attributes:
        path: the file.
        bytes, sha256: of it.
        manifest: what it says of itself.
        note: what a reader should know, in a sentence; "" if nothing.
    """

    path: Path
    bytes: int
    sha256: str
    manifest: Manifest
    note: str = ""


def pack(build: Path, out: Path | None, wanted: Wanted) -> Packed:
    """Make a bundle of one engine of a build; it is not signed yet.

    Args:
        build: folder of the build.
        out: the file; ``NAME-VERSION-TARGET.edgekit`` if None.
        wanted: how.

    Raises:
        UsageError: there is no such engine, or it cannot be run here to record what it answers.
        UnsupportedError: no device installs engines of that kind.
        StoreError: the file cannot be written.
    """
    report, entry, target = _chosen(build, wanted.engine)
    folder = (build / entry.path).parent
    engine = read_engine(folder)
    if engine.runtime not in ("tflite", "onnxruntime", "tensorrt", "tflite-tensorflow"):
        raise UnsupportedError(f"{entry.key}: no device installs engines of {engine.runtime}", hint="put it into your application by hand")
    samples = read_samples(wanted.samples) if wanted.samples is not None else None
    signature = with_preprocess(report.model.signature, samples) if samples is not None else report.model.signature
    with tempfile.TemporaryDirectory(prefix="edgekit-") as temporary, tempfile.TemporaryDirectory(prefix="edgekit-") as again:
        stage = Path(temporary)
        backend = plugins.load("edgekit.backends", engine.runtime)
        is_of_one_board = engine.status != NOT_BUILT and hasattr(backend, "repack")
        if is_of_one_board:
            folder, engine = Path(again), backend().repack(folder, Path(again))
        _put_engine(folder, entry, build, stage)
        _put_runner(stage, engine.runs_in)
        _put_descriptor(stage, engine, signature, _boxes(wanted.boxes, engine))
        (stage / "health").mkdir()
        queries = known.write_inputs(stage / "health", engine, signature, samples)
        manifest = _manifest(report, entry, target, engine, wanted, queries)
        known.write_outputs(stage, manifest)
        packed = _written(stage, manifest, out)
        return msgspec.structs.replace(packed, note=f"{entry.key}: {BUILT_THERE}") if is_of_one_board else packed


def write_bundle(path: Path, signatures: bytes, manifest: bytes, members: list[Member], source: Path) -> None:
    """Write a bundle whose members lie below a folder; it appears whole or not at all.

    Raises:
        StoreError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            bundle_file.write(stream, signatures, manifest, members, lambda member: (source / member).open("rb"))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error.strerror}", hint="choose another file with -o") from error


def _chosen(build: Path, asked: str) -> tuple[Report, EngineEntry, TargetEntry]:
    if not (build / "report.json").is_file():
        raise UsageError(f"{build}: no build here", hint="give the folder that `edgekit build -o` filled")
    report = read_report(build / "report.json")
    fit = [one for one in report.engines if asked in ("", one.key, one.target, one.asked)]
    if len(fit) != 1:
        keys = ", ".join(one.key for one in report.engines)
        raise UsageError(f"{build}: {'several engines' if fit else f'no engine {asked}'}; it has {keys}", hint="name one: --engine TARGET-RUNTIME")
    target = next(one for one in report.targets if one.key == fit[0].key)
    if not (build / fit[0].path).is_file():
        raise UsageError(f"{build}: the engine {fit[0].path} is not there", hint="build it again")
    return report, fit[0], target


def _put_engine(folder: Path, entry: EngineEntry, build: Path, stage: Path) -> None:
    """The engine and what belongs to it; code that shows how to call a built one stays behind, a builder comes along."""
    snippets = {(build / one).resolve() for one in entry.snippets} if entry.status != NOT_BUILT else set()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.resolve() not in snippets:
            there = stage / "engine" / path.relative_to(folder)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there)


def _put_runner(stage: Path, runtime: str) -> None:
    source, room = Path(edgekit.run.__file__).parent, stage / "runner" / "edgekit_run"
    room.mkdir(parents=True)
    for name in (*RUNNER, runtime, *NEEDED_BY.get(runtime, ())):
        shutil.copyfile(source / f"{name}.py", room / f"{name}.py")
    (stage / "run.py").write_text(_RUN, encoding="utf-8")


def _put_descriptor(stage: Path, engine: Engine, signature: Signature, boxes: Boxes | None) -> None:
    """The ports as the engine has them; layouts as the source has where the engine says none, scales where the source has real numbers."""
    tensors = {tensor.name: tensor for tensor in (*signature.inputs, *signature.outputs)}
    inputs, outputs = (tuple(_port(port, tensors.get(port.name)) for port in ports) for ports in (engine.inputs, engine.outputs))
    is_picture = len(inputs) == 1 and len(inputs[0].shape) == 4
    told = Descriptor(
        inputs=inputs,
        outputs=outputs,
        preprocess=signature.preprocess if is_picture else None,
        labels=signature.labels,
        postprocess=boxes,
    )
    (stage / "descriptor.json").write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1))


def _port(port: Port, source: Tensor | None) -> Port:
    if source is None:
        return port
    known = msgspec.structs.replace(port, layout=port.layout or source.layout)
    return known if source.dtype.startswith("float") else msgspec.structs.replace(known, scale=None, zero_point=None)


def _boxes(path: Path | None, engine: Engine) -> Boxes | None:
    if path is None:
        return None
    boxes = strict.read(path, Boxes)
    names = [port.name for port in engine.outputs]
    unknown = [name for name in (boxes.boxes, boxes.scores) if name and name not in names]
    if unknown:
        raise UsageError(f"{path}: {unknown[0]}: no such output{strict.nearest(unknown[0], names)}", hint=f"the engine has {', '.join(names)}")
    return boxes


def _of_no_machine(found: Fidelity | None) -> Fidelity | None:
    """What was judged, without the name of the machine that judged: a bundle goes to strangers."""
    return found and msgspec.structs.replace(found, judged_on=msgspec.structs.replace(found.judged_on, device=""))


def _manifest(report: Report, entry: EngineEntry, target: TargetEntry, engine: Engine, wanted: Wanted, queries: int) -> Manifest:
    built = datetime.datetime.fromisoformat(report.created)
    name = wanted.name or re.sub(r"[^a-z0-9]+", "-", Path(report.model.source).stem.lower()).strip("-") or "model"
    budget = report.recipe.budget.max_latency_ms if wanted.max_latency_ms is None else wanted.max_latency_ms
    is_built_there = engine.status == NOT_BUILT
    again = ("build_engine.py", "--run-only", "--warmup", "0.5", "--duration", "1", "--queries", "20")
    manifest = Manifest(
        name=name,
        title=f"{Path(report.model.source).name}, {entry.precision}, {entry.key}",
        version=wanted.version or int(built.timestamp()),
        created=built.astimezone(datetime.UTC).isoformat(),
        edgekit=metadata.version("edgekit"),
        target=ForTarget(target.name, target.title, target.arch, target.runtime, target.runtime_version),
        engine=Opened(
            file=f"engine/{engine.file}",
            runtime=engine.runs_in,
            options=engine.options,
            threads=wanted.threads,
            inputs=tuple(port.name for port in engine.inputs),
            outputs=tuple(port.name for port in engine.outputs),
            precision=entry.precision,
            bytes=engine.bytes,
            sha256=engine.sha256,
        ),
        build=Build(argv=(again[0], "--run", *again[2:]), again=again, timeout_s=BUILD_S) if is_built_there else None,
        health=HealthLimits(
            queries=queries,
            max_difference=wanted.tolerance or (TOLERANCE_BUILT if is_built_there else TOLERANCE),
            max_latency_ms=budget,
            timeout_s=HEALTH_S,
        ),
        origin=_origin(report),
        fidelity=_of_no_machine(entry.fidelity),
        accuracy=entry.accuracy,
        licence=Licences(model=wanted.licence, samples=report.samples.licence if report.samples else ""),
        tools=report.tools,
        needs=NEEDS[engine.runs_in],
        members=(),
    )
    _refuse_bad(manifest)
    return manifest


def _refuse_bad(manifest: Manifest) -> None:
    """What no device would take, said now."""
    try:
        bundle_file.read_manifest(manifest.encoded())
    except RefusedError as error:
        raise UsageError(f"no device takes such a bundle: {error.reason}", hint="choose others: --name, --version") from error


def _origin(report: Report) -> Origin:
    """What it was made of; code of the user's own, which may lie anywhere, without where that is."""
    samples = report.samples
    steps = tuple({key: PurePath(value).name if key in OWN_CODE else value for key, value in step.items()} for step in report.recipe.step)
    return Origin(
        source=Path(report.model.source).name,
        format=report.model.format,
        sha256=report.model.sha256,
        recipe=report.recipe.name,
        steps=steps,
        samples=samples.name if samples else "",
        samples_sha256=samples.sha256 if samples else "",
    )


def _written(stage: Path, manifest: Manifest, out: Path | None) -> Packed:
    listed = _listed(stage)
    (stage / SBOM).write_bytes(sbom.render(manifest, listed))
    full = msgspec.structs.replace(manifest, members=_listed(stage))
    content = full.encoded()
    try:
        members = bundle_file.members_of(bundle_file.read_manifest(content))
    except RefusedError as error:
        raise BundleError(f"{manifest.title}: {error.reason}", hint="rename the model's files: ASCII letters, digits, `.`, `-`, `_`") from error
    path = out or Path(f"{manifest.name}-{manifest.version}-{manifest.target.name}{SUFFIX}")
    unsigned = trust.statement(hashlib.sha256(content).hexdigest()).encode()
    write_bundle(path, unsigned, content, members, stage)
    return Packed(path=path, bytes=path.stat().st_size, sha256=file_sha256(path), manifest=full)


def _listed(stage: Path) -> tuple[Listed, ...]:
    files = sorted(path for path in stage.rglob("*") if path.is_file())
    return tuple(Listed(path.relative_to(stage).as_posix(), path.stat().st_size, file_sha256(path)) for path in files)

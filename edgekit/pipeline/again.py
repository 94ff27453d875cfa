"""Measuring again what was built: a whole build, one engine, or an ONNX or TFLite file as it is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgekit import strict
from edgekit.device import open_device
from edgekit.engine.contract import ENGINE_RECORD, Engine, Port, port_of, read_engine
from edgekit.errors import InvalidMeasurementError, UsageError
from edgekit.measure import Load
from edgekit.model import Signature, Tensor, file_sha256
from edgekit.pipeline.assess import judged, take, with_taken
from edgekit.pipeline.boards import built_there
from edgekit.pipeline.place import Bench, require_runtimes
from edgekit.plan import Settings
from edgekit.report import EngineEntry, Report, read_report, write_reports
from edgekit.samples import Samples, read_samples, with_preprocess
from edgekit.target import Target, read_target, target_files
from edgekit.watch import SILENT, Watcher


@dataclass(frozen=True, slots=True)
class Engines:
    """Engines that are to be measured, with the report they belong to."""

    folders: tuple[tuple[Path, Engine], ...]
    report: Report | None
    report_folder: Path | None


def bench(
    path: Path, *, samples: Path | None = None, device: str = "", settings: Settings | None = None, watcher: Watcher = SILENT
) -> tuple[EngineEntry, ...]:
    """Measure latency and memory of engines that were built before.

    Args:
        path: folder of a build (its report is written anew), of one engine, an ``.onnx`` or a ``.tflite`` file.
        samples: inputs to time with; those of no build are random if not given.
        device: URL of the device; this machine if empty.
        settings: ``load`` options.
        watcher: told about progress.

    Raises:
        UsageError: there is no engine.
        InvalidMeasurementError: none of them could be measured.
    """
    load = load_of(settings, "bench")
    found = engines_at(path)
    inputs = read_samples(samples) if samples is not None else None
    opened = open_device(device or "local")
    try:
        entries = measured(found, inputs, Bench(device=opened, is_named=bool(device)), load, watcher)
    finally:
        opened.close()
    if all(entry.latency is None and entry.instructions is None for entry in entries):
        raise InvalidMeasurementError(f"{path}: nothing could be measured: {entries[0].latency_reason}", hint="edgekit doctor says what is missing")
    if found.report is not None and found.report_folder is not None:
        write_reports(_updated(found.report, entries), found.report_folder)
    return entries


def load_of(settings: Settings | None, verb: str) -> Load:
    """How to measure, from the settings of a verb that takes no others.

    Raises:
        UsageError: there are others, or no such option.
    """
    unknown = [step for step in settings or {} if step != "load"]
    if unknown:
        raise UsageError(f"--set {unknown[0]}.…: {verb} has only load.*", hint="for example --set load.threads=2")
    return strict.convert((settings or {}).get("load", {}), Load, where="load")


def measured(found: Engines, samples: Samples | None, place: Bench, load: Load, watcher: Watcher) -> tuple[EngineEntry, ...]:
    """All engines, measured on one device.

    Raises:
        DeviceError: it has not the runtime of one of them; the float original's may lack, as in a build.
    """
    originals = {(entry.target, entry.runtime) for entry in found.report.references} if found.report is not None else set()
    asked = [engine for _, engine in found.folders if (engine.target, engine.runtime) not in originals]
    require_runtimes((engine.runs_in for engine in asked if engine.status == "built" and engine.stand_in is None), place)
    meter = Meter(found=found, samples=samples, place=place, load=load, watcher=watcher)
    return tuple(meter.measured(folder, engine) for folder, engine in found.folders)


def engines_at(path: Path) -> Engines:
    """The engines of a build, the one of a folder, or a file as it is.

    Raises:
        UsageError: there is none.
    """
    if (path / "report.json").is_file():
        report = read_report(path / "report.json")
        folders = [(path / entry.path).parent for entry in (*report.references, *report.engines)]
        return Engines(tuple((one, read_engine(one)) for one in folders if (one / ENGINE_RECORD).is_file()), report, path)
    folder = path if path.is_dir() else path.parent
    if (folder / ENGINE_RECORD).is_file() and (path.is_dir() or read_engine(folder).file == path.name):
        beside = folder.parent.parent / "report.json"
        return Engines(((folder, read_engine(folder)),), read_report(beside) if beside.is_file() else None, None)
    if path.suffix in _BARE and path.is_file():
        return Engines(((folder, _BARE[path.suffix](path)),), None, None)
    raise UsageError(f"{path}: no engine here", hint="give the folder of a build, of one of its engines, an .onnx or a .tflite file")


def _bare_onnx(path: Path) -> Engine:
    from edgekit.graph.onnx_file import load
    from edgekit.graph.signature import signature_of

    signature = signature_of(load(path))
    inputs, outputs = (tuple(port_of(tensor) for tensor in tensors) for tensors in (signature.inputs, signature.outputs))
    return _bare(path, "onnxruntime", inputs, outputs)


def _bare_tflite(path: Path) -> Engine:
    from edgekit.engine.tflite.file import read_tflite

    found = read_tflite(path)
    return _bare(path, "tflite", found.inputs, found.outputs)


def _bare(path: Path, runtime: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> Engine:
    """The record of a file that no build made."""
    return Engine(
        file=path.name,
        target="file",
        runtime=runtime,
        precision="as in the file",
        status="built",
        inputs=inputs,
        outputs=outputs,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )


_BARE = {".onnx": _bare_onnx, ".tflite": _bare_tflite}


@dataclass(frozen=True, slots=True)
class Meter:
    """What all engines of one `bench` are measured with."""

    found: Engines
    samples: Samples | None
    place: Bench
    load: Load
    watcher: Watcher

    def measured(self, folder: Path, engine: Engine) -> EngineEntry:
        """The entry of an engine, measured now."""
        signature = self.found.report.model.signature if self.found.report else own_signature(engine)
        if self.samples is not None:
            signature = with_preprocess(signature, self.samples)
        entry, target = _entry(folder, engine, self.found), _target(engine.target)
        with tempfile.TemporaryDirectory(prefix="edgekit-engine-") as stage:
            if engine.status != "built" and self.place.is_named:
                there = built_there(folder, engine, target, self.place, Path(stage), self.watcher)
                entry = with_engine(entry, engine, there)
                folder, engine = (folder, engine) if there is None else (Path(stage), there)
            self.watcher.begin(f"measure {engine.target}-{engine.runtime}")
            found = take(folder, engine, self.samples, signature, self.place, self.load)
            self.watcher.end(found.note)
        entry = entry if found.measurement is None else msgspec.structs.replace(entry, remarks=())
        entry = with_taken(entry, found, self.place.measured_on(target))
        if self.found.report is None or target is None:
            return entry
        return judged(entry, self.found.report.recipe.budget, self.place, target)


def with_engine(entry: EngineEntry, package: Engine, there: Engine | None) -> EngineEntry:
    """The entry of a package, of the engine that a device made of it where it did."""
    if there is None:
        return entry
    return msgspec.structs.replace(entry, status="built", bytes=there.bytes, sha256=there.sha256, details={**package.details, **there.details})


def own_signature(engine: Engine) -> Signature:
    """Inputs and outputs as the engine's ports have them, real numbers where these hold integers with a scale."""
    told = [
        tuple(Tensor(name=one.name, dtype="float32" if one.scale is not None else one.dtype, shape=one.shape, layout=one.layout) for one in ports)
        for ports in (engine.inputs, engine.outputs)
    ]
    return Signature(inputs=told[0], outputs=told[1])


def _target(name: str) -> Target | None:
    path = target_files().get(name)
    return read_target(path) if path else None


def _entry(folder: Path, engine: Engine, found: Engines) -> EngineEntry:
    """What the report has of an engine, or what its record has."""
    if found.report is not None:
        for entry in (*found.report.references, *found.report.engines):
            if (entry.target, entry.runtime) == (engine.target, engine.runtime):
                return entry
    return EngineEntry(
        target=engine.target,
        runtime=engine.runtime,
        path=str(folder / engine.file),
        bytes=engine.bytes,
        sha256=engine.sha256,
        precision=engine.precision,
        status=engine.status,
        fidelity_reason="only measured",
        accuracy_reason="only measured",
    )


def _updated(report: Report, entries: tuple[EngineEntry, ...]) -> Report:
    by_key = {entry.key: entry for entry in entries}
    return msgspec.structs.replace(
        report,
        references=tuple(by_key.get(entry.key, entry) for entry in report.references),
        engines=tuple(by_key.get(entry.key, entry) for entry in report.engines),
    )

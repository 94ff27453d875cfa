"""TFLite files of any origin beside one another: structure always, outputs and times if asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgekit.device import open_device
from edgekit.device.contract import Device
from edgekit.engine.contract import Engine
from edgekit.engine.tflite.file import TfliteFile, read_tflite
from edgekit.errors import InvalidMeasurementError, UsageError
from edgekit.measure import Load, compare, infer, joined, measure_interleaved
from edgekit.model import Signature
from edgekit.pipeline.again import engines_at, load_of, own_signature
from edgekit.pipeline.assess import random_feeds
from edgekit.pipeline.matching import File, matched
from edgekit.pipeline.place import Bench
from edgekit.plan import Settings
from edgekit.report import Fidelity
from edgekit.report.beside import FileBeside, FilesBeside
from edgekit.samples import Samples, read_samples, with_preprocess
from edgekit.watch import SILENT, Watcher

if TYPE_CHECKING:
    from edgekit.samples import Feed

RUNTIME = "tflite"
RANDOM_INPUTS = 16


@dataclass(frozen=True, slots=True)
class _Held:
    """A file with its engine's record, as it is called here."""

    name: str
    folder: Path
    engine: Engine
    found: TfliteFile


def compare_files(  # noqa: PLR0913 - the options of `edgekit compare`
    paths: Sequence[Path],
    *,
    samples: Path | None = None,
    seed: int | None = None,
    latency: bool = False,
    device: str = "",
    settings: Settings | None = None,
    watcher: Watcher = SILENT,
) -> FilesBeside:
    """Compare TFLite files with the first of them.

    Args:
        paths: ``.tflite`` files, folders of engines or of builds; of a build, each of its TFLite engines.
        samples: compare outputs on those of them that judge.
        seed: compare outputs on random inputs of this seed, uniform in 0 to 1.
        latency: time them in turn, with samples or random inputs.
        device: URL of the device to run them on; this machine if empty.
        settings: ``load`` options.
        watcher: told about progress.

    Raises:
        UsageError: there are not two files, or they have other ports than the first.
        SourceError: a file cannot be read.
        DeviceError: the device or the runtime there refuses.
    """
    load = load_of(settings, "compare")
    held = [one for path in paths for one in _held(path, is_alone=len(paths) == 1)]
    if len(held) < 2:
        raise UsageError(f"{paths[0]}: one TFLite file is nothing to compare", hint="give a second .tflite, or the folder of a build that has one")
    files = [_described(one) for one in held]
    if samples is None and seed is None and not latency:
        return FilesBeside(tuple(files))
    runs = _Runs.of(held, read_samples(samples) if samples is not None else None, seed or 0)
    opened = open_device(device or "local")
    try:
        place = Bench(device=opened, is_named=bool(device))
        if samples is not None or seed is not None:
            files = [files[0], *(_with_fidelity(file, runs, at, place, watcher) for at, file in enumerate(files[1:], 1))]
        if latency:
            files = _with_times(files, runs, opened, load, watcher)
    finally:
        opened.close()
    return FilesBeside(tuple(files), tuple(dict.fromkeys((*runs.notes, *_reasons(files)))))


def _held(path: Path, *, is_alone: bool) -> Iterator[_Held]:
    found = [(folder, engine) for folder, engine in engines_at(path).folders if engine.runs_in == RUNTIME]
    if not found:
        raise UsageError(f"{path}: no TFLite file in it", hint="reports of builds are compared two by two: edgekit compare OUT OUT")
    for folder, engine in found:
        name = f"{path}: {engine.target}-{engine.runtime}" if len(found) > 1 or path.is_dir() else str(path)
        yield _Held(name=name, folder=folder, engine=engine, found=read_tflite(folder / engine.file))


def _described(one: _Held) -> FileBeside:
    layers = one.found.layers
    return FileBeside(
        name=one.name,
        bytes=one.engine.bytes,
        sha256=one.engine.sha256,
        operators=dict(Counter(layer.op for layer in layers)),
        computed=dict(Counter(layer.dtype for layer in layers if layer.dtype)),
        tensors=sum(one.found.dtypes.values()),
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs for layer in layers),
        weight_bytes=sum(layer.weight_bytes for layer in layers),
        min_runtime=one.found.min_runtime,
    )


@dataclass(frozen=True, slots=True)
class _Runs:
    """Files whose ports bear the first one's names, and what is put into them.

    Attributes:
        engines: folder and record of each.
        signature: of the first: real numbers where its ports hold integers.
        samples: None for random inputs.
        seed: of the random inputs.
        notes: what was matched otherwise than by name, in sentences.
    """

    engines: tuple[tuple[Path, Engine], ...]
    signature: Signature
    samples: Samples | None
    seed: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, held: Sequence[_Held], samples: Samples | None, seed: int) -> _Runs:
        """Match the ports of all with those of the first.

        Raises:
            UsageError: a file has other ports.
        """
        records, notes = matched([File(one.name, one.engine, one.found) for one in held])
        signature = own_signature(records[0])
        known = with_preprocess(signature, samples) if samples is not None else signature
        return cls(tuple((one.folder, record) for one, record in zip(held, records, strict=True)), known, samples, seed, notes)

    def feeds(self) -> Iterator[Feed]:
        """The inputs, anew."""
        if self.samples is not None:
            return self.samples.feeds("judging", self.signature)
        return random_feeds(self.signature, RANDOM_INPUTS, seed=self.seed)


def _with_fidelity(file: FileBeside, runs: _Runs, at: int, place: Bench, watcher: Watcher) -> FileBeside:
    from edgekit.numerics.fidelity import fidelity

    watcher.begin(f"outputs of {file.name}")
    outputs = (infer(*runs.engines[index], runs.feeds(), place.device, signature=runs.signature) for index in (0, at))
    found = fidelity(zip(*outputs, strict=True))
    watcher.end(f"{found.samples} inputs")
    kept = Fidelity(
        sqnr_db=found.sqnr_db,
        cosine=found.cosine,
        max_abs=found.max_abs,
        top1_agreement=found.top1_agreement,
        samples=found.samples,
        judged_on=place.measured_on(None),
    )
    return msgspec.structs.replace(file, fidelity=kept)


def _with_times(files: list[FileBeside], runs: _Runs, device: Device, load: Load, watcher: Watcher) -> list[FileBeside]:
    from edgekit.numerics.statistics import percentile

    watcher.begin(f"{len(files)} files in turn")
    rounds = measure_interleaved(runs.engines, runs.feeds, device, load, signature=runs.signature)
    series = [joined(one) for one in rounds]
    watcher.end(f"{sum(len(one.latencies_ns) for one in series)} queries")
    made: list[FileBeside] = []
    for file, times in zip(files, series, strict=True):
        timed = msgspec.structs.replace(file, p50_ms=percentile(times.latencies_ns, 0.5) / 1e6)
        held_back = [name for name in times.conditions["throttled"] if name != "cgroup quota"]
        if held_back:
            timed = msgspec.structs.replace(timed, latency_reason=f"the processor was throttled ({', '.join(held_back)})")
        elif made:
            try:
                timed = msgspec.structs.replace(timed, latency=compare(series[0], times))
            except InvalidMeasurementError as error:
                timed = msgspec.structs.replace(timed, latency_reason=error.message)
        made.append(timed)
    return made


def _reasons(files: Sequence[FileBeside]) -> Iterator[str]:
    for file in files:
        if file.latency_reason:
            yield f"{file.name}: times are not compared: {file.latency_reason}"

"""An engine on a device: the agent and its job are put there, run, and answered for."""

from __future__ import annotations

import datetime
import itertools
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

import edgekit.run
from edgekit.device.contract import Device
from edgekit.engine.contract import Engine
from edgekit.errors import DeviceError, EdgekitError, SamplesError, UsageError
from edgekit.graph.external import external_files
from edgekit.measure import benchmark_model
from edgekit.measure.counting import Instructions, counts_between
from edgekit.measure.ending import ending
from edgekit.measure.measurement import Conditions, Load, Measurement, Memory, State, runtime_of
from edgekit.model import Signature
from edgekit.numerics.portions import in_portions
from edgekit.run.agent import SCHEMA, TIMED_FEEDS
from edgekit.run.counting import FILE, Counting
from edgekit.run.plan_header import RESULT_FILE
from edgekit.run.tensors import Tensor, read_tensors, write_tensors

if TYPE_CHECKING:
    from edgekit.measure.ports import Array

    Feeds = Iterable[Mapping[str, Array]]

PATIENCE_S = 300.0  # for starting Python, importing the runtime, loading the engine, on the slowest device
INFER_PATIENCE_S = 3600.0
COUNTED = Counting(warmup_queries=24, warmup_s=10.0, queries=3)
LOT_BYTES = 64 * 1024 * 1024


class _Fault(msgspec.Struct, frozen=True):
    kind: str
    reason: str


class _Latency(msgspec.Struct, frozen=True):
    first_ns: int
    warmup_queries: int
    feeds: int
    latencies_ns: tuple[int, ...]
    wall_ns: int
    cpu_ns: int
    capped: bool
    before: State
    after: State


class _Count(msgspec.Struct, frozen=True):
    warmup: int
    queries: int


class _Answer(msgspec.Struct, frozen=True):
    """The agent's result file; see :mod:`edgekit.run.agent`."""

    error: _Fault | None
    facts: dict[str, Any] = {}
    versions: dict[str, str] = {}
    import_ns: int = 0
    load_ns: int = 0
    memory: Memory | None = None
    latency: _Latency | None = None
    count: _Count | None = None


def measure(folder: Path, engine: Engine, feeds: Feeds, device: Device, load: Load, *, signature: Signature) -> Measurement:
    """Time an engine on a device.

    Args:
        folder: where the engine lies.
        engine: its record.
        feeds: inputs by name, in the source's layout and element type; the first few are used, in turn.
        device: where it runs.
        load: for how long.
        signature: of the model it was made from.

    Raises:
        DeviceError: the device or the runtime there refuses.
        SamplesError: a sample does not fit the engine.
        UsageError: the engine is not built yet.
    """
    from edgekit.measure.ports import feed_tensors

    told = [feed_tensors(feed, engine, signature) for feed in itertools.islice(feeds, TIMED_FEEDS)]
    if not device.facts.python:
        _check(engine, told)
        return benchmark_model.measure(folder, engine, told, device, load)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
        taken_at = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        job = {"latency": {name: value for name, value in msgspec.to_builtins(load).items() if name != "threads"}, "threads": load.threads}
        timeout_s = PATIENCE_S + 3 * load.max_duration_s
        desk = _put(device, folder, engine, told, Path(stage), job)
        answer = _ask(device, desk, Path(stage), timeout_s)
        _clear(device, desk)
    if answer.latency is None or answer.memory is None:
        raise DeviceError(f"{device.facts.name}: the agent's answer lacks what was asked for", hint="is an older edgekit installed there?")
    seen = answer.latency
    return Measurement(
        target=engine.target,
        runtime=engine.runtime,
        engine_sha256=engine.sha256,
        device=device.facts,
        load=load,
        latencies_ns=seen.latencies_ns,
        warmup=seen.warmup_queries,
        first_ns=seen.first_ns,
        load_ns=answer.load_ns,
        import_ns=answer.import_ns,
        memory=answer.memory,
        conditions=Conditions(
            taken_at=taken_at,
            facts=answer.facts,
            versions=answer.versions,
            feeds=seen.feeds,
            before=seen.before,
            after=seen.after,
            wall_s=seen.wall_ns / 1e9,
            cpu_s=seen.cpu_ns / 1e9,
            capped=seen.capped,
        ),
    )


def infer(
    folder: Path, engine: Engine, feeds: Feeds, device: Device, *, signature: Signature, lot_bytes: int = LOT_BYTES
) -> Iterator[dict[str, Array]]:
    """Outputs of an engine on a device, sample by sample, as the source would give them.

    Samples go to the device in lots, so neither memory nor disk limits how many there are.

    Args:
        folder: where the engine lies.
        engine: its record.
        feeds: inputs by name, in the source's layout and element type.
        device: where it runs.
        signature: of the model it was made from.
        lot_bytes: how much of inputs and outputs may lie on the device's disk at one time.

    Yields:
        Outputs by name, in the source's layout and element type.

    Raises:
        DeviceError: the device or the runtime there refuses.
        SamplesError: a sample does not fit the engine.
        UsageError: the engine is not built yet.
    """
    from edgekit.measure.ports import feed_tensors, outputs_of

    told = (feed_tensors(feed, engine, signature) for feed in feeds)
    output_bytes = sum(_port_bytes(port.shape, port.dtype) for port in engine.outputs)
    for lot in in_portions(told, lambda tensors: output_bytes + sum(len(tensor.data) for tensor in tensors), lot_bytes):
        if not device.facts.python:
            _check(engine, lot)
            yield from (outputs_of(outputs, engine, signature) for outputs in benchmark_model.infer(folder, engine, lot, device))
            continue
        with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
            desk = _put(device, folder, engine, lot, Path(stage), {"infer": "outputs", "threads": 1})
            _ask(device, desk, Path(stage), INFER_PATIENCE_S)
            for suffix in (".json", ".bin"):
                device.pull(desk / f"outputs{suffix}", Path(stage, f"outputs{suffix}"))
            _clear(device, desk)
            for outputs in read_tensors(str(Path(stage, "outputs"))):
                yield outputs_of(outputs, engine, signature)


def count(folder: Path, engine: Engine, feeds: Feeds, device: Device, *, signature: Signature) -> Instructions:
    """Count the instructions of a query on a device that emulates a processor and counts.

    Args:
        folder: where the engine lies.
        engine: its record.
        feeds: inputs by name, in the source's layout and element type; the first is used.
        device: where it runs; its facts name the interpreter under which is counted.
        signature: of the model it was made from.

    Raises:
        DeviceError: the device or the runtime there refuses.
        SamplesError: a sample does not fit the engine.
        UsageError: the engine is not built yet.
    """
    from edgekit.measure.ports import feed_tensors

    told = [feed_tensors(feed, engine, signature) for feed in itertools.islice(feeds, 1)]
    with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
        desk = _put(device, folder, engine, told, Path(stage), {"count": COUNTED._asdict(), "threads": 1})
        answer = _ask(device, desk, Path(stage), INFER_PATIENCE_S, python=device.facts.counting)
        device.pull(desk / FILE, Path(stage, FILE))
        _clear(device, desk)
        text = Path(stage, FILE).read_text(encoding="utf-8", errors="replace")
    if answer.count is None:
        raise DeviceError(f"{device.facts.name}: the agent's answer lacks what was asked for", hint="is an older edgekit installed there?")
    counts = counts_between(text, answer.count.warmup, answer.count.queries, device.facts.name)
    return Instructions(per_query=counts, cpu=device.facts.cpu, runtime=runtime_of(answer.versions))


def _port_bytes(shape: tuple[int | str, ...], dtype: str) -> int:
    import numpy as np

    return math.prod(size for size in shape if isinstance(size, int)) * np.dtype(dtype).itemsize


def _check(engine: Engine, feeds: list[list[Tensor]]) -> None:
    """Whether there is something to run, and to run it on."""
    if engine.status != "built":
        raise UsageError(f"{engine.target} {engine.runtime}: {engine.status}", hint="build it on the device first: --device URL")
    if not feeds:
        raise SamplesError("there are no samples to run the engine on", hint="--samples takes a folder of pictures or .npz files")


def _put(device: Device, folder: Path, engine: Engine, feeds: list[list[Tensor]], stage: Path, tasks: dict[str, Any]) -> PurePosixPath:
    """Put agent, job, feeds and engine into a fresh folder on the device."""
    _check(engine, feeds)
    agent = stage / "desk" / "edgekit_run"
    agent.mkdir(parents=True)
    for source in Path(edgekit.run.__file__).parent.glob("*.py"):
        shutil.copyfile(source, agent / source.name)
    write_tensors(str(stage / "desk" / "feeds"), feeds)
    job = {
        "schema": SCHEMA,
        "engine": f"engine/{engine.file}",
        "runtime": engine.runs_in,
        "options": engine.options,
        "inputs": [port.name for port in engine.inputs],
        "outputs": [port.name for port in engine.outputs],
        "feeds": "feeds",
        "latency": None,
        "infer": None,
        **tasks,
    }
    (stage / "desk" / "job.json").write_bytes(msgspec.json.encode(job))
    desk = device.workspace() / "desk"
    device.push(stage / "desk", desk)
    device.push(_needed(folder, engine, stage / "engine"), desk / "engine")
    return desk


def _needed(folder: Path, engine: Engine, stage: Path) -> Path:
    """An engine, its weights beside it and where it was built, in a folder without what else lies there."""
    where_built = [path for path in (folder / RESULT_FILE,) if path.is_file()]  # a plan is not opened elsewhere
    for path in (folder / engine.file, *external_files(folder / engine.file), *where_built):
        link = stage / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.absolute())
    return stage


def _ask(device: Device, desk: PurePosixPath, stage: Path, timeout_s: float, *, python: str = "") -> _Answer:
    """Run the agent, under the device's interpreter or another of its own, and read its answer.

    Raises:
        DeviceError, SamplesError: it has none, or it is an error.
    """
    start = 'cd "$1" && exec "$2" -m edgekit_run.agent job.json result.json'
    ran = device.run(["sh", "-c", start, "sh", str(desk), python or device.facts.python], timeout_s=timeout_s)
    result = stage / "result.json"
    if ran.status == 0:
        device.pull(desk / "result.json", result)
    else:
        with suppress(DeviceError):
            device.pull(desk / "result.json", result)
        if not result.exists():
            raise DeviceError(f"{device.facts.name}: the agent {ending(ran)}", hint=f"does {device.facts.python} run there, with enough memory?")
    try:
        answer = msgspec.json.decode(result.read_bytes(), type=_Answer)
    except msgspec.DecodeError as error:
        raise DeviceError(f"{device.facts.name}: the agent's answer cannot be read: {error}", hint="is the device's disk full?") from error
    if answer.error is not None:
        raise _error(answer.error, device)
    return answer


def _clear(device: Device, desk: PurePosixPath) -> None:
    """Make room for the next lot; what an error leaves behind goes when the device is closed."""
    device.run(["rm", "-rf", str(desk)], timeout_s=PATIENCE_S)


def _error(fault: _Fault, device: Device) -> EdgekitError:
    name = device.facts.name
    if fault.kind == "feeds":
        return SamplesError(f"{name}: {fault.reason}", hint="do these samples belong to this model?")
    hints = {
        "runtime": f"install it for {device.facts.python} on {name}",
        "engine": "is the file whole? build it again, for the runtime's version that is installed there",
        "job": "correct the runtime's options in the target file",
        "memory": "try a device with more memory, or a smaller model",
        "file": "is there room on the device's disk?",
    }
    return DeviceError(f"{name}: {fault.reason}", hint=hints.get(fault.kind, "edgekit doctor"))

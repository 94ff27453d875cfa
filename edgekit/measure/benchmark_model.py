"""Engines through LiteRT's ``benchmark_model``, on devices that have a shell and no Python.

It times queries and tells of them the mean and, in newer releases, the median, never each one. So many short blocks are timed, each
by a process of its own: the block's median is what stands among the latencies, and the blocks' means are what an interval of the mean
is made from. Where it takes inputs and writes outputs, those of every sample are had, too.
"""

from __future__ import annotations

import datetime
import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import msgspec

from edgekit.device.contract import Device, Ran
from edgekit.device.shell_facts import BENCHMARK_MODEL, Seen, parsed
from edgekit.device.shell_scripts import INSPECT
from edgekit.engine.contract import Engine
from edgekit.errors import DeviceError, InvalidMeasurementError, UnsupportedError
from edgekit.measure.benchmark_output import Printed
from edgekit.measure.benchmark_program import OUTPUT, PATIENCE_S, Program, get_it, in_order
from edgekit.measure.measurement import Blocks, Conditions, Load, Measurement, Memory, State
from edgekit.run.tensors import Tensor

if TYPE_CHECKING:
    from edgekit.engine.tflite.file import TfliteFile

INFER_PATIENCE_S = 3600.0
BLOCKS = 20
"""As many as there are batches where single queries are timed (:data:`edgekit.numerics.statistics.BATCHES`)."""
BLOCK_QUERIES = 8  # fewer in a block make more blocks of no use
FINE_US = 100  # medians are whole microseconds; below, one is more than 1 %, and means are finer
WARM_SHARE = 0.2  # of the warm-up, in each block: the clock is up, as one follows the other; what must warm up again are caches

# The state is read when nothing has had time to cool: before, right behind a block that is not counted; after, while another such runs.
_BLOCKS = r"""
look=$1 mark=$2 feeds=$3 blocks=$4 feed_count=$5 counted=$6 warm=$7; shift 7
run() {
  cd "$feeds/$1" || exit
  shift
  printf '\036block\036'
  "$@" 2>&1
  status=$?
  if [ $status != 0 ]; then exit $status; fi
}
run 0 "$@" $warm
sh -c "$look" edgekit "$mark" '' 2>/dev/null
printf '\036times\036'; times
block=0
while [ $block -lt "$blocks" ]; do
  run $((block % feed_count)) "$@" $counted
  block=$((block + 1))
done
printf '\036times\036'; times
"$@" $warm >/dev/null 2>&1 &
sh -c "$look" edgekit "$mark" '' 2>/dev/null
wait
"""

# Sample by sample out of one file an input; all outputs into one file.
_INFER = r"""
desk=$1 samples=$2; shift 2
cd "$desk" || exit
: >outputs.bin
sample=0
while [ $sample -lt "$samples" ]; do
  for sizes in inputs/*.size; do
    input=${sizes%.size}
    name=${input##*/}
    size=$(cat "$sizes")
    tail -c "+$((sample * size + 1))" "$input" | head -c "$size" >"$name" || exit
  done
  rm -f output
  "$@" >log 2>&1
  status=$?
  if [ $status != 0 ]; then cat log; exit $status; fi
  cat output >>outputs.bin || exit
  sample=$((sample + 1))
done
"""


def measure(folder: Path, engine: Engine, feeds: Sequence[Sequence[Tensor]], device: Device, load: Load) -> Measurement:
    """Time an engine in blocks.

    Args:
        folder: where the engine lies.
        engine: its record.
        feeds: inputs of some samples, as the engine takes them; the blocks take turns with them.
        device: where it runs.
        load: for how long.

    Raises:
        DeviceError: the device or the program there refuses.
        InvalidMeasurementError: a query is too short for its clock.
    """
    from edgekit.engine.tflite.file import read_tflite

    program, file = Program(device, engine), read_tflite(folder / engine.file)
    desk, taken_at = device.workspace(), datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    device.push(folder / engine.file, desk / "engine")
    on_samples = not program.why_no_inputs()
    _put(device, desk, feeds if on_samples else [()], file)
    command = program.command(desk / "engine", load.threads, feeds[0], file)
    warm = program.runs(warmup_s=load.warmup_s, warmup_queries=load.warmup_queries, queries=1, most_s=load.max_duration_s)
    pilot = _pilot(program, device, desk, [*command, *warm, *program.peak()])
    longest = max((pilot.warmup, pilot.timed), key=lambda series: series.queries)
    blocks, queries = _planned(longest.mean_us / 1e6, load)
    most_s = load.max_duration_s / blocks
    counted = program.runs(warmup_s=WARM_SHARE * load.warmup_s, warmup_queries=load.warmup_queries, queries=queries, most_s=most_s)
    mark = f"look-{desk.parent.name}"
    numbers = [str(blocks), str(len(feeds) if on_samples else 1)]
    ran = device.run(
        ["sh", "-c", _BLOCKS, "edgekit", INSPECT, mark, str(desk), *numbers, " ".join(counted), " ".join(warm), *command],
        timeout_s=PATIENCE_S + 3 * (load.max_duration_s + blocks * load.warmup_s),
    )
    seen = _Seen.of(ran, mark, program)
    device.run(["rm", "-rf", str(desk)], timeout_s=PATIENCE_S)
    timed = [one.timed for one in seen.blocks]
    if not all(one.mean_us for one in timed):
        raise InvalidMeasurementError(
            f"{device.facts.name}: a query took less than the microseconds that benchmark_model counts", hint="measure a larger engine"
        )
    is_fine = all(one.median_us is not None and one.median_us >= FINE_US for one in timed)
    kind: Literal["median", "mean"] = "median" if is_fine else "mean"
    first_us = pilot.warmup.first_us or pilot.timed.first_us or 0
    return Measurement(
        target=engine.target,
        runtime=engine.runtime,
        engine_sha256=engine.sha256,
        device=device.facts,
        load=load,
        latencies_ns=tuple(round(1000 * (one.median_us if is_fine and one.median_us else one.mean_us)) for one in timed),
        warmup=sum(one.warmup.queries for one in seen.blocks),
        first_ns=1000 * first_us,
        load_ns=round(pilot.load_ms * 1e6),
        import_ns=None,
        memory=Memory(peak_mib=pilot.peak_mib, base_mib=None, load_mib=pilot.loaded_mib),
        conditions=Conditions(
            taken_at=taken_at,
            facts=seen.before.facts,
            versions={BENCHMARK_MODEL: (device.facts.packages or {}).get(BENCHMARK_MODEL, "")},
            feeds=len(feeds) if on_samples else 0,
            before=msgspec.convert(seen.before.state, State),
            after=msgspec.convert(seen.after.state, State),
            wall_s=seen.after.state["monotonic_s"] - seen.before.state["monotonic_s"],
            cpu_s=seen.cpu_s,
            capped=sum(one.queries for one in timed) < load.min_queries,
        ),
        blocks=Blocks(
            queries=tuple(one.queries for one in timed),
            means_ns=tuple(round(1000 * one.mean_us) for one in timed),
            latency=kind,
            on_samples=on_samples,
        ),
    )


def infer(folder: Path, engine: Engine, feeds: Sequence[Sequence[Tensor]], device: Device) -> Iterator[list[Tensor]]:
    """Outputs of an engine, sample by sample, as the engine gives them.

    Args:
        folder: where the engine lies.
        engine: its record.
        feeds: inputs of a lot of samples, as the engine takes them.
        device: where it runs.

    Raises:
        DeviceError: the device or the program there refuses.
        UnsupportedError: the program there tells no outputs.
    """
    import numpy as np

    from edgekit.engine.tflite.file import read_tflite

    program, file = Program(device, engine), read_tflite(folder / engine.file)
    if reason := program.why_no_outputs():
        raise UnsupportedError(f"{device.facts.name}: outputs cannot be had: {reason}", hint=f"put a newer one there: {get_it(device.facts.url)}")
    desk = device.workspace()
    device.push(folder / engine.file, desk / "engine")
    ordered = [in_order(feed, [port.name for port in file.inputs]) for feed in feeds]
    once = program.runs(warmup_s=0, warmup_queries=0, queries=1, most_s=INFER_PATIENCE_S)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
        inputs = Path(stage, "inputs")
        inputs.mkdir()
        for number in range(len(ordered[0])):
            (inputs / str(number)).write_bytes(b"".join(feed[number].data for feed in ordered))
            (inputs / f"{number}.size").write_text(str(len(ordered[0][number].data)))
        device.push(inputs, desk / "inputs")
        command = [*program.command(desk / "engine", 1, feeds[0], file), *once, f"--{OUTPUT}=output"]
        ran = device.run(["sh", "-c", _INFER, "edgekit", str(desk), str(len(feeds)), *command], timeout_s=INFER_PATIENCE_S)
        if ran.status:
            raise program.failed(ran, (ran.stdout + ran.stderr).decode(errors="replace"))
        device.pull(desk / "outputs.bin", Path(stage, "outputs.bin"))
        content = Path(stage, "outputs.bin").read_bytes()
    device.run(["rm", "-rf", str(desk)], timeout_s=PATIENCE_S)
    by_name = {port.name: port for port in engine.outputs}
    names = [port.name for port in file.outputs]
    ports = [by_name[name] for name in names] if set(names) == set(by_name) else list(engine.outputs)
    shapes = [tuple(size for size in port.shape if isinstance(size, int)) for port in ports]
    sizes = [math.prod(shape) * np.dtype(port.dtype).itemsize for port, shape in zip(ports, shapes, strict=True)]
    if len(content) != sum(sizes) * len(feeds):
        raise DeviceError(
            f"{device.facts.name}: benchmark_model wrote {len(content)} bytes of outputs, not {sum(sizes) * len(feeds)}",
            hint="is the device's disk full? Else its outputs have other sizes than the engine's record says",
        )
    starts = np.cumsum([0, *sizes * len(feeds)]).tolist()
    for number in range(len(feeds)):
        yield [
            Tensor(port.name, port.dtype, shape, content[starts[number * len(ports) + index] :][: sizes[index]])
            for index, (port, shape) in enumerate(zip(ports, shapes, strict=True))
        ]


def why_no_outputs(device: Device, engine: Engine) -> str:
    """Why what an engine answers on a device cannot be had; "" if it can, or is not asked for here.

    Raises:
        DeviceError: nothing there runs it.
    """
    return "" if device.facts.python else Program(device, engine).why_no_outputs()


def _put(device: Device, desk: PurePosixPath, feeds: Sequence[Sequence[Tensor]], file: TfliteFile) -> None:
    """A folder a feed, in which each input is a file by its number."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
        for index, feed in enumerate(feeds):
            folder = Path(stage, "feeds", str(index))
            folder.mkdir(parents=True)
            for number, tensor in enumerate(in_order(feed, [port.name for port in file.inputs]) if feed else ()):
                (folder / str(number)).write_bytes(tensor.data)
        device.push(Path(stage, "feeds"), desk)


def _pilot(program: Program, device: Device, desk: PurePosixPath, command: Sequence[str]) -> Printed:
    """A first run, whose times decide how often the others run."""
    ran = device.run(["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(desk / "0"), *command], timeout_s=PATIENCE_S)
    return program.printed(ran, (ran.stdout + b"\n" + ran.stderr).decode(errors="replace"))


def _planned(query_s: float, load: Load) -> tuple[int, int]:
    """How many blocks, and how many queries each; an odd number of these has a median in its middle."""
    wanted = max(load.min_queries, math.ceil(load.min_duration_s / query_s)) if query_s > 0 else load.min_queries
    if query_s > 0:
        wanted = max(2, min(wanted, math.floor(load.max_duration_s / query_s)))
    blocks = max(min(wanted, 5), min(BLOCKS, wanted // BLOCK_QUERIES))
    return blocks, math.ceil(wanted / blocks) | 1


class _Seen(msgspec.Struct, frozen=True):
    """What the blocks left."""

    blocks: list[Printed]
    before: Seen
    after: Seen
    cpu_s: float

    @classmethod
    def of(cls, ran: Ran, mark: str, program: Program) -> _Seen:
        """Read what the script printed.

        Raises:
            DeviceError: a block failed, or the device did not tell of its state.
        """
        text = ran.stdout.decode(errors="replace")
        if ran.status:
            raise program.failed(ran, text.rpartition("\036block\036")[2] + ran.stderr.decode(errors="replace"))
        _, *looks = text.split(f"\036{mark}\036")
        seen = [parsed(f"\036{mark}\036{look}".encode(), mark) for look in looks]
        parts = text.split("\036times\036")
        spent = [_children_s(part) for part in parts[1:]]
        if len(seen) != 2 or seen[0] is None or seen[1] is None or len(spent) != 2 or spent[0] is None or spent[1] is None:
            raise DeviceError(
                f"{program.device.facts.name}: its shell does not tell what was spent", hint="is its /proc there, and its disk not full?"
            )
        printed = [program.printed(ran, said) for said in parts[1].split("\036block\036")[1:]]
        return cls(printed, seen[0], seen[1], spent[1] - spent[0])


def _children_s(times: str) -> float | None:
    """Processor time of a shell's children, from what ``times`` prints: its own on the first line, theirs on the second."""
    spans = re.findall(r"(\d+)m([\d.]+)s", times)
    return sum(60 * float(minutes) + float(seconds) for minutes, seconds in spans[2:4]) if len(spans) >= 4 else None

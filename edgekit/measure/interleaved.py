"""Engines timed in turn, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgekit.device.contract import Device
from edgekit.engine.contract import Engine
from edgekit.measure.compare import Timings
from edgekit.measure.measurement import Load, Measurement
from edgekit.measure.measuring import measure
from edgekit.model import Signature

if TYPE_CHECKING:
    from edgekit.measure.measuring import Feeds

ROUNDS = 4
"""Even: each engine goes first as often as last."""


def measure_interleaved(
    engines: Sequence[tuple[Path, Engine]], feeds: Callable[[], Feeds], device: Device, load: Load, *, signature: Signature
) -> tuple[tuple[Measurement, ...], ...]:
    """Time engines in rounds, in a process of its own each time; every other round goes backwards.

    Args:
        engines: folder and record of each; all with the ports of ``signature``.
        feeds: inputs by name, anew for each run.
        device: where they run.
        load: for how long each of them, over all rounds.
        signature: names, shapes and layouts of the feeds.

    Returns:
        The measurements of each engine, in the engines' order.

    Raises:
        DeviceError: the device or the runtime there refuses.
        SamplesError: a sample does not fit an engine.
    """
    share = msgspec.structs.replace(
        load,
        min_queries=max(2, math.ceil(load.min_queries / ROUNDS)),
        min_duration_s=load.min_duration_s / ROUNDS,
        max_duration_s=load.max_duration_s / ROUNDS,
    )
    taken: list[list[Measurement]] = [[] for _ in engines]
    for number in range(ROUNDS):
        order: Iterable[int] = range(len(engines)) if number % 2 == 0 else reversed(range(len(engines)))
        for index in order:
            folder, engine = engines[index]
            taken[index].append(measure(folder, engine, feeds(), device, share, signature=signature))
    return tuple(map(tuple, taken))


def joined(rounds: Sequence[Measurement]) -> Timings:
    """The times of several runs of one engine end to end, under their average load."""
    summaries = [one.summary() for one in rounds]
    wall = sum(one.conditions.wall_s for one in rounds)
    others = [(one.conditions.others_cores, one.conditions.wall_s) for one in rounds]
    together = {
        "processor_share": sum(one.conditions.cpu_s for one in rounds) / wall,
        "others_cores": None if any(cores is None for cores, _ in others) else sum((cores or 0.0) * wall_s for cores, wall_s in others) / wall,
        "wall_s": wall,
        "throttled": sorted({name for summary in summaries for name in summary["throttled"]}),
        "capped": any(one.conditions.capped for one in rounds),
    }
    return Timings(latencies_ns=tuple(time for one in rounds for time in one.latencies_ns), conditions={**summaries[-1], **together})

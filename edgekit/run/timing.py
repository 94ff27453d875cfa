"""The timing loop, the same on every device. Needs nothing but Python."""

from __future__ import annotations

import gc
import time
from typing import Any, Callable, List, NamedTuple, Sequence

from .session import Session

NS = 1_000_000_000
FEWEST_QUERIES = 2  # below that nothing can be said of spread, whatever the cap


class Load(NamedTuple):
    """How long to run, single stream: one query after the other.

    Attributes:
        warmup_s, warmup_queries: the warm-up ends when both are met.
        min_queries, min_duration_s: the run ends when both are met (as in MLPerf LoadGen), …
        max_duration_s: … or here, whatever was reached. Also caps the warm-up.
    """

    warmup_s: float
    warmup_queries: int
    min_queries: int
    min_duration_s: float
    max_duration_s: float


class Timed(NamedTuple):
    """What a run saw.

    Attributes:
        latencies_ns: of each query, in order.
        wall_ns: the whole run by the clock.
        cpu_ns: processor time of this process in it, all threads.
        capped: whether ``max_duration_s`` ended it before ``min_queries`` were done.
    """

    latencies_ns: List[int]
    wall_ns: int
    cpu_ns: int
    capped: bool


def warm_up(session: Session, feeds: Sequence[Any], load: Load, clock: Callable[[], int] = time.perf_counter_ns) -> int:
    """Run queries that are not counted: caches fill, lazy allocation happens, clocks rise.

    Returns:
        How many were run.
    """
    begun = clock()
    done = 0
    while True:
        session.run(feeds[done % len(feeds)])
        done += 1
        elapsed = clock() - begun
        if elapsed >= load.max_duration_s * NS:
            return done
        if elapsed >= load.warmup_s * NS and done >= load.warmup_queries:
            return done


def time_queries(
    session: Session,
    feeds: Sequence[Any],
    load: Load,
    clock: Callable[[], int] = time.perf_counter_ns,
    cpu_clock: Callable[[], int] = time.process_time_ns,
) -> Timed:
    """Time queries one after the other; inputs go round over ``feeds``.

    The garbage collector is off meanwhile, as in ``timeit``: its pauses belong to Python, not to the engine.

    Args:
        session: the engine.
        feeds: inputs, prepared.
        load: when to stop.
        clock: nanoseconds, monotonic.
        cpu_clock: nanoseconds of processor time of this process.
    """
    least_ns, most_ns = load.min_duration_s * NS, load.max_duration_s * NS
    latencies: List[int] = []
    collected = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        cpu_begun = cpu_clock()
        begun = clock()
        while True:
            ready = feeds[len(latencies) % len(feeds)]
            start = clock()
            outputs = session.run(ready)
            end = clock()
            latencies.append(end - start)
            del outputs
            elapsed = end - begun
            if elapsed >= least_ns and len(latencies) >= load.min_queries:
                break
            if elapsed >= most_ns and len(latencies) >= FEWEST_QUERIES:
                break
        cpu_ns = cpu_clock() - cpu_begun
    finally:
        if collected:
            gc.enable()
    return Timed(latencies, elapsed, cpu_ns, capped=len(latencies) < load.min_queries)

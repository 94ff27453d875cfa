"""Two series of times: which is faster, if that can be said at all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from edgekit.errors import InvalidMeasurementError

SAME = ("device", "arch", "cpu", "emulated", "threads", "governor", "load", "timed")
FEWEST_QUERIES = 11  # see edgekit.numerics.statistics.fewest_queries(0.5)
# Two runs of the same engine differ by more than either run shows within itself: memory lies elsewhere, clocks stand elsewhere.
# Source: Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013; a few per cent are usual.
BETWEEN_RUNS = 0.03
# What others do on the same processor changes times too, even of a thread that nobody interrupts: it shares caches, memory and, with
# simultaneous multithreading, the core. A busy sibling made queries 1.5 times as long on a machine of two (half of it busy more).
PER_LOAD = 1.2
LOAD_TOLERANCE = 0.25
SHARE_TOLERANCE = 1.25


class Timings(msgspec.Struct, frozen=True):
    """Times, and the conditions they were taken under as a report holds them.

    Attributes:
        latencies_ns: of each query, in order.
        conditions: see :meth:`edgekit.measure.measurement.Measurement.summary`.
    """

    latencies_ns: tuple[int, ...]
    conditions: dict[str, Any]


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be said of two series.

    Attributes:
        outcome: of the second against the first.
        ratio: second median by first median; above 1 the second is slower.
        ci95: 95 % confidence interval of the ratio, by block bootstrap: noise within the two runs.
        p50_ms: both medians, first and second.
    """

    outcome: Literal["faster", "slower", "no difference beyond noise"]
    ratio: float
    ci95: tuple[float, float]
    p50_ms: tuple[float, float]


def compare(first: Timings, second: Timings, *, between_runs: float = BETWEEN_RUNS) -> Comparison:
    """Compare two series of times taken under the same conditions.

    Args:
        first: what is compared with.
        second: what is compared.
        between_runs: smallest difference, as a share, that two runs of one engine would not show by themselves on a quiet machine;
            where the machine was not equally busy with other things, more is asked for.

    Raises:
        InvalidMeasurementError: conditions differ, or there are too few queries; every reason is named.
    """
    reasons = differences(first, second)
    for which, series in (("first", first), ("second", second)):
        if len(series.latencies_ns) < FEWEST_QUERIES:
            reasons.append(f"the {which} has {len(series.latencies_ns)} queries, {FEWEST_QUERIES} are needed")
    if reasons:
        raise InvalidMeasurementError("cannot be compared: " + "; ".join(reasons), hint="measure both again under the same conditions: edgekit bench")
    from edgekit.numerics.statistics import median_ratio_interval, percentile

    medians = percentile(first.latencies_ns, 0.5), percentile(second.latencies_ns, 0.5)
    low, high = median_ratio_interval(second.latencies_ns, first.latencies_ns)
    ratio = medians[1] / medians[0]
    least = _least_ratio(first.conditions, second.conditions, between_runs)
    outcome: Literal["faster", "slower", "no difference beyond noise"] = "no difference beyond noise"
    if low > 1 and ratio > least:
        outcome = "slower"
    elif high < 1 and ratio < 1 / least:
        outcome = "faster"
    return Comparison(outcome=outcome, ratio=ratio, ci95=(low, high), p50_ms=(medians[0] / 1e6, medians[1] / 1e6))


def _difference(name: str, one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
        return ", ".join(f"{name}.{key}: {one.get(key)} and {other.get(key)}" for key in keys)
    return f"{name}: {one} and {other}"


def differences(first: Timings, second: Timings) -> list[str]:
    """Conditions that keep two series from being compared, one line each.

    Two runtimes may be compared with one another, two versions of one may not: then it is unknown which of the two changes was
    measured. With one thread, the share of the processor that each had must be alike.
    """
    one, other = first.conditions, second.conditions
    found = [_difference(name, one.get(name), other.get(name)) for name in SAME if one.get(name) != other.get(name)]
    runtimes = one.get("runtime", ""), other.get("runtime", "")
    if runtimes[0] != runtimes[1] and runtimes[0].partition(" ")[0] == runtimes[1].partition(" ")[0]:
        found.append(f"runtime: {runtimes[0]} and {runtimes[1]}")
    if _share_ratio(one, other) > SHARE_TOLERANCE:
        found.append(f"other load: the engines had {one['processor_share']:.0%} and {other['processor_share']:.0%} of a processor")
    elif _load_difference(one, other) > LOAD_TOLERANCE:
        found.append(f"other load: other processes kept {one['others_cores']:.1f} and {other['others_cores']:.1f} of {one['cpus']} processors busy")
    return found


def _least_ratio(one: Mapping[str, Any], other: Mapping[str, Any], between_runs: float) -> float:
    """The ratio of medians from which on a difference is the engines' and not the machine's."""
    return (1 + between_runs + PER_LOAD * _load_difference(one, other)) * _share_ratio(one, other)


def _share_ratio(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How many times more of a processor one thread had than the other; 1 where more threads leave that unknown."""
    ours, theirs = one.get("processor_share"), other.get("processor_share")
    if not ours or not theirs or not one.get("threads") == other.get("threads") == 1:
        return 1.0
    return float(max(ours, theirs) / min(ours, theirs))


def _load_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How differently busy others kept the machine, as a share of all its processors; 0 where that is not known."""
    busy = one.get("others_cores"), other.get("others_cores")
    if busy[0] is None or busy[1] is None:
        return 0.0
    return float(abs(busy[0] - busy[1]) / (one.get("cpus") or 1))

"""What may be said of a measurement: its figures, the remarks a reader needs, and whether it must not be used. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import msgspec

from edgekit.errors import InvalidMeasurementError
from edgekit.measure.measurement import Blocks, Measurement

# Gross faults: beyond these a figure misleads whatever remark stands beside it.
CLOCK_DROP = 0.2
UNSURE_MEDIAN = 0.5
DRIFT_FAULT = 0.5
# Remarks: from here on a reader should know.
DRIFT_REMARK = 0.05
BUSY_SHARE = 0.9
STEAL_CORES = 0.02


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times of single queries in figures.

    Attributes:
        p50_ms: median.
        p90_ms, p99_ms: percentiles; None where too few queries stand behind them, and the reason says how many are needed.
        mean_ms: mean.
        ci95_ms: 95 % confidence interval of the mean, by batch means.
        n: timed queries.
        warmup: queries before these that are not counted.
        first_ms: the first query after loading.
        load_ms: from the file to an engine ready for its first query.
        p90_reason, p99_reason: why a percentile is missing.
        invalid: reasons why these times must not be used; empty if they may be.
    """

    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    ci95_ms: tuple[float, float]
    n: int
    warmup: int
    first_ms: float
    load_ms: float
    p90_reason: str = ""
    p99_reason: str = ""
    invalid: tuple[str, ...] = ()


def summarize(measurement: Measurement) -> Latency:
    """The figures of a measurement."""
    from edgekit.numerics.statistics import mean_interval, percentile

    times, blocks = measurement.latencies_ns, measurement.blocks
    p90_ms, p90_reason = _percentile_ms(measurement, 0.9)
    p99_ms, p99_reason = _percentile_ms(measurement, 0.99)
    low, high = mean_interval(times if blocks is None else blocks.means_ns)
    return Latency(
        p50_ms=percentile(times, 0.5) / 1e6,
        p90_ms=p90_ms,
        p99_ms=p99_ms,
        mean_ms=(statistics.fmean(times) if blocks is None else statistics.fmean(blocks.means_ns, weights=blocks.queries)) / 1e6,
        ci95_ms=(low / 1e6, high / 1e6),
        n=measurement.queries,
        warmup=measurement.warmup,
        first_ms=measurement.first_ns / 1e6,
        load_ms=measurement.load_ns / 1e6,
        p90_reason=p90_reason,
        p99_reason=p99_reason,
        invalid=tuple(_faults(measurement)),
    )


def _percentile_ms(measurement: Measurement, share: float) -> tuple[float | None, str]:
    from edgekit.numerics.statistics import fewest_queries, percentile

    if measurement.blocks is not None:
        return None, "benchmark_model tells no single times"
    times = measurement.latencies_ns
    needed = fewest_queries(share)
    if len(times) < needed:
        return None, f"{len(times)} queries; {needed} are needed"
    return percentile(times, share) / 1e6, ""


def refuse_invalid(measurement: Measurement) -> Measurement:
    """The measurement itself, if it may be used.

    Raises:
        InvalidMeasurementError: it must not be.
    """
    faults = list(_faults(measurement))
    if faults:
        raise InvalidMeasurementError(
            f"{measurement.target} {measurement.runtime} on {measurement.device.name}: " + "; ".join(faults),
            hint="let the device cool, stop what else runs there, and measure again: edgekit bench",
        )
    return measurement


def _faults(measurement: Measurement) -> Iterator[str]:
    from edgekit.numerics.statistics import drift, median_interval, percentile

    seen = measurement.conditions
    held_back = [name for name in seen.throttling if name != "cgroup quota"]
    if held_back:
        yield f"the processor was throttled ({', '.join(held_back)})"
    before, after = seen.before.clock_mhz, seen.after.clock_mhz
    if before and after and after < (1 - CLOCK_DROP) * before:
        yield f"the clock fell from {before:.0f} to {after:.0f} MHz"
    median = percentile(measurement.latencies_ns, 0.5)
    low, high = median_interval(measurement.latencies_ns)
    if high - low > 2 * UNSURE_MEDIAN * median:
        yield f"too noisy: the median lies somewhere from {low / 1e6:.3g} to {high / 1e6:.3g} ms"
    trend = drift(measurement.latencies_ns)
    if trend.is_certain and abs(trend.change) > DRIFT_FAULT:
        yield f"not steady: queries became {_change(trend.change)} during the run"


def _change(change: float) -> str:
    return f"{abs(change):.0%} {'slower' if change > 0 else 'faster'}"


def remarks_on(measurement: Measurement) -> tuple[str, ...]:
    """What a reader of these figures should know, in sentences; empty for a quiet machine that tells everything."""
    return (*_about_load(measurement), *_about_steadiness(measurement), *_about_device(measurement))


def _about_load(measurement: Measurement) -> Iterator[str]:
    seen = measurement.conditions
    others = seen.others_cores
    computes_elsewhere = measurement.runtime.startswith("tensorrt")  # on a GPU, whose work is no processor's time
    if measurement.blocks is not None:
        yield from _about_blocks(measurement, measurement.blocks)
    if "trtexec" in seen.versions:
        yield "Run by trtexec: times are of its clock, copies to the GPU and back within them; the first query includes its start and loading."
    if not computes_elsewhere and measurement.blocks is None and measurement.load.threads == 1 and seen.processor_share < BUSY_SHARE:
        besides = f"; others kept {others:.1f} of {seen.facts.get('cpus')} processors busy" if others else ""
        yield f"The machine was shared: the engine had a processor {seen.processor_share:.0%} of the time{besides}."
    elif others is not None and others > 1 - BUSY_SHARE:
        yield f"Other processes kept {others:.1f} of {seen.facts.get('cpus')} processors busy meanwhile."
    if seen.steal_cores and seen.steal_cores > STEAL_CORES:
        yield f"The hypervisor took {seen.steal_cores:.0%} of a processor away meanwhile."
    if "cgroup quota" in seen.throttling:
        yield f"The container's limit of {seen.facts.get('cpu_quota')} processors paused the process."


def _about_blocks(measurement: Measurement, blocks: Blocks) -> Iterator[str]:
    """How times came about that are no single queries'."""
    few, most = min(blocks.queries), max(blocks.queries)
    each = f"{few} to {most}" if few < most else str(few)
    kind = f"p50 is the median of the blocks' {blocks.latency}s"
    rounded = ", which are whole microseconds" if blocks.latency == "median" else ", as medians are not printed, or in whole microseconds"
    yield (
        f"Run by benchmark_model, which tells no single times: {len(blocks.queries)} blocks of {each} queries, each a process of its own and "
        f"warmed up; {kind}{rounded}; the mean and its interval are of the blocks' means. A query is the engine's work alone, its inputs in place."
    )
    if not blocks.on_samples:
        yield "The queries ran on random numbers of benchmark_model's own: this one takes no inputs."


def _about_steadiness(measurement: Measurement) -> Iterator[str]:
    from edgekit.numerics.statistics import drift

    times = measurement.latencies_ns
    trend = drift(times)
    if trend.is_certain and abs(trend.change) > DRIFT_REMARK:
        yield f"Queries became {_change(trend.change)} from the beginning of the run to its end."
    if measurement.conditions.capped:
        wanted = measurement.load.min_queries
        yield f"{measurement.queries} of {wanted} queries were done when the longest allowed time of {measurement.load.max_duration_s:g} s was over."


def _about_device(measurement: Measurement) -> Iterator[str]:
    seen = measurement.conditions
    if measurement.device.emulated:
        yield f"{measurement.device.name} is emulated: its times say nothing about real hardware."
    if seen.after.governors and seen.after.governors != ("performance",):
        yield f"The clock governor is {', '.join(seen.after.governors)}, not performance."
    unknown = [
        name
        for name, known in (
            ("the clock governor", seen.after.governors),
            ("temperatures", seen.after.temperatures_c),
            ("throttling", seen.after.throttle_counts or seen.after.throttled_now),
        )
        if not known
    ]
    if unknown:
        yield f"The device does not tell {', '.join(unknown)}."

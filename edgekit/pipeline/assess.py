"""Latency and memory of engines, measured anew each time; the report's entry of an engine, its budget judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from edgekit.measure import Found, Judged, Load, Measurement, judge, measure, remarks_on, summarize
from edgekit.model import Signature
from edgekit.pipeline.line import Built
from edgekit.pipeline.place import Bench, why_not_here
from edgekit.pipeline.remarks import on_engine
from edgekit.pipeline.score import Scores
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan
from edgekit.recipe import Budget
from edgekit.report import EngineEntry, Latency, MeasuredOn
from edgekit.samples import Samples
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.samples import Feed

CODE_SUFFIXES = frozenset({".py", ".cc", ".kt", ".txt"})
NOT_METERED = "no power meter was read"


def timed(built: Built, plan: Plan, bench: Bench, workshop: Workshop, load: Load) -> tuple[Measurement | None, str]:
    """Time an engine; None and the reason where it cannot run."""
    reason = why_not_here(built.engine, bench)
    if reason:
        return None, reason
    workshop.watcher.begin(f"measure {built.chosen.key}")
    feeds = timing_feeds(plan.samples, built.model.signature)
    measurement = measure(built.folder, built.engine, feeds, bench.device, load, signature=built.model.signature)
    workshop.watcher.end(f"{len(measurement.latencies_ns)} queries")
    return measurement, ""


def timing_feeds(samples: Samples | None, signature: Signature) -> Iterator[Feed]:
    """Inputs to time with: judging samples, or random numbers where there are none."""
    return samples.feeds("judging", signature) if samples is not None else random_feeds(signature)


def random_feeds(signature: Signature, count: int = 4) -> Iterator[Feed]:
    """Inputs of a signature's shapes, uniform in 0 to 1 (integers: zeros), the same every time; open sizes become 1."""
    import numpy as np

    generator = np.random.default_rng(0)
    for _ in range(count):
        feed: Feed = {}
        for tensor in signature.inputs:
            shape = [size if isinstance(size, int) else 1 for size in tensor.shape]
            values = generator.random(shape) if np.issubdtype(np.dtype(tensor.dtype), np.floating) else np.zeros(shape)
            feed[tensor.name] = values.astype(tensor.dtype)
        yield feed


def latency_of(measurement: Measurement) -> Latency:
    """The figures and the raw times of a measurement, as a report holds them."""
    return Latency(**msgspec.structs.asdict(summarize(measurement)), samples_ns=measurement.latencies_ns)


def entry_of(built: Built, scores: Scores, measurement: Measurement | None, reason: str, plan: Plan, bench: Bench) -> EngineEntry:
    """All that is known of an engine, its budget judged."""
    one, engine = built.chosen, built.engine
    entry = EngineEntry(
        target=one.target.name,
        asked=one.asked,
        runtime=one.runtime,
        path=f"engines/{one.key}/{engine.file}",
        bytes=engine.bytes,
        sha256=engine.sha256,
        precision=engine.precision,
        status=engine.status,
        fidelity=scores.fidelity,
        fidelity_reason=scores.fidelity_reason,
        accuracy=scores.accuracy,
        accuracy_reason=scores.accuracy_reason,
        latency_reason=reason,
        memory_reason=reason,
        energy_reason=reason or NOT_METERED,
        details=engine.details,
        remarks=(*scores.remarks, *on_engine(built)),
        snippets=tuple(f"engines/{one.key}/{path.name}" for path in sorted(built.folder.iterdir()) if path.suffix in CODE_SUFFIXES),
    )
    if measurement is not None:
        entry = with_measurement(entry, measurement, bench.measured_on(one.target))
    return judged(entry, plan.budget, bench, one.target)


def with_measurement(entry: EngineEntry, measurement: Measurement, where: MeasuredOn) -> EngineEntry:
    """The entry with times, memory and the conditions they were taken under."""
    memory = measurement.memory
    return msgspec.structs.replace(
        entry,
        latency=latency_of(measurement),
        latency_reason="",
        memory=memory if memory.peak_mib is not None else None,
        memory_reason="" if memory.peak_mib is not None else "the system does not tell",
        energy_reason=NOT_METERED,
        measured_on=where,
        conditions=measurement.summary(),
        remarks=(*entry.remarks, *remarks_on(measurement)),
    )


def judged(entry: EngineEntry, budget: Budget, bench: Bench, target: Target) -> EngineEntry:
    """The entry with its budget judged anew."""
    return msgspec.structs.replace(entry, verdict=_verdict(entry, budget, bench, target))


def _verdict(entry: EngineEntry, budget: Budget, bench: Bench, target: Target) -> tuple[Judged, ...]:
    fidelity, accuracy, latency = entry.fidelity, entry.accuracy, entry.latency
    foreign = bench.foreign(target)
    found = Found(
        sqnr_db=fidelity.sqnr_db if fidelity else None,
        is_exact=fidelity is not None and fidelity.sqnr_db is None,
        agreement=fidelity.top1_agreement if fidelity else None,
        accuracy_drop=accuracy.top1_reference - accuracy.top1 if accuracy else None,
        latency_ms=latency.p50_ms if latency and not foreign else None,
        bytes=entry.bytes if entry.status == "built" else None,
        reasons={
            "min_sqnr_db": entry.fidelity_reason,
            "min_agreement": entry.fidelity_reason or "the first output holds no classes",
            "max_accuracy_drop": entry.accuracy_reason,
            "max_latency_ms": entry.latency_reason or foreign,
            "max_bytes": entry.status,
        },
    )
    return judge(budget, found)

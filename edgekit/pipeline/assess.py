"""Latency and memory of engines, measured anew each time, or instructions counted; the report's entry of an engine, its budget judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgekit.engine.contract import Engine
from edgekit.measure import Found, Instructions, Judged, Load, Measurement, count, judge, measure, remarks_on, summarize
from edgekit.model import Signature
from edgekit.passes.compress.compressed import COMPRESSING, compressed
from edgekit.pipeline.line import Built
from edgekit.pipeline.place import Bench, why_not_here
from edgekit.pipeline.remarks import on_engine
from edgekit.pipeline.score import Scores
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan
from edgekit.recipe import Budget
from edgekit.report import NOT_A_LATENCY, EngineEntry, Latency, MeasuredOn
from edgekit.samples import Samples
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.samples import Feed

CODE_SUFFIXES = frozenset({".py", ".cc", ".kt", ".txt"})
NOT_METERED = "no power meter was read"
NOT_COUNTED = "instructions are counted on emulated devices alone"
NOT_ITS_MEMORY = "emulated: the memory is the emulator's"
NO_COUNTER = "the emulator has no plugin that counts instructions"


@dataclass(frozen=True, slots=True)
class Taken:
    """What running an engine told: times and memory, or, where they would mean nothing, the instructions of a query.

    Attributes:
        measurement: times and memory.
        reason: why there are none.
        instructions: of a query.
        instructions_reason: why they were not counted.
    """

    measurement: Measurement | None = None
    reason: str = ""
    instructions: Instructions | None = None
    instructions_reason: str = ""

    @property
    def note(self) -> str:
        """What was taken, in a few words."""
        if self.measurement is not None:
            return f"{self.measurement.queries} queries"
        return f"{self.instructions.median:,} instructions a query" if self.instructions is not None else self.reason


def not_taken(reason: str) -> Taken:
    """Nothing, and why."""
    return Taken(reason=reason, instructions_reason=reason)


def timed(built: Built, plan: Plan, bench: Bench, workshop: Workshop, load: Load) -> Taken:
    """Time an engine, or count its instructions."""
    workshop.watcher.begin(f"measure {built.chosen.key}")
    found = take(built.folder, built.engine, plan.samples, built.model.signature, bench, load)
    workshop.watcher.end(found.note)
    return found


def take(folder: Path, engine: Engine, samples: Samples | None, signature: Signature, bench: Bench, load: Load) -> Taken:
    """Time an engine on a real processor; count its instructions on an emulated one, whose times are those of the emulator."""
    reason = why_not_here(engine, bench)
    if reason:
        return not_taken(reason)
    facts, feeds = bench.device.facts, timing_feeds(samples, signature)
    if not facts.emulated:
        return Taken(measurement=measure(folder, engine, feeds, bench.device, load, signature=signature), instructions_reason=NOT_COUNTED)
    if not facts.counting:
        return Taken(reason=NOT_A_LATENCY, instructions_reason=NO_COUNTER)
    return Taken(reason=NOT_A_LATENCY, instructions=count(folder, engine, feeds, bench.device, signature=signature))


def timing_feeds(samples: Samples | None, signature: Signature) -> Iterator[Feed]:
    """Inputs to time with: judging samples, or random numbers where there are none."""
    return samples.feeds("judging", signature) if samples is not None else random_feeds(signature)


def random_feeds(signature: Signature, count: int = 4, *, seed: int = 0) -> Iterator[Feed]:
    """Inputs of a signature's shapes, uniform in 0 to 1 (integers: zeros), the same for a seed; open sizes become 1."""
    import numpy as np

    generator = np.random.default_rng(seed)
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


def entry_of(built: Built, scores: Scores, found: Taken, plan: Plan, bench: Bench) -> EngineEntry:
    """All that is known of an engine, its budget judged."""
    one, engine = built.chosen, built.engine
    entry = EngineEntry(
        target=one.target.name,
        asked=one.asked,
        runtime=one.runtime,
        path=f"engines/{one.key}/{engine.file}",
        bytes=engine.bytes,
        compressed_bytes=_compressed(built),
        sha256=engine.sha256,
        precision=engine.precision,
        status=engine.status,
        fidelity=scores.fidelity,
        fidelity_reason=scores.fidelity_reason,
        accuracy=scores.accuracy,
        accuracy_reason=scores.accuracy_reason,
        metrics=scores.metrics,
        details=engine.details,
        delegation=engine.delegation,
        npu=engine.npu,
        remarks=(*scores.remarks, *on_engine(built)),
        snippets=tuple(f"engines/{one.key}/{path.name}" for path in sorted(built.folder.iterdir()) if path.suffix in CODE_SUFFIXES),
    )
    return judged(with_taken(entry, found, bench.measured_on(one.target)), plan.budget, bench, one.target)


def _compressed(built: Built) -> int | None:
    """What is left of an engine's file in a zip, where a step of compression may have made that less."""
    if not any(step.name in COMPRESSING for step in built.model.history):
        return None
    return compressed([(built.folder / built.engine.file).read_bytes()]).compressed


def with_taken(entry: EngineEntry, found: Taken, where: MeasuredOn) -> EngineEntry:
    """The entry with times, memory and the conditions they were taken under, or with instructions; nothing of an earlier run stays."""
    measurement = found.measurement
    counted = {"instructions": found.instructions, "instructions_reason": found.instructions_reason}
    if measurement is None:
        return msgspec.structs.replace(
            entry,
            **counted,
            latency=None,
            latency_reason=found.reason,
            memory=None,
            memory_reason=found.reason if found.reason != NOT_A_LATENCY else NOT_ITS_MEMORY,
            energy=None,
            energy_reason=found.reason,
            measured_on=where if found.instructions is not None else None,
            conditions={},
        )
    memory = measurement.memory
    return msgspec.structs.replace(
        entry,
        **counted,
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

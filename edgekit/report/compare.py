"""Two reports side by side; what was measured under different conditions is not compared, and why is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

import msgspec

from edgekit.errors import InvalidMeasurementError
from edgekit.measure import Comparison, Timings, compare
from edgekit.report.record import EngineEntry, Report
from edgekit.report.words import NONE, REFERENCE, change, number, percent, size, sqnr

KEPT, SLOWER, NOT_VALID = 0, 3, 5
V = TypeVar("V")
Pair = tuple[V | None, V | None]


class ComparedEngine(msgspec.Struct, frozen=True, kw_only=True):
    """One engine in both reports; of each pair the first is the first report's.

    Attributes:
        target, runtime: what it was built for.
        bytes: size of its file.
        sqnr_db, top1_agreement: fidelity to the float original, if both were judged by the same samples.
        fidelity_reason: why it is not compared.
        accuracy: share of labelled samples that are right, if both were judged by the same samples.
        latency: what can be said of the times; None where they cannot be compared.
        latency_reason: why not.
        is_refused: whether both were measured and yet must not be compared.
    """

    target: str
    runtime: str
    bytes: Pair[int]
    sqnr_db: Pair[float] = (None, None)
    top1_agreement: Pair[float] = (None, None)
    fidelity_reason: str = ""
    accuracy: Pair[float] = (None, None)
    latency: Comparison | None = None
    latency_reason: str = ""
    is_refused: bool = False


class ReportComparison(msgspec.Struct, frozen=True):
    """What two reports say of each other.

    Attributes:
        engines: of both reports, in the first's order.
        notes: what a reader should know, in sentences.
    """

    columns: ClassVar[tuple[str, ...]] = ("Target", "Runtime", "Size", "SQNR", "top-1 agr.", "accuracy", "p50 ms", "second to first", "Latency")

    engines: tuple[ComparedEngine, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """One row of :attr:`columns` an engine."""
        return tuple(_row(engine) for engine in self.engines)

    @property
    def exit_status(self) -> int:
        """5 where times were refused, 3 where an engine became slower beyond noise, else 0."""
        if any(engine.is_refused for engine in self.engines):
            return NOT_VALID
        slower = any(engine.latency is not None and engine.latency.outcome == "slower" for engine in self.engines)
        return SLOWER if slower else KEPT


def compare_reports(first: Report, second: Report) -> ReportComparison:
    """Compare engine by engine, by target and runtime; the float originals too, which shows whether the machine changed.

    Args:
        first: what is compared with.
        second: what is compared.
    """
    ours, theirs = _by_key(first), _by_key(second)
    same_samples = first.samples is not None and second.samples is not None and first.samples.sha256 == second.samples.sha256
    engines = tuple(_compared(ours.get(key), theirs.get(key), same_samples=same_samples) for key in dict.fromkeys((*ours, *theirs)))
    notes = [f"{_name(engine)}: {engine.latency_reason}" for engine in engines if engine.latency_reason]
    notes += dict.fromkeys(engine.fidelity_reason for engine in engines if engine.fidelity_reason)
    if first.model.sha256 != second.model.sha256:
        notes.insert(0, f"not the same model: {first.model.source} and {second.model.source}")
    return ReportComparison(engines=engines, notes=tuple(notes))


def _by_key(report: Report) -> dict[tuple[str, ...], EngineEntry]:
    found: dict[tuple[str, ...], EngineEntry] = {}
    for entry in report.references:
        found[REFERENCE, entry.runtime] = entry
    for entry in report.engines:
        found[entry.target, entry.runtime] = entry
    return found


def _name(engine: ComparedEngine) -> str:
    return f"{engine.target} ({engine.runtime})"


def _compared(first: EngineEntry | None, second: EngineEntry | None, *, same_samples: bool) -> ComparedEngine:
    known = first or second
    if known is None:
        raise ValueError("an engine of neither report")
    both = ComparedEngine(target=known.target, runtime=known.runtime, bytes=_pair(first, second, lambda entry: entry.bytes))
    if first is None or second is None:
        missing = "first" if first is None else "second"
        return msgspec.structs.replace(both, latency_reason=f"not in the {missing} report")
    return msgspec.structs.replace(both, **_fidelity(first, second, same_samples=same_samples), **_latency(first, second))


def _pair(first: EngineEntry | None, second: EngineEntry | None, read: Callable[[EngineEntry], V | None]) -> Pair[V]:
    return (read(first) if first is not None else None, read(second) if second is not None else None)


def _fidelity(first: EngineEntry, second: EngineEntry, *, same_samples: bool) -> dict[str, object]:
    if first.fidelity is None or second.fidelity is None:
        return {}
    if not same_samples:
        return {"fidelity_reason": "fidelity and accuracy are not compared: other samples judged"}
    return {
        "sqnr_db": (_decibels(first), _decibels(second)),
        "top1_agreement": (first.fidelity.top1_agreement, second.fidelity.top1_agreement),
        "accuracy": _pair(first, second, lambda entry: entry.accuracy.top1 if entry.accuracy else None),
    }


def _decibels(entry: EngineEntry) -> float | None:
    """SQNR; infinite where the outputs are equal."""
    if entry.fidelity is None:
        return None
    return float("inf") if entry.fidelity.sqnr_db is None else entry.fidelity.sqnr_db


def _latency(first: EngineEntry, second: EngineEntry) -> dict[str, object]:
    for which, entry in (("first", first), ("second", second)):
        if entry.latency is None:
            return {"latency_reason": f"not measured in the {which} report"}
        if entry.latency.invalid:
            return {"latency_reason": f"times of the {which} are not valid: {entry.latency.invalid[0]}", "is_refused": True}
    try:
        return {"latency": compare(timings(first), timings(second))}
    except InvalidMeasurementError as error:
        return {"latency_reason": error.message, "is_refused": True}


def timings(entry: EngineEntry) -> Timings:
    """What a comparison needs of an engine that was measured."""
    return Timings(latencies_ns=entry.latency.samples_ns if entry.latency else (), conditions=entry.conditions)


def _row(engine: ComparedEngine) -> tuple[str, ...]:
    found = engine.latency
    return (
        engine.target,
        engine.runtime,
        change(*engine.bytes, size),
        change(*engine.sqnr_db, sqnr),
        change(*engine.top1_agreement, percent),
        change(*engine.accuracy, percent),
        f"{number(found.p50_ms[0])} → {number(found.p50_ms[1])}" if found else NONE,
        f"{found.ratio:.3f} [{found.ci95[0]:.3f}, {found.ci95[1]:.3f}]" if found else NONE,
        found.outcome if found else "not compared",
    )

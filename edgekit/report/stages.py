"""What each step of a recipe that compresses made of the model: size, work, fidelity, and the engine's speed at the end."""

from __future__ import annotations

from edgekit.report.record import EngineEntry, Report, Stage
from edgekit.report.words import NONE, heading, number, percent, size, sqnr

STAGE_COLUMNS = ("Engine", "After", "Parameters", "MACs", "Zeros", "As zip", "Times smaller", "SQNR", "Same class", "Accuracy", "Times as fast")
STAGE_TEXT = frozenset({"Engine", "After"})
STAGE_INTRO = (
    "The graph after each step, against the float original, on samples that did not calibrate; speed is that of the engine at the end,"
    " against the float original on the same machine."
)


def stage_rows(report: Report) -> list[tuple[str, ...]]:
    """One a step and target; the engine is named in its first row alone."""
    rows = []
    for entry in report.engines:
        stages = [stage for stage in report.stages if stage.target == entry.key]
        rows += [_row(report, entry, stages[0], stage, is_last=stage is stages[-1]) for stage in stages]
    return rows


def _row(report: Report, entry: EngineEntry, first: Stage, stage: Stage, *, is_last: bool) -> tuple[str, ...]:
    is_judged = stage.samples > 0
    return (
        heading(report, entry) if stage is first else "",
        stage.after or "the float original",
        number(stage.parameters),
        number(stage.macs),
        percent(stage.zeros),
        size(stage.zip_bytes),
        f"{first.zip_bytes / stage.zip_bytes:.2f}" if stage.zip_bytes else NONE,
        sqnr(stage.sqnr_db) if is_judged and stage.after else NONE,
        percent(stage.top1_agreement) if stage.top1_agreement is not None and stage.after else NONE,
        _accuracy(first, stage),
        _speed_up(report, entry) if is_last else NONE,
    )


def _accuracy(first: Stage, stage: Stage) -> str:
    if stage.top1 is None:
        return NONE
    if first.top1 is None or not stage.after:
        return percent(stage.top1)
    return f"{percent(stage.top1)} ({100 * (stage.top1 - first.top1):+.1f})"


def _speed_up(report: Report, entry: EngineEntry) -> str:
    """Of medians that were taken on one machine."""
    for reference in report.references:
        if entry.latency is None or reference.latency is None or entry.measured_on is None or reference.measured_on is None:
            continue
        if entry.measured_on.device == reference.measured_on.device:
            return f"{reference.latency.p50_ms / entry.latency.p50_ms:.2f}"
    return NONE

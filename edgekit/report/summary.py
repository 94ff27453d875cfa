"""The summary table that the terminal, Markdown and HTML show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgekit.errors import InvalidMeasurementError
from edgekit.measure import compare
from edgekit.report import npu
from edgekit.report.compare import timings
from edgekit.report.record import EngineEntry, Latency, Report
from edgekit.report.words import (
    NONE,
    REFERENCE,
    change,
    delegated,
    judged_elsewhere,
    mean_with_interval,
    number,
    original,
    percent,
    plain,
    size,
    sqnr,
    status_word,
    verdict_sentence,
    where_measured,
    work,
)

COLUMNS = (
    "Target",
    "Runtime",
    "Precision",
    "Size",
    "SQNR",
    "top-1 agr.",
    "accuracy",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "mean ms ± CI",
    "first ms",
    "load ms",
    "peak MiB",
    "Status",
)
"""All that the summary may have; ``accuracy`` where labels are known."""
TEXT_COLUMNS = frozenset({"Target", "Runtime", "Precision", "Status"})

Row = tuple[str, ...]


def table_of(entries: Sequence[EngineEntry]) -> tuple[Row, tuple[Row, ...]]:
    """The columns that some engines have something for, and a row of them for each engine."""
    original = {entry.accuracy.top1_reference for entry in entries if entry.accuracy}
    rows = tuple(_row(entry, original.copy().pop() if len(original) == 1 else None) for entry in entries)
    if original:
        return COLUMNS, rows
    at = COLUMNS.index("accuracy")
    return (*COLUMNS[:at], *COLUMNS[at + 1 :]), tuple((*row[:at], *row[at + 1 :]) for row in rows)


def summary_of(report: Report) -> tuple[Row, tuple[Row, ...]]:
    """The same of a whole report: each float reference, then each engine."""
    return table_of((*report.references, *report.engines))


def _row(entry: EngineEntry, of_original: float | None) -> Row:
    """The row of :data:`COLUMNS` of one engine; ``of_original`` is the accuracy that engines were compared with."""
    accuracy = of_original if entry.target == REFERENCE else entry.accuracy.top1 if entry.accuracy else None
    fidelity = entry.fidelity
    agreement = fidelity.top1_agreement if fidelity else None
    return (
        original(entry) if entry.target == REFERENCE else entry.target,
        entry.runtime,
        entry.precision,
        size(entry.bytes),
        sqnr(fidelity.sqnr_db) if fidelity else NONE,
        percent(agreement) if agreement is not None else NONE,
        percent(accuracy) if accuracy is not None else NONE,
        *_times(entry.latency),
        number(entry.memory.peak_mib) if entry.memory and entry.memory.peak_mib is not None else NONE,
        status_word(entry),
    )


def _times(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return (NONE,) * 6
    p90, p99 = (number(value) if value is not None else "n/a" for value in (latency.p90_ms, latency.p99_ms))
    return (number(latency.p50_ms), p90, p99, mean_with_interval(latency), number(latency.first_ms), number(latency.load_ms))


def notes(report: Report) -> tuple[str, ...]:
    """What must be said beside the table: where each engine was measured, missing percentiles, remarks."""
    lines = []
    times = Counter(entry.target for entry in report.engines)
    for entry in (*report.references, *report.engines):
        name = original(entry) if entry.target == REFERENCE else entry.target
        lines.append(f"{name} ({entry.runtime}): {where_measured(entry)}")
        name = f"{name} ({entry.runtime})" if times[entry.target] > 1 else name
        lines += [f"{name}: {judged_elsewhere(entry)}"] if judged_elsewhere(entry) else []
        lines += [f"{name}: {work(entry)}"] if entry.instructions is not None else []
        lines += [f"{name}: {line}" for line in npu.lines(entry.npu)] if entry.npu is not None else []
        if entry.latency is not None:
            lines += [f"{name}: p90 n/a: {entry.latency.p90_reason}"] if entry.latency.p90_ms is None else []
            lines += [f"{name}: p99 n/a: {entry.latency.p99_reason}"] if entry.latency.p99_ms is None else []
            lines += [f"{name}: times not valid: {reason}" for reason in entry.latency.invalid]
        lines += [f"{name}: {delegated(entry)}"] if entry.delegation is not None else []
        lines += [f"{name}: {remark}" for remark in entry.remarks]
    return (*lines, *report.remarks)


def text(report: Report) -> str:
    """The summary as plain text: a heading, the table, the notes, the verdict."""
    columns, rows = summary_of(report)
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    table = [_line(row, widths, columns) for row in (columns, *rows)]
    table.insert(1, "  ".join("─" * width for width in widths))
    heading = f"{report.model.source} · {report.recipe.name} · edgekit {report.edgekit} · {report.created}"
    return "\n".join([heading, "", *table, "", *notes(report), "", verdict_sentence(report)[1]])


def _line(row: Row, widths: list[int], columns: Row) -> str:
    cells = (cell.ljust(width) if column in TEXT_COLUMNS else cell.rjust(width) for cell, width, column in zip(row, widths, columns, strict=True))
    return "  ".join(cells).rstrip()


def speed(report: Report, entry: EngineEntry) -> tuple[str, bool] | None:
    """How an engine's times compare with the float original's on the same machine.

    Returns:
        A sentence, and whether they could be compared; None if the float original was not measured there.
    """
    if entry.latency is None or entry.measured_on is None:
        return None
    place = (entry.measured_on.device, entry.measured_on.emulated)
    for other in report.references:
        if other.latency is None or other.measured_on is None or (other.measured_on.device, other.measured_on.emulated) != place:
            continue
        try:
            found = compare(timings(other), timings(entry))
        except InvalidMeasurementError as error:
            return f"With the float original {error.message}", False
        original = f"the float original ({number(found.p50_ms[0])} ms)"
        words = {"faster": f"{number(1 / found.ratio)} times as fast as", "slower": f"{number(found.ratio)} times as slow as"}
        return f"{words.get(found.outcome, 'no faster or slower, beyond noise, than')} {original}", True
    return None


_BEFORE_AND_AFTER = frozenset({"clock_mhz", "temperature_c"})


def condition_keys(entries: Sequence[EngineEntry]) -> list[str]:
    """Conditions of which at least one engine's device told something, in order."""
    told = [(key, value) for entry in entries for key, value in entry.conditions.items()]
    return list(dict.fromkeys(key for key, value in told if condition(key, value) != NONE))


def condition(key: str, value: Any) -> str:
    """A condition's value; readings from before and after the run with an arrow."""
    if key in _BEFORE_AND_AFTER and isinstance(value, Sequence) and len(value) == 2:
        return change(value[0], value[1], plain)
    return plain(value)

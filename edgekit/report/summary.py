"""The summary table that the terminal, Markdown and HTML show."""

from __future__ import annotations

from edgekit.report.record import EngineEntry, Latency, Report
from edgekit.report.words import (
    NONE,
    REFERENCE,
    mean_with_interval,
    number,
    percent,
    size,
    sqnr,
    status_word,
    title,
    verdict_sentence,
    where_measured,
)

COLUMNS = (
    "Target",
    "Runtime",
    "Precision",
    "Size",
    "SQNR",
    "top-1 agr.",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "mean ms ± CI",
    "first ms",
    "load ms",
    "peak MiB",
    "Status",
)
TEXT_COLUMNS = frozenset({"Target", "Runtime", "Precision", "Status"})


def summary_rows(report: Report) -> tuple[tuple[str, ...], ...]:
    """One row of :data:`COLUMNS` for each float reference, then for each engine."""
    return tuple(_row(entry) for entry in (*report.references, *report.engines))


def _row(entry: EngineEntry) -> tuple[str, ...]:
    fidelity = entry.fidelity
    agreement = fidelity.top1_agreement if fidelity else None
    return (
        "float original" if entry.target == REFERENCE else entry.target,
        entry.runtime,
        entry.precision,
        size(entry.bytes),
        sqnr(fidelity.sqnr_db) if fidelity else NONE,
        percent(agreement) if agreement is not None else NONE,
        *_times(entry.latency),
        number(entry.memory.peak_mib) if entry.memory else NONE,
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
    for entry in (*report.references, *report.engines):
        name = "float original" if entry.target == REFERENCE else entry.target
        lines.append(f"{name} ({entry.runtime}): {where_measured(entry)}")
        if entry.latency is not None:
            lines += [f"{name}: p90 n/a: {entry.latency.p90_reason}"] if entry.latency.p90_ms is None else []
            lines += [f"{name}: p99 n/a: {entry.latency.p99_reason}"] if entry.latency.p99_ms is None else []
            lines += [f"{name}: times not valid: {reason}" for reason in entry.latency.invalid]
        lines += [f"{name}: {remark}" for remark in entry.remarks]
    return (*lines, *report.remarks)


def text(report: Report) -> str:
    """The summary as plain text: a heading, the table, the notes, the verdict."""
    rows = summary_rows(report)
    widths = [max(len(row[index]) for row in (COLUMNS, *rows)) for index in range(len(COLUMNS))]
    table = [_line(row, widths) for row in (COLUMNS, *rows)]
    table.insert(1, "  ".join("─" * width for width in widths))
    heading = f"{report.model.source} · {report.recipe.name} · edgekit {report.edgekit} · {report.created}"
    return "\n".join([heading, "", *table, "", *notes(report), "", verdict_sentence(report)[1]])


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = (cell.ljust(width) if column in TEXT_COLUMNS else cell.rjust(width) for cell, width, column in zip(row, widths, COLUMNS, strict=True))
    return "  ".join(cells).rstrip()


def heading(report: Report, entry: EngineEntry) -> str:
    """Name of an engine as a heading: what people call its target, and the runtime."""
    return f"{title(report, entry)} · {entry.runtime}"


def faster(report: Report, entry: EngineEntry) -> str | None:
    """How an engine's median compares with the float original's on the same machine under the same threads; None if none was measured so."""
    if entry.latency is None or entry.measured_on is None:
        return None
    for other in report.references:
        same_place = other.measured_on is not None and (other.measured_on.device, other.measured_on.emulated) == (
            entry.measured_on.device,
            entry.measured_on.emulated,
        )
        if other.latency is None or not same_place or other.conditions.get("threads") != entry.conditions.get("threads"):
            continue
        ratio = other.latency.p50_ms / entry.latency.p50_ms
        word = f"{number(ratio)} times as fast as" if ratio >= 1 else f"{number(1 / ratio)} times as slow as"
        return f"{word} the float original ({number(other.latency.p50_ms)} ms)"
    return None

"""What engines were judged by besides fidelity, in rows and sentences."""

from __future__ import annotations

from edgekit.report.record import Report
from edgekit.report.words import heading

METRIC_COLUMNS = ("Engine", "Metric", "Value", "Float original")


def metric_rows(report: Report) -> list[tuple[str, str, str, str]]:
    """What else engines were judged by, a line each."""
    return [
        (heading(report, entry), name, f"{metric.value:.4f}", f"{metric.reference:.4f}")
        for entry in report.engines
        for name, metric in sorted(entry.metrics.items())
    ]


def confusion_lines(report: Report, most: int = 5) -> list[str]:
    """Which classes an engine takes for which others most often, a line an engine."""
    lines = []
    for entry in report.engines:
        rows = entry.accuracy.confusion if entry.accuracy is not None else ()
        wrong = [(count, -row, -column) for row, counts in enumerate(rows) for column, count in enumerate(counts) if row != column]
        wrong.sort(reverse=True)
        told = [f"{_class(report, -row)} for {_class(report, -column)} ({count})" for count, row, column in wrong[:most] if count]
        lines += [f"{heading(report, entry)} most often takes {', '.join(told)}."] if told else []
    return lines


def _class(report: Report, index: int) -> str:
    labels = report.model.signature.labels
    return labels[index] if index < len(labels) else f"class {index}"

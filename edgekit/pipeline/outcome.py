"""From a report to an exit status."""

from __future__ import annotations

from edgekit.report import Report

KEPT, BROKEN, NOT_VALID = 0, 3, 5


def exit_status(report: Report) -> int:
    """0 if every budget was kept (or was not judged), 5 if times are not valid, 3 if a budget was broken; 5 before 3."""
    if any(entry.latency is not None and entry.latency.invalid for entry in report.engines):
        return NOT_VALID
    if any(line.outcome == "broken" for entry in report.engines for line in entry.verdict):
        return BROKEN
    return KEPT

"""From a report to an exit status."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.report import EngineEntry, Report

KEPT, BROKEN, NOT_VALID = 0, 3, 5


def exit_status(report: Report) -> int:
    """0 if every budget was kept (or was not judged), 5 if times are not valid, 3 if a budget was broken; 5 before 3."""
    return entries_status(report.engines)


def entries_status(entries: Sequence[EngineEntry]) -> int:
    """The same of some engines."""
    if any(entry.latency is not None and entry.latency.invalid for entry in entries):
        return NOT_VALID
    if any(line.outcome == "broken" for entry in entries for line in entry.verdict):
        return BROKEN
    return KEPT

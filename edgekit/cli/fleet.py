"""Several devices in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.cli.terminal import print_json, print_table_or_lines, say

if TYPE_CHECKING:
    from edgekit.pipeline import Fleet


def show_fleet(fleet: Fleet, *, as_json: bool) -> int:
    """One row an engine and device, then what went wrong where; returns the exit status."""
    from edgekit.report import TEXT_COLUMNS, table_of

    if as_json:
        print_json(fleet)
        return fleet.exit_status
    devices = [visit.device for visit in fleet.visits for _ in visit.entries]
    columns, engines = table_of([entry for visit in fleet.visits for entry in visit.entries])
    rows = [(device, *row) for device, row in zip(devices, engines, strict=True)]
    if rows:
        print_table_or_lines(("Device", *columns), rows, right=[column for column in columns if column not in TEXT_COLUMNS])
    for visit in fleet.visits:
        if visit.error:
            say(f"{visit.device}: {visit.error}\n  hint: {visit.hint}")
    return fleet.exit_status

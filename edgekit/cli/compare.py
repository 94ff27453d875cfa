"""``edgekit compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.terminal import AsJson, print_json, print_table, say


def compare(
    a: Annotated[Path, typer.Argument(help="Folder of a build, or a report.json.")],
    b: Annotated[Path, typer.Argument(help="The other one.")],
    as_json: AsJson = False,
) -> int:
    """Compare two builds: size, fidelity, and latency where it was measured under the same conditions."""
    from edgekit.report import compare_reports, read_report

    first, second = (read_report(path / "report.json" if path.is_dir() else path) for path in (a, b))
    compared = compare_reports(first, second)
    if as_json:
        print_json(compared)
    else:
        print_table(compared.columns, compared.rows)
        for line in compared.notes:
            say(line)
    return compared.exit_status

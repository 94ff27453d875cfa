"""``edgekit report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.terminal import AsJson, console, print_json, print_table, say, table_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.report import EngineEntry, Report


def report(
    out: Annotated[Path, typer.Argument(help="Folder of a build, or its report.json.")] = Path("edgekit-out"),
    as_json: AsJson = False,
) -> int:
    """Show the report of a build again, and write its Markdown and HTML anew."""
    from edgekit.pipeline import exit_status
    from edgekit.report import read_report, write_reports

    file = out / "report.json" if out.is_dir() else out
    found = read_report(file)
    write_reports(found, file.parent)
    if as_json:
        print_json(found)
    else:
        show(found, file.parent)
    return exit_status(found)


def show(report: Report, folder: Path) -> None:
    """The table, what must be said beside it, the verdict, and where the files are."""
    from edgekit.report import notes, verdict_sentence

    show_entries((*report.references, *report.engines))
    for line in notes(report):
        say(line)
    say(verdict_sentence(report)[1])
    say(f"report: {(folder / 'report.html').resolve()}")


def show_entries(entries: Sequence[EngineEntry]) -> None:
    """The table of some engines; on a terminal too narrow for it, a few lines an engine."""
    from edgekit.report import TEXT_COLUMNS, table_of
    from edgekit.report.words import NONE

    columns, rows = table_of(entries)
    if console().width >= table_width(columns, rows):
        print_table(columns, rows, right=[column for column in columns if column not in TEXT_COLUMNS])
        return
    for row in rows:
        cells = dict(zip(columns, row, strict=True))
        say(f"\n{cells.pop('Target')} · {cells.pop('Runtime')} · {cells.pop('Precision')} · {cells.pop('Status')}")
        for name, value in cells.items():
            if value != NONE:
                say(f"  {name:14} {value}")
    say("")

"""What the verbs share: JSON or tables on stdout, progress on stderr, colour only on a terminal."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.errors import first_of
from edgekit.watch import Watcher

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from edgekit.engine.contract import Delegation
    from edgekit.engine.tensorrt.preflight import Preflight

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STEP.FIELD=VALUE", help="Set any option of a step or runtime, or of ingest, preprocess, io, load, budget."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]

PROGRESS_AFTER_S = 1.0
TOLD_EVERY_S = 30.0
_MOST_LEFT = 10


def print_json(data: Any) -> None:
    """Data as JSON on stdout; msgspec structs are data."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(data, enc_hook=str), indent=2) + b"\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line of the result, on stdout."""
    sys.stdout.write(text + "\n")


def say_delegation(found: Delegation, *, target: str = "") -> None:
    """What a delegate takes in one line, and a line for each operator that it leaves, the first ten."""
    aside = "; ".join(filter(None, (found.assumed, f"by the rules of {found.by}", found.note)))
    say(f"{f'{target}: ' if target else ''}{found.sentence(named=0)} ({aside})")
    for line in first_of([f"left: {one.line()}" for one in found.left], _MOST_LEFT):
        say(f"  {line}")


def say_preflight(found: Preflight, *, target: str) -> None:
    """What NVIDIA's parser or the rules say in one line, and a line for each node that has more to it, the first ten."""
    say(f"{target}: {found.sentence()}{f' ({found.assumed})' if found.assumed else ''}")
    for line in first_of([f"{one.label}: {one.node} ({one.op}): {one.reason}" for one in found.open_nodes() if one.reason], _MOST_LEFT):
        say(f"  {line}")


def console() -> Console:
    """Rich's console on stdout: colour and the terminal's width only on a terminal, room for every column elsewhere."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=200, color_system=None)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", right: Sequence[str] = ()) -> None:
    """A table on stdout; columns named in ``right`` are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as Text: square brackets in names are no markup
    console().print(table)


def print_table_or_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table on stdout; where it is too wide for the terminal, a few lines a row, without what is empty."""
    if console().width >= table_width(columns, rows):
        print_table(columns, rows, right=right)
        return
    for name, *cells in rows:
        say(f"\n{name}")
        for column, cell in zip(columns[1:], cells, strict=True):
            if cell not in ("", "\N{EN DASH}"):
                say(f"  {column:14} {cell}")
    say("")


def table_width(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Characters that :func:`print_table` needs to break no cell."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    return sum(widths) + 2 * len(widths) + 2


def keep_traceback(error: Exception) -> Path:
    """Write the traceback of a defect into a file, for the bug report."""
    with tempfile.NamedTemporaryFile("w", prefix="edgekit-defect-", suffix=".txt", delete=False) as stream:
        stream.writelines(traceback.format_exception(error))
    return Path(stream.name)


class _Pace:
    """How long work will take, by its pace so far.

    Args:
        total: units there are to do.
        now: when it begins, seconds.
    """

    def __init__(self, total: int, now: float) -> None:
        self._total, self._said = total, now
        self._first: tuple[int, float] | None = None
        self._done = 0

    def told(self, units: int, now: float) -> str:
        """What to say after so many more units, which is nothing most of the time. What is done at once, as by an earlier run,
        says nothing of the pace."""
        self._done += units
        if self._first is None:
            self._first = self._done, now
        before, since = self._first
        if now - self._said < TOLD_EVERY_S or self._done <= before:
            return ""
        self._said = now
        left_s = (self._total - self._done) * (now - since) / (self._done - before)
        return f"{100 * self._done // self._total} %, {left_s:.0f} s left"


class _Plain:
    """A Watcher for logs and pipes: one line when a piece of work is done."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._what, self._since = "", time.monotonic()
        self._pace: _Pace | None = None

    def begin(self, what: str, total: int | None = None) -> None:
        self._what, self._since = what, time.monotonic()
        self._pace = _Pace(total, self._since) if total else None
        if self._verbose:
            _err(f"{what} …")

    def advance(self, units: int = 1) -> None:
        """A pipe has no use for a moving bar; of long work it is told from time to time how much is left."""
        left = self._pace.told(units, time.monotonic()) if self._pace is not None else ""
        if left:
            _err(f"{self._what}: {left}")

    def end(self, note: str = "") -> None:
        seconds = time.monotonic() - self._since
        if seconds > PROGRESS_AFTER_S or self._verbose:
            _err(f"{self._what}: {note or 'done'} ({seconds:.1f} s)")

    def note(self, text: str) -> None:
        _err(text)


class _Drawn:
    """A Watcher that draws a bar on a terminal."""

    def __init__(self, progress: Progress, *, verbose: bool) -> None:
        self._progress, self._verbose = progress, verbose
        self._task: TaskID | None = None
        self._what, self._since = "", time.monotonic()

    def begin(self, what: str, total: int | None = None) -> None:
        self._what, self._since = what, time.monotonic()
        self._task = self._progress.add_task(what, total=total)

    def advance(self, units: int = 1) -> None:
        if self._task is not None:
            self._progress.advance(self._task, units)

    def end(self, note: str = "") -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        seconds = time.monotonic() - self._since
        if seconds > PROGRESS_AFTER_S or self._verbose:
            self._progress.console.print(f"[green]✓[/green] {self._what}: {note or 'done'} [dim]({seconds:.1f} s)[/dim]")

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False)


@contextmanager
def watching(*, verbose: bool = False) -> Iterator[Watcher]:
    """A Watcher that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield _Plain(verbose=verbose)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        yield _Drawn(progress, verbose=verbose)


def _err(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def megabytes(count: int | None) -> str:
    """Bytes as MB (10^6), as packages and datasheets count them."""
    return "-" if count is None else f"{count / 1e6:.2f}"

"""``edgekit debug quantization`` and ``edgekit debug engine``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.build import (
    FactoryOption,
    ModelArgument,
    RecipeOption,
    SamplesOption,
    ShapeOption,
    SkipOption,
    TargetOption,
    TrustOption,
)
from edgekit.cli.terminal import AsJson, Settings, Verbose, print_json, print_table, print_table_or_lines, say, watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.report import Debugged

app = typer.Typer(help="Look into what a build does: what each part of a quantization costs.", no_args_is_help=True, rich_markup_mode=None)

PageOption = Annotated[str, typer.Option("--out", "-o", metavar="FILE.html", help="Write it all as one HTML page.", show_default=False)]
TopOption = Annotated[int, typer.Option("--top", metavar="N", min=1, help="So many of the costliest tensors and weights are shown.")]


@app.callback()
def debug() -> None:
    """Look into what a build does: what each part of a quantization costs."""


@app.command("quantization")
def quantization(  # noqa: PLR0913 - one argument an option, as typer has it
    model: ModelArgument = "",
    target: TargetOption = None,
    recipe: RecipeOption = "",
    samples: SamplesOption = "",
    set_: Settings = None,
    shape: ShapeOption = None,
    factory: FactoryOption = "",
    trust: TrustOption = False,
    skip_bad_samples: SkipOption = False,
    out: PageOption = "",
    top: TopOption = 10,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Say what integers cost tensor by tensor and why, what each correction gains, and what repairs it."""
    from edgekit.cli.request import request_of
    from edgekit.pipeline import debug_quantization
    from edgekit.report import write_debug_page

    page = _page(out)
    request, _ = request_of(model, target, recipe, samples, "", set_, shape, factory, trust=trust, skip_bad_samples=skip_bad_samples)
    with watching(verbose=verbose) as watcher:
        found = debug_quantization(request, watcher=watcher)
    if page is not None:
        write_debug_page(found, page, top=top)
    if as_json:
        print_json(found)
        return
    for one in found:
        _show(one, top, most=None if verbose else 8)
    if page is not None:
        say(f"page: {page.resolve()}")


@app.command("engine")
def engine(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A package for TensorRT that was built, timed and brought back from its board.")],
    against: Annotated[str, typer.Option("--against", metavar="FOLDER", help="The same of the float16 engine.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Say why an int8 engine of TensorRT is no faster: what stayed float, what is stored anew, and the edge to blame."""
    from edgekit.pipeline import debug_engine

    found = debug_engine(Path(folder), Path(against) if against else None)
    if as_json:
        print_json(found)
        return
    say(found.sentence())
    for finding in found.findings:
        say(f"  {finding.line()}")
    for node, (here, there) in found.slower.items():
        say(f"  {node}: {here:.3f} ms, in the other engine {there:.3f} ms")


def _page(out: str) -> Path | None:
    """Where the page goes, known to be no other kind of file before anything is computed.

    Raises:
        UsageError: it is a folder, or a file of another kind.
    """
    from edgekit.errors import UsageError

    page = Path(out) if out else None
    if page is not None and (page.suffix.lower() not in (".html", ".htm") or page.is_dir()):
        raise UsageError(f"--out {out}: not the name of an HTML file", hint="for example -o debug.html")
    return page


def _show(one: Debugged, top: int, *, most: int | None) -> None:
    """Everything of one target, what can be done last."""
    from edgekit.report import debugged as told

    diagnosis = one.diagnosis
    say(f"{one.target} with recipe {one.recipe}: {told.headline(diagnosis)}")
    print_table(told.CORRECTION_COLUMNS, told.correction_rows(diagnosis), right=told.CORRECTION_COLUMNS[1:])
    _parts("tensors", told.TENSOR_COLUMNS, [told.tensor_row(each) for each in diagnosis.tensors], top)
    _parts("weights", told.WEIGHT_COLUMNS, [told.weight_row(each) for each in diagnosis.weights], top)
    reasons = told.float_rows(diagnosis, most=most)
    say(f"{len(diagnosis.left_float):,} nodes compute in float" + (":" if reasons else ""))
    for reason, count, names in reasons:
        say(f"  {count} × {reason}" + (f": {names}" if most is None else ""))
    for finding in diagnosis.findings:
        say(f"{finding.where}: {finding.what}\n  to keep it float: {finding.remedy}")
    for line in told.repair_lines(diagnosis, most=most):
        say(line)


def _parts(what: str, columns: Sequence[str], rows: Sequence[Sequence[str]], top: int) -> None:
    """The costliest parts."""
    from edgekit.report.debugged import DEBUG_TEXT_COLUMNS

    if not rows:
        return
    say(f"the costliest of {len(rows):,} {what}" if len(rows) > top else f"all {len(rows):,} {what}, the costliest first")
    print_table_or_lines(columns, rows[:top], right=[column for column in columns if column not in DEBUG_TEXT_COLUMNS])

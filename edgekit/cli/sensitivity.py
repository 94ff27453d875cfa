"""``edgekit sensitivity``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.build import FactoryOption, ModelArgument, SamplesOption, ShapeOption, SkipOption, TargetOption, TrustOption
from edgekit.cli.terminal import AsJson, Settings, Verbose, print_json, print_table_or_lines, say, watching

if TYPE_CHECKING:
    from edgekit.report import Sensitivity

TechniqueOption = Annotated[
    list[str] | None,
    typer.Option("--technique", metavar="STEP", help="prune, cluster, factorize, binarize or quantize; may be given again (default: all)."),
]
LevelsOption = Annotated[
    list[str] | None,
    typer.Option("--levels", metavar="STEP=N,N…", help="Levels of a technique, such as prune=10,30, cluster=4,2, binarize=ternary,binary."),
]
JudgedOption = Annotated[int, typer.Option("--judged", metavar="N", min=0, help="Most samples that judge; 0 for all.")]
FolderOption = Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Write sensitivity.json and .html there.", show_default=False)]
TopOption = Annotated[int, typer.Option("--top", metavar="N", min=1, help="So many layers of each technique are shown, the costliest first.")]


def sensitivity(  # noqa: PLR0913 - one argument an option, as typer has it
    model: ModelArgument = "",
    samples: SamplesOption = "",
    target: TargetOption = None,
    technique: TechniqueOption = None,
    levels: LevelsOption = None,
    judged: JudgedOption = 64,
    set_: Settings = None,
    out: FolderOption = "",
    top: TopOption = 10,
    shape: ShapeOption = None,
    factory: FactoryOption = "",
    trust: TrustOption = False,
    skip_bad_samples: SkipOption = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Say what each layer costs the outputs when it alone is pruned, clustered, factorized, binarized or quantized."""
    from edgekit.cli.request import request_of
    from edgekit.errors import UsageError
    from edgekit.pipeline import Question
    from edgekit.pipeline import sensitivity as found_by
    from edgekit.report import write_sensitivity

    folder = Path(out) if out else None
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {out}: a file, and a folder is written", hint="for example -o sensitivity/")
    request, _ = request_of(model, target, "float", samples, "", set_, shape, factory, trust=trust, skip_bad_samples=skip_bad_samples)
    with watching(verbose=verbose) as watcher:
        found = found_by(request, Question(tuple(technique or ()), tuple(levels or ()), judged), watcher=watcher)
    written = write_sensitivity(found, folder) if folder is not None else ()
    if as_json:
        print_json(found)
        return
    _show(found, top)
    for path in written:
        say(f"{path.suffix[1:]}: {path.resolve()}")


def _show(found: Sensitivity, top: int) -> None:
    """A table for each technique, the costliest technique and the costliest layer first."""
    from edgekit.report import sensitivity as told

    judged = f"{found.judged:,} samples judge"
    right = f"; the untouched model is right on {100 * found.top1:.1f} % of those with labels" if found.top1 is not None else ""
    say(f"{told.costliest(found)} ({judged}{right})")
    for technique in found.techniques:
        curves = found.of(technique)
        columns = told.columns(curves)
        say(
            f"{technique}: "
            + (f"the costliest of {len(curves):,} layers" if len(curves) > top else f"all {len(curves):,} layers, the costliest first")
        )
        rows = [told.row(curve) for curve in curves[:top]]
        print_table_or_lines(columns, rows, right=[column for column in columns if column not in told.SENSITIVITY_TEXT_COLUMNS])
        for line in told.unmeasured(curves):
            say(line)
    for remark in found.remarks:
        say(remark)

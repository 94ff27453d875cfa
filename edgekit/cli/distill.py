"""``edgekit distill``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.build import FactoryOption, OutOption, RecipeOption, SamplesOption, ShapeOption, SkipOption, TargetOption, TrustOption
from edgekit.cli.terminal import AsJson, Settings, Verbose, print_json, say, watching

TeacherOption = Annotated[list[str], typer.Option("--teacher", metavar="FILE", help="A model to learn from; several answer together.")]
StudentOption = Annotated[str, typer.Option("--student", metavar="FILE", help="The model that learns: a Keras, PyTorch or ONNX file.")]


def distill(  # noqa: PLR0913 - one argument an option, as typer has it
    teacher: TeacherOption,
    student: StudentOption,
    samples: SamplesOption = "",
    target: TargetOption = None,
    recipe: RecipeOption = "",
    set_: Settings = None,
    out: OutOption = "",
    shape: ShapeOption = None,
    factory: FactoryOption = "",
    trust: TrustOption = False,
    skip_bad_samples: SkipOption = False,
    no_bench: Annotated[bool, typer.Option("--no-bench", help="Stop before measuring latency.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Teach a small model what larger ones answer; with targets, build it for them."""
    from edgekit.cli.request import request_of
    from edgekit.pipeline import exit_status, run

    asked, project = request_of(student, target, recipe or "float", samples, "", set_, shape, factory, trust=trust, skip_bad_samples=skip_bad_samples)
    request = dataclasses.replace(asked, targets=asked.targets if target else (), teachers=tuple(map(Path, teacher)))
    folder = Path(out or project.out or "edgekit-out")
    with watching(verbose=verbose) as watcher:
        report = run(request, out=folder, bench=bool(target) and project.bench and not no_bench, watcher=watcher)
    if as_json:
        print_json(report)
    elif request.targets:
        from edgekit.cli.report import show

        show(report, folder)
    else:
        for line in report.remarks:
            say(line)
        say(f"model: {folder / 'model.onnx'}")
    return exit_status(report)

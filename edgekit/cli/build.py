"""``edgekit build``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.completion import device_names, recipe_names, target_names
from edgekit.cli.fleet import show_fleet
from edgekit.cli.terminal import AsJson, Settings, Verbose, print_json, watching

ModelArgument = Annotated[str, typer.Argument(help="A Keras, PyTorch or ONNX file; `model` of edgekit.toml if left out.", show_default=False)]
TargetOption = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", metavar="NAME[,NAME…]", help="Targets; NAME:RUNTIME chooses the runtime.", autocompletion=target_names),
]
RecipeOption = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="What to do to the model (default: static_wi8_ai8).", show_default=False, autocompletion=recipe_names)
]
SamplesOption = Annotated[str, typer.Option(metavar="FILE|DIR", help="Pictures or .npz files that calibrate and judge.", show_default=False)]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="URL|NAME",
        help="Device to measure on, such as ssh://pi@10.0.0.7 (default: this machine).",
        autocompletion=device_names,
        show_default=False,
    ),
]
OutOption = Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder of the results (default: edgekit-out).", show_default=False)]
ShapeOption = Annotated[list[str] | None, typer.Option("--shape", metavar="[INPUT:]N,N,…", help="Pin the shape of an input, such as 1,3,224,224.")]
FactoryOption = Annotated[str, typer.Option(metavar="FILE.py:FUNCTION", help="Makes the module of a PyTorch state dict.", show_default=False)]
TrustOption = Annotated[bool, typer.Option("--trust", help="Open a file that may run code (.pt2, Keras Lambda) without a sandbox.")]
SkipOption = Annotated[bool, typer.Option("--skip-bad-samples", help="Leave unreadable samples out, and say which.")]

FullOption = Annotated[
    bool,
    typer.Option(
        "--require-full-delegation", help="Refuse engines of which the delegate (XNNPACK) leaves operators to the runtime's own, slower kernels."
    ),
]


def build(  # noqa: PLR0913 - one argument an option, as typer has it
    model: ModelArgument = "",
    target: TargetOption = None,
    recipe: RecipeOption = "",
    samples: SamplesOption = "",
    device: DeviceOption = "",
    set_: Settings = None,
    out: OutOption = "",
    shape: ShapeOption = None,
    factory: FactoryOption = "",
    trust: TrustOption = False,
    skip_bad_samples: SkipOption = False,
    require_full_delegation: FullOption = False,
    no_bench: Annotated[bool, typer.Option("--no-bench", help="Stop before measuring latency.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Build, check and measure the engine of one or more targets."""
    from edgekit.cli.request import request_of
    from edgekit.device.inventory import is_fleet
    from edgekit.pipeline import exit_status, run

    request, project = request_of(
        model,
        target,
        recipe,
        samples,
        device,
        set_,
        shape,
        factory,
        trust=trust,
        skip_bad_samples=skip_bad_samples,
        require_full_delegation=require_full_delegation,
    )
    folder = Path(out or project.out or "edgekit-out")
    if is_fleet(request.device):
        from edgekit.pipeline import build_fleet

        with watching(verbose=verbose) as watcher:
            fleet = build_fleet(request, request.device, out=folder, bench=project.bench and not no_bench, watcher=watcher)
        return show_fleet(fleet, as_json=as_json)
    with watching(verbose=verbose) as watcher:
        report = run(request, out=folder, bench=project.bench and not no_bench, watcher=watcher)
    if as_json:
        print_json(report)
    else:
        from edgekit.cli.report import show

        show(report, folder)
    return exit_status(report)

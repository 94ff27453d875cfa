"""``edgekit plan``."""

from __future__ import annotations

from edgekit.cli.build import (
    DeviceOption,
    FactoryOption,
    FullOption,
    ModelArgument,
    RecipeOption,
    SamplesOption,
    ShapeOption,
    SkipOption,
    TargetOption,
    TrustOption,
)
from edgekit.cli.terminal import AsJson, Settings, Verbose, print_json, print_table, say, say_delegation, say_preflight, watching


def plan(  # noqa: PLR0913 - one argument an option, as typer has it
    model: ModelArgument = "",
    target: TargetOption = None,
    recipe: RecipeOption = "",
    samples: SamplesOption = "",
    device: DeviceOption = "",
    set_: Settings = None,
    shape: ShapeOption = None,
    factory: FactoryOption = "",
    trust: TrustOption = False,
    skip_bad_samples: SkipOption = False,
    require_full_delegation: FullOption = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Say what `build` would do, and every reason why it could not (a dry run: nothing calibrates or is measured)."""
    from edgekit.cli.request import request_of
    from edgekit.pipeline import rehearse

    request, _ = request_of(
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
    with watching(verbose=verbose) as watcher:
        rehearsal = rehearse(request, watcher=watcher)
    if as_json:
        print_json(rehearsal)
        return
    say(f"{request.source} with recipe {rehearsal.recipe}, {rehearsal.samples}")
    say("\n".join(f"  {line}" for line in rehearsal.remarks))
    rows = [(step.target, step.step, step.route, step.needs, "in the store" if step.kept else "to do") for step in rehearsal.steps]
    print_table(("target", "step", "does", "needs", ""), rows)
    for key, delegation in rehearsal.delegations.items():
        say_delegation(delegation, target=key)
    for key, preflight in rehearsal.preflights.items():
        say_preflight(preflight, target=key)
    say("Every target can be built: no node was refused.")

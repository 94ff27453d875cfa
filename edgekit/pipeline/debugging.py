"""The doctor of quantization: a build up to its step `quantize`, and that step looked at part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgekit.errors import UsageError
from edgekit.model import Model, Store
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.pipeline.line import ingested, passed, prepared
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan, PlannedStep, Request, check, runtime_of
from edgekit.target import Chosen
from edgekit.watch import SILENT, Watcher

if TYPE_CHECKING:
    from edgekit.passes.quantize.diagnosis import Diagnosis


class Debugged(msgspec.Struct, frozen=True):
    """What ``edgekit debug quantization`` tells of one target.

    Attributes:
        source: of the model.
        target: key of the target.
        recipe: its name.
        diagnosis: of the step ``quantize``.
    """

    source: str
    target: str
    recipe: str
    diagnosis: Diagnosis


def debug_quantization(request: Request, *, watcher: Watcher = SILENT, store: Store | None = None) -> tuple[Debugged, ...]:
    """Quantize for every target, and look at what each part of it costs.

    Raises:
        UsageError: the recipe has no step ``quantize`` that can be looked at.
        EdgekitError: as of a build.
    """
    plan = check(request)
    steps = [step.name for step in plan.steps]
    if "quantize" not in steps:
        raise UsageError(f"recipe {plan.recipe.name} has no step quantize", hint="--recipe static_wi8_ai8")
    workshop = Workshop(store=store or Store(), watcher=watcher)
    model, _ = ingested(plan, workshop)
    ready = prepared(plan, model, workshop)
    at = steps.index("quantize")
    return tuple(_debugged(plan, ready, one, plan.steps[:at], plan.steps[at], workshop) for one in plan.chosen)


def _debugged(plan: Plan, ready: Model, one: Chosen, before: tuple[PlannedStep, ...], step: PlannedStep, workshop: Workshop) -> Debugged:
    branch = ready
    for earlier in before:
        branch = passed(earlier, branch, plan, workshop, one=one)
    if not isinstance(step.pass_, Quantize):
        raise UsageError("the step quantize of this recipe is not edgekit's own", hint="--recipe static_wi8_ai8")
    supplies = Supplies(samples=plan.samples, scheme=runtime_of(one).scheme, watcher=workshop.watcher, shared=workshop.shared)
    workshop.watcher.begin(f"debug {one.key}")
    diagnosis = step.pass_.diagnose(branch, supplies)
    if any(earlier.name == "equalize" for earlier in before):
        plain = ready
        for earlier in before:
            plain = plain if earlier.name == "equalize" else passed(earlier, plain, plan, workshop, one=one)
        corrections = {"without equalize": step.pass_.sqnr_db(plain, supplies), **diagnosis.corrections}
        diagnosis = msgspec.structs.replace(diagnosis, corrections=corrections)
    workshop.watcher.end()
    return Debugged(source=str(plan.request.source), target=one.key, recipe=plan.recipe.name, diagnosis=diagnosis)

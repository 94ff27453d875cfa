"""The doctor of quantization: a build up to its step `quantize`, and that step looked at part by part."""

from __future__ import annotations

import msgspec

from edgekit.errors import UsageError
from edgekit.model import Model, Store
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.pipeline.line import Teachers, ingested, passed, prepared
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan, PlannedStep, Request, check, runtime_of
from edgekit.report.debugged import Debugged
from edgekit.target import Chosen
from edgekit.watch import SILENT, Watcher


def debug_quantization(request: Request, *, watcher: Watcher = SILENT, store: Store | None = None) -> tuple[Debugged, ...]:
    """Quantize for every target, and look at what each part of it costs.

    Raises:
        UsageError: the recipe has no step ``quantize`` that can be looked at.
        EdgekitError: as of a build.
    """
    plan = check(request)
    at, pass_ = _quantizing(plan)
    workshop = Workshop(store=store or Store(), watcher=watcher)
    model, _ = ingested(plan, workshop)
    ready = prepared(plan, model, workshop)
    return tuple(_debugged(plan, ready, one, plan.steps[:at], pass_, workshop) for one in plan.chosen)


def _quantizing(plan: Plan) -> tuple[int, Quantize]:
    """The place of the step that stores activations as integers, and its pass."""
    for at, step in enumerate(plan.steps):
        if step.name == "quantize":
            if not isinstance(step.pass_, Quantize):
                raise UsageError("the step quantize of this recipe is not edgekit's own", hint="--recipe static_wi8_ai8")
            if step.pass_.mode != "static":
                raise UsageError(
                    f"recipe {plan.recipe.name}: quantize.mode {step.pass_.mode} has no calibrated integers to look at",
                    hint="--recipe static_wi8_ai8",
                )
            return at, step.pass_
    raise UsageError(f"recipe {plan.recipe.name} has no step quantize", hint="--recipe static_wi8_ai8")


def _debugged(plan: Plan, ready: Model, one: Chosen, before: tuple[PlannedStep, ...], pass_: Quantize, workshop: Workshop) -> Debugged:
    branch = ready
    for earlier in before:
        branch = passed(earlier, branch, plan, workshop, one=one, teachers=Teachers(ready))
    supplies = Supplies(samples=plan.samples, scheme=runtime_of(one).scheme, watcher=workshop.watcher, shared=workshop.shared)
    workshop.watcher.begin(f"debug {one.key}")
    diagnosis = pass_.diagnose(branch, supplies)
    if any(earlier.name == "equalize" for earlier in before):
        plain = ready
        for earlier in before:
            plain = plain if earlier.name == "equalize" else passed(earlier, plain, plan, workshop, one=one, teachers=Teachers(ready))
        corrections = {"without equalize": pass_.sqnr_db(plain, supplies), **diagnosis.corrections}
        diagnosis = msgspec.structs.replace(diagnosis, corrections=corrections)
    workshop.watcher.end()
    return Debugged(source=str(plan.request.source), target=one.key, recipe=plan.recipe.name, diagnosis=diagnosis)

"""What of an engine the runtime's delegate or an NPU will take, told before anything calibrates or is built."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edgekit import plugins
from edgekit.engine.asked import must_delegate_all
from edgekit.engine.contract import Backend, Delegation, NpuEstimate
from edgekit.engine.tensorrt.preflight import Preflight
from edgekit.errors import UnsupportedError, first_of
from edgekit.model import Model, read_model
from edgekit.passes.contract import Need, Supplies, is_fed
from edgekit.pipeline.line import Teachers, pass_inputs
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan, runtime_of
from edgekit.report import npu_lines
from edgekit.target import Chosen

ASSUMED = "predicted: scales, and which nodes a budget keeps in float, are known after calibration"
ESTIMATE_FILE = "npu.json"


def foreseen(plan: Plan, model: Model, workshop: Workshop, *, required_alone: bool = False) -> dict[str, Delegation]:
    """By target key, what the delegate would take; nothing of runtimes that have none.

    Steps that an earlier build has done are taken as they came out. What needs samples is foreseen: its types are those of
    the engine, its scales are made up, and the answer says so.

    Args:
        plan: all that a build would do.
        model: prepared.
        workshop: whose store is looked into; nothing is put there.
        required_alone: leave out targets that may leave operators to their runtime's own kernels.

    Raises:
        UnsupportedError: a node cannot be lowered as it would be quantized.
        UsageError: a step's options name what is not there.
    """
    found = {}
    for one in plan.chosen:
        backend: Any = plugins.load("edgekit.backends", one.runtime)()
        if hasattr(backend, "delegation") and (must_delegate_all(one) or not required_alone):
            with _as_it_would_be(plan, one, model, workshop) as (branch, assumed):
                found[one.key] = backend.delegation(branch, one.target, assumed=assumed)
    return found


def preflighted(plan: Plan, model: Model, workshop: Workshop) -> dict[str, Preflight]:
    """By target key, what is known of each node and from whom; nothing of runtimes whose engines are built where they are checked.

    Args:
        plan: all that a build would do.
        model: prepared.
        workshop: whose store is looked into; nothing is put there.
    """
    found = {}
    for one in plan.chosen:
        kind: Any = plugins.load("edgekit.backends", one.runtime)
        if hasattr(kind, "preflight"):
            with _as_it_would_be(plan, one, model, workshop) as (branch, assumed):
                found[one.key] = kind().preflight(branch, one.target, assumed=assumed)
    return found


def drafted(plan: Plan, model: Model, workshop: Workshop) -> tuple[str, ...]:
    """Of every target that computes in integers alone, what its NPU would compute and what not, in sentences.

    An engine is compiled whose operators and sizes are those of the real one, and whose numbers mean nothing.

    Raises:
        UnsupportedError: the compiler refuses the model.
        ChildError: it crashed or took too long.
    """
    lines: list[str] = []
    for one in plan.chosen:
        scheme = runtime_of(one).scheme
        if scheme is not None and scheme.integers_alone:
            estimate = _estimate(plan, one, model, workshop)
            lines += [f"{one.key}, drafted before anything calibrates: {line}" for line in npu_lines(estimate)] if estimate is not None else []
    return tuple(lines)


def _estimate(plan: Plan, one: Chosen, model: Model, workshop: Workshop) -> NpuEstimate | None:
    backend: Backend = plugins.load("edgekit.backends", one.runtime)()

    def make(out: Path) -> None:
        with _as_it_would_be(plan, one, model, workshop) as (branch, _), tempfile.TemporaryDirectory(prefix="edgekit-") as engine:
            estimate = backend.compile(branch, one.target, None, Path(engine)).npu
        (out / ESTIMATE_FILE).write_bytes(msgspec.json.encode(estimate))

    decided_by = {
        "model": model.sha256,
        "signature": model.signature,
        "target": one.target,
        "steps": [(step.name, step.options) for step in plan.steps],
        "tools": backend.tools(),
    }
    folder, _, _ = workshop.folder(f"draft {one.key}", decided_by, make)
    return msgspec.json.decode((folder / ESTIMATE_FILE).read_bytes(), type=NpuEstimate | None)


def check_delegations(plan: Plan, found: Mapping[str, Delegation]) -> None:
    """Refuse engines of which a delegate that has to take all would leave something.

    Args:
        plan: whose targets say what has to be delegated.
        found: by target key, what is known of each engine.

    Raises:
        UnsupportedError: all operators of all targets that would be left, at once.
    """
    required = [one for one in plan.chosen if must_delegate_all(one) and one.key in found]
    lines = [f"{one.key}: {left.line()}" for one in required for left in found[one.key].left]
    if lines:
        count = "1 operator" if len(lines) == 1 else f"{len(lines)} operators"
        raise UnsupportedError(
            f"{count} of {plan.request.source.name} would be left to the runtime's own kernels, and full delegation was asked for:",
            hint="change the model or the recipe as each line says, or leave --require-full-delegation out",
            refusals=first_of(lines),
        )


@contextmanager
def _as_it_would_be(plan: Plan, one: Chosen, model: Model, workshop: Workshop) -> Iterator[tuple[Model, str]]:
    """The last Model before the backend, or what is known of it, while it is looked at; and what of it is made up, if anything."""
    is_assumed, ready = False, model
    with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
        for number, step in enumerate(plan.steps):
            kept = None if is_assumed else workshop.find(step.name, pass_inputs(step, model, plan, one, Teachers(ready)))
            if kept is not None:
                model = read_model(kept)
                continue
            out = Path(stage, str(number))
            out.mkdir()
            runtime = runtime_of(one)
            scheme = runtime.scheme if Need.SCHEME in step.pass_.needs else None
            supplies = Supplies(scheme=scheme, teacher=ready, channel_multiple=runtime.channel_multiple)
            if not step.pass_.needs & {Need.SAMPLES, Need.COST}:
                is_assumed = is_assumed or (is_fed(step.pass_) and plan.samples is not None)
                model = step.pass_(model, supplies, out)
                continue
            is_assumed = True
            foresee = getattr(step.pass_, "foresee", None)
            model = foresee(model, supplies, out) if foresee is not None else model
        yield model, ASSUMED if is_assumed else ""

"""The line from a source to the engines of all targets: everything before anything is measured."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec

from edgekit import plugins
from edgekit.engine.contract import Backend, Conversion, Engine, read_engine
from edgekit.engine.snippet import write_snippets
from edgekit.errors import PlanError
from edgekit.ingest.contract import ingest, tools_for
from edgekit.ingest.sniff import kind_of
from edgekit.model import Model, Signature
from edgekit.model.source import keep_source, source_sha256, with_source
from edgekit.passes.contract import Need, Supplies, is_fed
from edgekit.passes.misfit import misfits
from edgekit.pipeline.boards import NO_BOARDS, Boards
from edgekit.pipeline.steps import Workshop, source_digest
from edgekit.plan import Plan, PlannedStep, asked_steps, check_refusals, runtime_of, takes_source
from edgekit.plugins import version_of
from edgekit.report import StepEntry
from edgekit.samples import with_preprocess
from edgekit.target import Chosen, Scheme

COUNTS_FILE = "counts.json"
OF_TARGETS = frozenset({Need.SCHEME, Need.CHANNEL_MULTIPLE, Need.COST})
"""What differs from target to target."""

Costs = Callable[[Chosen], Callable[[Model], float]]


@dataclass(frozen=True, slots=True)
class Source:
    """The source as it was found; of a live model, its class and its exported graph."""

    name: str
    format: str
    sha256: str
    bytes: int


class Counts(msgspec.Struct, frozen=True):
    """Numbers in constants, and multiply-adds of one query, of a whole model."""

    parameters: int
    macs: int


@dataclass(frozen=True, slots=True)
class Built:
    """The engine of one target.

    Attributes:
        chosen: target and runtime.
        model: the last Model before the backend.
        engine: what the backend made of it.
        folder: where the engine lies in the store.
        way: the Models that led to it, each with the step it came from; the first with none.
    """

    chosen: Chosen
    model: Model
    engine: Engine
    folder: Path
    way: tuple[tuple[str, Model], ...] = ()


@dataclass(frozen=True, slots=True)
class Teachers:
    """Who a pass may learn from: the model before compression, or other models."""

    before: Model | None = None
    others: tuple[Model, ...] = ()


NO_TEACHERS = Teachers()


def described(signature: Signature, plan: Plan) -> Signature:
    """The signature with what the user and the samples say of preprocessing and labels."""
    if plan.preprocess is not None:
        signature = msgspec.structs.replace(signature, preprocess=plan.preprocess)
    return with_preprocess(signature, plan.samples) if plan.samples is not None else signature


def ingested(plan: Plan, workshop: Workshop) -> tuple[Model, Source]:
    """The source as a Model."""
    if plan.request.live is not None:
        return _ingested_live(plan, workshop)
    digest, size = source_digest(plan.request.source)
    decided_by = {
        "source": digest,
        "options": plan.ingest,
        "factory": _factory_digest(plan),
        "samples": [plan.samples.sha256, version_of("pillow")] if plan.samples else None,
        "preprocess": plan.preprocess,
        "tools": tools_for(plan.request.source),
    }

    def make(out: Path) -> Model:
        return ingest(plan.request.source, options=plan.ingest, out=out, samples=plan.samples, watcher=workshop.watcher)

    model = workshop.model_step("ingest", decided_by, make, target="all", parent=None)
    if any(takes_source(one) for one in plan.chosen):
        keep_source(workshop.store, plan.request.source, digest)
    source = Source(name=str(plan.request.source), format=kind_of(plan.request.source).value, sha256=digest, bytes=size)
    return msgspec.structs.replace(with_source(model, digest), signature=described(model.signature, plan)), source


def _ingested_live(plan: Plan, workshop: Workshop) -> tuple[Model, Source]:
    """A live model is exported every time, and known by its exported graph from there on."""
    from edgekit.ingest.live import ingest_live

    live = plan.request.live
    with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
        exported = ingest_live(live, options=plan.ingest, out=Path(stage), samples=plan.samples)

        def make(out: Path) -> Model:
            shutil.copytree(stage, out, dirs_exist_ok=True)
            return exported

        model = workshop.model_step("ingest", {"exported": exported.sha256, "signature": exported.signature}, make, target="all", parent=None)
    name = f"{type(live).__module__.partition('.')[0]}: {type(live).__name__}"
    source = Source(name=name, format="live model", sha256=model.sha256, bytes=model.bytes)
    return msgspec.structs.replace(model, signature=described(model.signature, plan)), source


def counted(model: Model, workshop: Workshop) -> Counts:
    """Parameters and multiply-adds of a model; counted once."""

    def make(out: Path) -> None:
        from edgekit.graph.inspect import layers, totals
        from edgekit.graph.onnx_file import load

        total = totals(layers(load(model.path)))
        (out / COUNTS_FILE).write_bytes(msgspec.json.encode(Counts(parameters=total.parameters, macs=total.macs)))

    folder, _, _ = workshop.folder("count", {"model": model.sha256}, make, quiet=True)
    return msgspec.json.decode((folder / COUNTS_FILE).read_bytes(), type=Counts)


def _factory_digest(plan: Plan) -> str | None:
    """SHA-256 of the factory's file; what that file imports is not followed."""
    if not plan.ingest.factory:
        return None
    file = Path(plan.ingest.factory.rpartition(":")[0])
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def prepared(plan: Plan, model: Model, workshop: Workshop) -> Model:
    """The Model simplified and fused, which the recipe's options fit, accepted by every target's backend.

    Raises:
        PlanError: an option names what is not there.
        UnsupportedError: a node cannot be built for a target.
    """
    origin = model.history[:1]
    for step in plan.preparation:
        model = passed(step, model, plan, workshop, one=None)
    model = msgspec.structs.replace(model, history=(*origin, *model.history[len(origin) :]))  # two sources of one graph share the steps after

    _check_fit([*([("distill", plan.distill)] if plan.distill is not None else []), *_placed(plan)], model)

    def make(out: Path) -> None:
        check_refusals(plan, model)
        (out / "accepted").write_bytes(b"")

    asked = [(one.runtime, one.target, backend_of(one, plan).tools(), source_sha256(model) if takes_source(one) else "") for one in plan.chosen]
    calibrates = any(Need.SAMPLES in step.pass_.needs for step in plan.steps)
    workshop.folder("check", {"model": model.sha256, "asked": asked, "calibrates": calibrates}, make, quiet=True)
    return model


def _placed(plan: Plan) -> list[tuple[str, PlannedStep]]:
    """The recipe's steps, each with its place in words."""
    return [(f"step {index} ({step.name})", step) for index, step in enumerate(plan.steps, start=1)]


def _check_fit(steps: Sequence[tuple[str, PlannedStep]], model: Model) -> None:
    """Refuse options that name what is not in the graph that they are meant for.

    Raises:
        PlanError: all of them at once.
    """
    if lines := misfits([(where, step.pass_) for where, step in steps], model):
        raise PlanError(lines, hint="correct what is named, in the recipe or by --set STEP.FIELD=VALUE")


def passed(  # noqa: PLR0913 - a pass, what it works on, and who supplies it
    step: PlannedStep,
    model: Model,
    plan: Plan,
    workshop: Workshop,
    *,
    one: Chosen | None,
    teachers: Teachers = NO_TEACHERS,
    cost: Callable[[Model], float] | None = None,
) -> Model:
    """The Model after one pass; for a target's facts where ``one`` is given, by ``teachers`` where the pass learns from them, by
    what models ``cost`` there where it goes by that."""
    scheme = _scheme(step, one)
    samples = plan.samples if is_fed(step.pass_) else None
    target = one.key if one is not None and OF_TARGETS & step.pass_.needs else "all"
    decided_by = pass_inputs(step, model, plan, one, teachers)
    supplies = Supplies(
        samples=samples,
        scheme=scheme,
        watcher=workshop.watcher,
        shared=workshop.shared,
        teacher=teachers.before if Need.TEACHER in step.pass_.needs else None,
        teachers=teachers.others if Need.TEACHERS in step.pass_.needs else (),
        channel_multiple=_channel_multiple(step, one),
        cost=cost if Need.COST in step.pass_.needs else None,
        unfinished=workshop.unfinished(step.name, decided_by),
    )
    return workshop.model_step(step.name, decided_by, lambda out: step.pass_(model, supplies, out), target=target, parent=model)


def pass_inputs(step: PlannedStep, model: Model, plan: Plan, one: Chosen | None, teachers: Teachers) -> dict[str, Any]:
    """All that decides what a pass makes."""
    samples = plan.samples if is_fed(step.pass_) else None
    taught: dict[str, Any] = {}
    if teachers.before is not None and Need.TEACHER in step.pass_.needs:
        taught["teacher"] = teachers.before.sha256
    if Need.TEACHERS in step.pass_.needs:
        taught["teachers"] = [(one.sha256, one.signature) for one in teachers.others]
    return {
        "model": model.sha256,
        "signature": model.signature,
        "options": step.options,
        "tools": step.pass_.tools(),
        "scheme": _scheme(step, one),
        "samples": [samples.sha256, version_of("pillow")] if samples else None,
        **taught,
        **_of_target(step, plan, one),
    }


def _channel_multiple(step: PlannedStep, one: Chosen | None) -> int:
    return runtime_of(one).channel_multiple if one is not None and Need.CHANNEL_MULTIPLE in step.pass_.needs else 1


def _of_target(step: PlannedStep, plan: Plan, one: Chosen | None) -> dict[str, Any]:
    """What of a target's kernels and latency decides a pass that goes by them."""
    found: dict[str, Any] = {}
    if Need.CHANNEL_MULTIPLE in step.pass_.needs:
        found["channel_multiple"] = _channel_multiple(step, one)
    if Need.COST in step.pass_.needs and one is not None:
        found["measured_on"] = [one.key, plan.request.device]
    return found


def _scheme(step: PlannedStep, one: Chosen | None) -> Scheme | None:
    return runtime_of(one).scheme if one is not None and Need.SCHEME in step.pass_.needs else None


def engine_inputs(one: Chosen, model: Model, backend: Backend, boards: Boards = NO_BOARDS) -> dict[str, Any]:
    """All that decides an engine."""
    decided_by = {"model": model.sha256, "signature": model.signature, "target": one.target, "runtime": one.runtime, "tools": backend.tools()}
    if one.key in boards.machines:
        decided_by["machine"] = boards.machines[one.key]
    own = getattr(backend, "decided_by", None)
    return decided_by if own is None else {**decided_by, "source": source_sha256(model), "asked": own()}


def backend_of(one: Chosen, plan: Plan) -> Backend:
    """The backend of a target; one that converts the source itself is told what the recipe asks for."""
    kind = plugins.load("edgekit.backends", one.runtime)
    return cast("Backend", kind(conversion=_conversion(plan)) if takes_source(one) else kind())


def _conversion(plan: Plan) -> Conversion:
    return Conversion(
        steps=asked_steps(plan.steps),
        samples=plan.samples,
        trust=plan.ingest.trust,
        memory_bytes=int(plan.ingest.memory_gib * (1 << 30)),
        timeout_s=plan.ingest.timeout_s,
    )


def compiled(one: Chosen, model: Model, plan: Plan, workshop: Workshop, boards: Boards = NO_BOARDS) -> Built:
    """The engine of one target, with the snippets that call it."""
    backend, builder = backend_of(one, plan), boards.builder(one)
    watching = {"watcher": workshop.watcher} if builder is not None else {}

    def make(out: Path) -> None:
        engine = backend.compile(model, one.target, builder, out, **watching)
        write_snippets(engine, model.signature, out)

    folder, cost, cached = workshop.folder("compile", engine_inputs(one, model, backend, boards), make)
    engine = read_engine(folder)
    workshop.entries.append(
        StepEntry(
            name="compile",
            target=one.key,
            did={"runtime": one.runtime, "precision": engine.precision, "status": engine.status},
            wall_s=cost.wall_s,
            cpu_s=cost.cpu_s,
            cached=cached,
            bytes_before=model.bytes,
            bytes_after=engine.bytes,
            tools=backend.tools(),
        )
    )
    return Built(chosen=one, model=model, engine=engine, folder=folder)


def built(plan: Plan, model: Model, workshop: Workshop, costs: Costs, boards: Boards = NO_BOARDS) -> tuple[Built, ...]:
    """The engines of all targets, in order; what targets share is done once. ``costs`` says what models cost on a target."""
    engines = []
    for one in plan.chosen:
        branch, way = model, [("", model)]
        for number, step in enumerate(() if takes_source(one) else plan.steps, start=1):
            branch = passed(step, branch, plan, workshop, one=one, teachers=Teachers(before=model), cost=costs(one))
            way.append((step.name, branch))
            if not getattr(step.pass_, "keeps_nodes", False):
                _check_fit(_placed(plan)[number:], branch)
        engines.append(replace(compiled(one, branch, plan, workshop, boards), way=tuple(way)))
    return tuple(engines)

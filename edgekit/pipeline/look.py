"""What a file is (``inspect``) and what a build of it would do (``plan``)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.engine.contract import Delegation
from edgekit.engine.tensorrt.preflight import Preflight
from edgekit.ingest.sniff import kind_of
from edgekit.model import Model, Store, Tensor, file_sha256, read_model
from edgekit.pipeline.foresee import check_delegations, drafted, foreseen, preflighted
from edgekit.pipeline.line import Teachers, backend_of, engine_inputs, ingested, pass_inputs, prepared
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan, PlannedStep, Request, check, makes_integers, runtime_of, takes_source
from edgekit.target import Chosen
from edgekit.watch import SILENT, Watcher

if TYPE_CHECKING:
    from edgekit.graph.inspect import Layer


class Inspection(msgspec.Struct, frozen=True):
    """What a source file is, seen as the ONNX graph it becomes; a TFLite file, as it is.

    Attributes:
        format: of the source.
        bytes: of the source.
        sha256: of the source.
        inputs, outputs: names, types, shapes.
        parameters: numbers in constants.
        macs: multiply-adds of one query.
        ops: nodes by operator.
        layers: node by node.
        delegations: of a TFLite file, what each delegate would take of it.
        min_runtime: of a TFLite file: the oldest TFLite that runs it, as it says itself.
        metadata: of a TFLite file: how it is called, as it says itself, in the form of the metadata schema's JSON.
        files: of a TFLite file: what is packed behind it.
        notes: what a reader should know, in sentences.
    """

    format: str
    bytes: int
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameters: int
    macs: int
    ops: dict[str, int]
    layers: tuple[Layer, ...]
    delegations: tuple[Delegation, ...] = ()
    min_runtime: str = ""
    metadata: dict[str, Any] = {}
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class RehearsedStep(msgspec.Struct, frozen=True):
    """A step that a build would take.

    Attributes:
        target: key of the target, or ``all``.
        step: its name.
        route: from what to what.
        needs: what it cannot do without.
        kept: whether an earlier build has done it.
    """

    target: str
    step: str
    route: str
    needs: str
    kept: bool = False


class Rehearsal(msgspec.Struct, frozen=True):
    """What ``edgekit plan`` prints: no node was refused, or it would not exist.

    Attributes:
        source: of the model.
        recipe: its name.
        samples: how many calibrate and judge, in words.
        remarks: what a user should know, in sentences.
        steps: in the order they would run.
        delegations: by target key, what the delegate of its runtime would take.
        preflights: by target key, what NVIDIA's parser or edgekit's rules say of each node, of TensorRT alone.
    """

    source: str
    recipe: str
    samples: str
    remarks: tuple[str, ...]
    steps: tuple[RehearsedStep, ...]
    delegations: dict[str, Delegation] = {}
    preflights: dict[str, Preflight] = {}


def look_at(request: Request, *, watcher: Watcher = SILENT, store: Store | None = None) -> Inspection:
    """Read a source and count what is in it.

    Raises:
        SourceError: it cannot be read.
    """
    if isinstance(request.source, Path) and request.source.suffix == ".tflite":
        return _look_at_tflite(request.source)
    from edgekit.graph.inspect import layers, totals
    from edgekit.graph.onnx_file import load

    plan = check(dataclasses.replace(request, targets=(), recipe="float", samples=None), targets_needed=False)
    model, source = ingested(plan, Workshop(store=store or Store(), watcher=watcher))
    proto = load(model.path)
    table = layers(proto)
    total = totals(table)
    return Inspection(
        format=source.format,
        bytes=source.bytes,
        sha256=source.sha256,
        inputs=model.signature.inputs,
        outputs=model.signature.outputs,
        parameters=total.parameters,
        macs=total.macs,
        ops=dict(Counter(node.op_type for node in proto.graph.node)),
        layers=table,
    )


def _look_at_tflite(path: Path) -> Inspection:
    """A TFLite file as it is: no ONNX graph is made of it."""
    from edgekit.engine.tflite.delegates.judge import delegation
    from edgekit.engine.tflite.delegates.reading import read_network
    from edgekit.engine.tflite.delegates.rules import DELEGATES, table
    from edgekit.engine.tflite.file import read_tflite
    from edgekit.graph.inspect import totals

    found, network = read_tflite(path), read_network(path)
    total = totals(found.layers)
    inputs, outputs = (tuple(Tensor(name=one.name, dtype=one.dtype, shape=one.shape) for one in ports) for ports in (found.inputs, found.outputs))
    return Inspection(
        format="tflite",
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        inputs=inputs,
        outputs=outputs,
        parameters=total.parameters,
        macs=total.macs,
        ops=dict(Counter(layer.op for layer in found.layers)),
        layers=found.layers,
        delegations=tuple(delegation(network, table(name), is_foreign=True) for name in DELEGATES),
        min_runtime=found.min_runtime,
        metadata=found.metadata,
        files=found.files,
        notes=(found.metadata_fault,) if found.metadata_fault else (),
    )


def rehearse(request: Request, *, watcher: Watcher = SILENT, store: Store | None = None) -> Rehearsal:
    """Check everything that can be checked before anything calibrates, trains or is measured.

    Raises:
        PlanError: recipe, targets or samples have faults; all at once.
        UnsupportedError: a target's engine cannot carry the model, or its delegate would leave what it has to take; all
            nodes at once.
        ChildError: an NPU's compiler crashed or took too long.
    """
    plan = check(request)
    workshop = Workshop(store=store or Store(), watcher=watcher)
    model, _ = ingested(plan, workshop)
    ready = prepared(plan, model, workshop)
    delegations = foreseen(plan, ready, workshop)
    check_delegations(plan, delegations)
    samples = plan.samples
    return Rehearsal(
        source=str(request.source),
        recipe=plan.recipe.name,
        samples=f"{len(samples.calibrating)} samples calibrate, {len(samples.judging)} judge" if samples else "no samples",
        remarks=(*plan.names, *plan.remarks, *drafted(plan, ready, workshop)),
        steps=tuple(_steps(plan, ready, workshop)),
        delegations=delegations,
        preflights=preflighted(plan, ready, workshop),
    )


def _steps(plan: Plan, ready: Model, workshop: Workshop) -> list[RehearsedStep]:
    done = {entry.name for entry in workshop.entries if entry.cached}
    source = kind_of(plan.request.source).value
    steps = [RehearsedStep(target="all", step="ingest", route=f"{source} → ONNX", needs="", kept="ingest" in done)]
    steps += [RehearsedStep("all", step.name, "ONNX → ONNX", _needs(step), step.name in done) for step in plan.preparation]
    for one in plan.chosen:
        steps += _steps_of(one, plan, ready, workshop)
    return steps


def _steps_of(one: Chosen, plan: Plan, model: Model, workshop: Workshop) -> Iterator[RehearsedStep]:
    """Steps of one target; what comes after a step that is still to be done cannot be in the store."""
    backend, is_own = backend_of(one, plan), takes_source(one)
    scheme = runtime_of(one).scheme
    branch: Model | None = model
    for step in () if is_own else plan.steps:
        folder = workshop.find(step.name, pass_inputs(step, branch, plan, one, Teachers(model))) if branch is not None else None
        branch = read_model(folder) if folder is not None else None
        rounds = scheme is not None and makes_integers(step)
        wide = getattr(step.pass_, "activation_bits", 8) == 16
        route = f"ONNX → ONNX, activations {'int16' if wide else scheme.activations}" if rounds and scheme else "ONNX → ONNX"
        yield RehearsedStep(target=one.key, step=step.name, route=route, needs=_needs(step), kept=branch is not None)
    kept = branch is not None and workshop.find("compile", engine_inputs(one, branch, backend)) is not None
    builds = "the device" if one.builds_on == "device" else ""
    source = kind_of(plan.request.source).value if is_own else "ONNX"
    yield RehearsedStep(target=one.key, step="compile", route=f"{source} → {one.runtime}", needs=builds, kept=kept)


def _needs(step: PlannedStep) -> str:
    return ", ".join(sorted(need.value for need in step.pass_.needs))

"""What each step of a recipe that compresses makes of the model, for one table in the report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from edgekit.model import Model
from edgekit.passes.compress.compressed import sizes_of
from edgekit.pipeline.line import Built
from edgekit.pipeline.score import graph_scored
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan
from edgekit.plugins import version_of
from edgekit.report import Stage

STAGE_FILE = "stage.json"
LEARNING = frozenset({"finetune", "qat"})


def stages(engines: Iterable[Built], reference: Model, plan: Plan, workshop: Workshop) -> tuple[Stage, ...]:
    """The models on the way to each engine, where a step of the recipe compresses or learns; none otherwise."""
    if not any(getattr(step.pass_, "pays_as", ()) or step.name in LEARNING for step in plan.steps):
        return ()
    return tuple(
        msgspec.structs.replace(_stage(model, reference, plan, workshop), target=one.chosen.key, after=name)
        for one in engines
        for name, model in one.way
    )


def _stage(model: Model, reference: Model, plan: Plan, workshop: Workshop) -> Stage:
    """Looked at once, kept in the store."""

    def make(out: Path) -> None:
        stage = _counted(model)
        if plan.samples is not None:
            sqnr_db, agreement, top1, count = graph_scored(model, reference, plan.samples, workshop)
            stage = msgspec.structs.replace(stage, sqnr_db=sqnr_db, top1_agreement=agreement, top1=top1, samples=count)
        (out / STAGE_FILE).write_bytes(msgspec.json.encode(stage))

    decided_by = {
        "model": model.sha256,
        "reference": reference.sha256,
        "signature": reference.signature,
        "samples": plan.samples.sha256 if plan.samples is not None else None,
        "tools": version_of("onnxruntime", "numpy", "pillow"),
    }
    folder, _, _ = workshop.folder("stage", decided_by, make, quiet=True)
    return msgspec.json.decode((folder / STAGE_FILE).read_bytes(), type=Stage)


def _counted(model: Model) -> Stage:
    from onnx import numpy_helper

    from edgekit.graph.inspect import layers, totals
    from edgekit.graph.onnx_file import load

    proto = load(model.path)
    total = totals(layers(proto))
    weights = [numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if len(tensor.dims) > 1]
    count = sum(weight.size for weight in weights)
    zeros = sum(weight.size - int(np.count_nonzero(weight)) for weight in weights)
    return Stage(
        target="",
        after="",
        parameters=total.parameters,
        macs=total.macs,
        zeros=zeros / count if count else 0.0,
        zip_bytes=sizes_of(proto).compressed,
    )

"""The float original, simplified and fused, as ONNX Runtime runs it: what engines are better or worse than."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgekit.engine.contract import Engine, port_of, seal_engine
from edgekit.graph.quantized import speaks_of_integers
from edgekit.measure import Load
from edgekit.model import Model
from edgekit.model.model import MODEL_FILE
from edgekit.pipeline.assess import not_taken, take, with_taken
from edgekit.pipeline.place import Bench
from edgekit.pipeline.publish import is_published, replace_folder
from edgekit.plan import Plan
from edgekit.report import EngineEntry
from edgekit.watch import Watcher

NAME = "reference"
KEY = f"{NAME}-onnxruntime"


def reference_engine(model: Model) -> Engine:
    """The record of the model as given, as an engine of ONNX Runtime."""
    precision, options = _as_given(model.path)
    return Engine(
        file=MODEL_FILE,
        target=NAME,
        runtime="onnxruntime",
        precision=precision,
        status="built",
        inputs=tuple(port_of(tensor) for tensor in model.signature.inputs),
        outputs=tuple(port_of(tensor) for tensor in model.signature.outputs),
        bytes=model.bytes,
        sha256=model.sha256,
        options=options,
    )


def _as_given(path: Path) -> tuple[str, dict[str, Any]]:
    """Precision, and what a session is opened with; a float model's file is not parsed for it."""
    if not speaks_of_integers(path):
        return "float32", {}
    from edgekit.engine.onnxruntime import OnnxRuntimeOptions
    from edgekit.engine.onnxruntime.optimized import broken_rewrites
    from edgekit.engine.onnxruntime.precision import precision_of
    from edgekit.graph.onnx_file import load

    proto = load(path)
    return precision_of(proto), OnnxRuntimeOptions().for_session(as_on_arm=False, without=broken_rewrites(proto))


def publish_reference(model: Model, out: Path) -> Path:
    """Put the float model where engines lie, so that it can be measured again."""
    engine, final = reference_engine(model), out / "engines" / KEY

    def fill(temporary: Path) -> None:
        for path in model.folder.glob(f"{MODEL_FILE}*"):
            shutil.copyfile(path, temporary / path.name)
        seal_engine(temporary, engine)

    if not is_published(engine, final):
        replace_folder(final, fill)
    return final


def reference_entry(model: Model, plan: Plan, bench: Bench, watcher: Watcher, load: Load | None, *, reason: str) -> EngineEntry:
    """The report's entry of the float original; its times taken now, or ``reason`` why they are not."""
    engine = reference_engine(model)
    entry = EngineEntry(
        target=NAME,
        runtime=engine.runtime,
        path=f"engines/{KEY}/{engine.file}",
        bytes=engine.bytes,
        sha256=engine.sha256,
        precision=engine.precision,
        status=engine.status,
        fidelity_reason="it is what fidelity is measured against",
        accuracy_reason="see the engines' `top1_reference`",
    )
    if load is None:
        return with_taken(entry, not_taken(reason), bench.measured_on(None))
    watcher.begin("measure the float original")
    found = take(model.folder, engine, plan.samples, model.signature, bench, load)
    watcher.end(found.note)
    return with_taken(entry, found, bench.measured_on(None))

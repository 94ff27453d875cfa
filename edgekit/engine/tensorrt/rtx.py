"""Engines of TensorRT-RTX: NVIDIA's compiler makes them ahead of time, on any CPU, for one generation of RTX cards.

They open on such a card with the very release of TensorRT-RTX that made them, and on no Jetson.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.engine.contract import Engine, Refusal, seal_engine
from edgekit.engine.tensorrt.package import RTX, precision_of, prepare, refuse, told
from edgekit.engine.tensorrt.plan import profiles_of
from edgekit.engine.tensorrt.preflight import Preflight, refusals, remedy, verdicts
from edgekit.engine.tensorrt.rtx_process import Answered, Asked, ask
from edgekit.errors import UnsupportedError
from edgekit.graph import onnx_file
from edgekit.model import Model, file_sha256
from edgekit.run.plan_header import read_header
from edgekit.target import Target

if TYPE_CHECKING:
    import onnx

ENGINE_FILE, GRAPH_FILE = "model.engine", "model.onnx"
NEVER_ON_A_JETSON = "an engine of TensorRT-RTX runs on RTX cards with the same release of TensorRT-RTX, never on a Jetson"


def refusals_of(model: Model, target: Target) -> tuple[Refusal, ...]:
    """By rule; of a graph that the rules take, by NVIDIA's parser."""
    by_rule = prepare(model, target, RTX).refusals
    if by_rule:
        return by_rule
    with tempfile.TemporaryDirectory(prefix="edgekit-rtx-") as stage:
        return refusals(preflight_of(model, target, Path(stage)))


def preflight_of(model: Model, target: Target, stage: Path) -> Preflight:
    """The parser's verdict on every node; the graph is left in ``stage``."""
    proto = prepare(model, target, RTX).written()
    onnx_file.save(proto, stage)
    return _found(proto, ask(Asked(model=stage / GRAPH_FILE)), target, capability="")


def write_engine(model: Model, target: Target, out: Path) -> Engine:
    """Compile into ``out``.

    Raises:
        UnsupportedError: a rule, NVIDIA's parser or its compiler does not take the model.
    """
    ready = prepare(model, target, RTX)
    refuse(ready.refusals, target.name)
    proto = ready.written()
    onnx_file.save(proto, out)
    capability = str(target.facts["compute_capability"])
    asked = Asked(model=out / GRAPH_FILE, capability=capability, profiles=profiles_of(ready.inputs, ready.options), engine=out / ENGINE_FILE)
    answered = ask(asked)
    found = _found(proto, answered, target, capability=capability)
    refuse(refusals(found), target.name)
    if not answered.compiled:
        message = f"TensorRT-RTX {answered.version} does not compile this model for {target.name}: {answered.error}"
        raise UnsupportedError(message, hint=remedy(answered.error))
    (out / GRAPH_FILE).unlink()
    header = read_header(str(out / ENGINE_FILE))
    engine = Engine(
        file=ENGINE_FILE,
        target=target.name,
        runtime=RTX,
        precision=precision_of(proto),
        status="built",
        inputs=ready.inputs,
        outputs=ready.outputs,
        bytes=answered.bytes,
        sha256=file_sha256(out / ENGINE_FILE),
        details={
            "tensorrt_rtx": header["version"],
            "compute_capability": capability,
            "opset": ready.opset,
            "operators": ready.graph.count(),
            "memory": answered.memory,
            "preflight": told(found),
            "complaints": list(answered.complaints),
            "note": NEVER_ON_A_JETSON,
        },
    )
    return seal_engine(out, engine)


def _found(proto: onnx.ModelProto, answered: Answered, target: Target, *, capability: str) -> Preflight:
    return Preflight(
        release=f"TensorRT-RTX {target.runtime(RTX).version}",
        parser=answered.version,
        nodes=verdicts(proto, answered, is_its_own=True),
        capability=capability,
        compiled_for=capability if answered.compiled else "",
        why_not="" if answered.compiled or not capability else answered.error,
        memory=answered.memory,
    )

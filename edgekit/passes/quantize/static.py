"""Static int8, end to end: calibrate (or find it in the store), place, decide, apply."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import SamplesError, UsageError
from edgekit.model import Model
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import calibrate
from edgekit.passes.quantize.apply import apply
from edgekit.passes.quantize.decide import Decision, Observer, decide
from edgekit.passes.quantize.place import place
from edgekit.passes.quantize.view import View
from edgekit.plugins import version_of

if TYPE_CHECKING:
    import onnx


def quantize_static(model: Model, proto: onnx.ModelProto, supplies: Supplies, *, observer: Observer, correct_bias: bool) -> dict[str, Any]:
    """Quantize ``proto``, the graph of ``model`` with all shapes inferred, in place.

    Returns:
        What was done, for the step's record.
    """
    if supplies.scheme is None or supplies.samples is None:
        raise UsageError("quantize: a static int8 model needs samples and a scheme", hint="--samples DIR")
    view = View(proto)
    seen = observations(model, view, supplies)
    decision = decide(view, place(view, supplies.scheme), seen, supplies.scheme, observer, correct_bias=correct_bias)
    did = _did(view, decision, seen.samples)
    apply(proto, decision)
    return did


def observations(model: Model, view: View, supplies: Supplies) -> calibrate.Observations:
    """What flows through a model on the samples that calibrate: seen once, shared by all schemes and observers."""
    samples = supplies.samples
    if samples is None:
        raise SamplesError("quantize: needs samples", hint="--samples DIR, or --recipe fp16")

    def make(folder: Path) -> None:
        supplies.watcher.begin("calibrate", len(samples.calibrating))
        seen = calibrate.calibrate(model.path, view, samples.feeds("calibrating", model.signature), supplies.watcher)
        calibrate.write(seen, folder)
        supplies.watcher.end(f"{seen.samples} samples, {len(seen.histograms)} tensors")

    decided_by = {
        "version": calibrate.VERSION,
        "model": model.sha256,
        "samples": samples.sha256,
        "signature": model.signature,
        "tools": version_of("numpy", "onnxruntime", "pillow"),
    }
    return calibrate.read(supplies.shared("observations", decided_by, make))


def _did(view: View, decision: Decision, samples: int) -> dict[str, Any]:
    placed = decision.placement
    ops = Counter(node.op_type for node in view.nodes if node.name in set(placed.integer))
    return {
        "samples": samples,
        "integer_nodes": dict(sorted(ops.items())),
        "quantized_tensors": len(placed.tensors),
        "scales": len(set(placed.tensors.values())),
        "left_float": placed.left_float,
    }

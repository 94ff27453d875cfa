"""What static quantization will make integer, before anything is calibrated: for a plan, never for an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.view import View
from edgekit.numerics.observers import Histogram
from edgekit.passes.named import named
from edgekit.passes.quantize.apply import apply
from edgekit.passes.quantize.decide import decide, ranging
from edgekit.passes.quantize.observations import Observations
from edgekit.passes.quantize.place import place
from edgekit.passes.quantize.reasons import BY_USER
from edgekit.passes.quantize.static import Static
from edgekit.target import Scheme

if TYPE_CHECKING:
    import onnx


def foresee_static(proto: onnx.ModelProto, scheme: Scheme, how: Static) -> dict[str, Any]:
    """Quantize ``proto``, a graph with all shapes inferred, in place, as if every tensor held -1 to 1, 0 on
    average, and no budget kept a node in float.

    Returns:
        How many nodes became integer, for the step's record.

    Raises:
        UsageError: ``keep_float`` names what is not there.
    """
    view = View(proto)
    placement = place(view, scheme, dict.fromkeys(named(view, how.keep_float, "quantize: keep_float"), BY_USER))
    assumed = Histogram()
    assumed.observe(np.array([-1.0, 1.0], np.float32))
    tensors = {tensor for sources in placement.sources.values() for tensor in sources}
    averages = {name: np.zeros((one.groups, one.by_channel(view.value(one.weight)).shape[1])) for name, one in placement.weighted.items()}
    seen = Observations(histograms=dict.fromkeys(tensors, assumed), averages=averages, weights={}, samples=0)
    apply(proto, decide(view, placement, seen, scheme, ranging("minmax", how.percentile), correct_bias=how.correct_bias))
    return {"foreseen": len(placement.integer)}

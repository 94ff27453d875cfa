"""What a step that prepares or does quantization says of a graph that came quantized: it is left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.graph.quantized import quantization_of

if TYPE_CHECKING:
    import onnx

LEFT = "already_quantized"
"""Key of the step's record; whoever reads a report finds by it that this step changed nothing."""


def left_as_it_is(proto: onnx.ModelProto) -> dict[str, Any] | None:
    """What a graph's maker quantized, for the step's record; None if the graph is to be quantized here.

    A graph that holds any quantization is its maker's work, in part or whole: what they left in float they left on
    purpose, and rounding it here, too, would be nobody's numbers.
    """
    found = quantization_of(proto)
    return None if found is None else {LEFT: msgspec.to_builtins(found)}

"""What nodes cost that compute in float where they could compute in integers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgekit.graph.view import View, attributes
from edgekit.passes.quantize.place import Placement

if TYPE_CHECKING:
    import onnx

CONVERTED_COST, WIDER_COST = 8.0, 2.0
"""What a number costs that is converted between float and integers, and one that is stored in float, in multiply-adds: both
are bound by memory."""

FEW_CHANNELS = 4
"""A first convolution reads pictures of at most so many."""


class Costs:
    """What it costs to compute nodes in float and not in integers, in multiply-adds of float.

    Args:
        proto: the float graph.
        view: of it.
        whole: all that can be integer.
        speedup: of integers over float, by kind of node.

    Attributes:
        macs: multiply-adds of the whole graph.
    """

    def __init__(self, proto: onnx.ModelProto, view: View, whole: Placement, speedup: Mapping[str, float]) -> None:
        from edgekit.graph.inspect import layers

        self._view = view
        self._whole = frozenset(whole.integer)
        self._macs = {layer.name: float(layer.macs) for layer in layers(proto)}
        self.macs = max(sum(self._macs.values()), 1.0)
        self._nodes = {node.name: node for node in view.nodes}
        self._saved = {name: 1.0 - 1.0 / speedup.get(_kind(view, self._nodes[name]), math.inf) for name in self._macs if name in self._nodes}

    def of(self, placed: Placement) -> float:
        """Cost of what a placement has in float of all that can be integer: what products take longer, and every number
        that is converted or wider for them. Negative where integers are slower."""
        nodes = self._whole.difference(placed.integer)
        moved = {name for node in nodes for name in [*self._nodes[node].input, *self._nodes[node].output] if name not in self._view.constants}
        numbers = sum(self._view.numbers(name) * (CONVERTED_COST if name in placed.tensors else WIDER_COST) for name in sorted(moved))
        return sum(self._macs.get(node, 0.0) * self._saved.get(node, 1.0) for node in sorted(nodes)) + numbers

    def are_no_faster(self, nodes: Iterable[str]) -> bool:
        """Whether integers save nothing of what the products among these nodes take; there must be one."""
        saved = [self._saved.get(node, 1.0) for node in nodes if self._macs.get(node)]
        return bool(saved) and max(saved) <= 0.0

    def share(self, nodes: Iterable[str]) -> float:
        """Share of all multiply-adds that these nodes do."""
        return sum(self._macs.get(node, 0.0) for node in nodes) / self.macs


def _kind(view: View, node: onnx.NodeProto) -> str:
    """What a scheme calls an op whose speed it knows."""
    if node.op_type != "Conv":
        return str(node.op_type)
    weights = view.shape(node.input[1]) or ()
    groups = int(attributes(node).get("group", 1))
    if groups > 1 and weights[1:2] == (1,):
        return "depthwise Conv"
    return "first Conv" if groups == 1 and len(weights) > 1 and isinstance(weights[1], int) and weights[1] <= FEW_CHANNELS else "Conv"

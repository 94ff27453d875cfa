"""A Transpose or Reshape of dequantized weights moves the integers beforehand, so that the product reads weights.

Exporters of Linear layers write weight, Q/DQ, Transpose, MatMul; runtimes look for the DequantizeLinear right before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Array, Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """The node that moves, the DequantizeLinear before it, the integers as they will lie, the axis of their scales."""

    node: Node
    dequantize: Node
    integers: Array
    axis: int | None


def match(graph: Graph, node: Node) -> Found | None:
    """The integers are constant; where there are several scales, their axis is followed through a Transpose only."""
    before = graph.maker(node.inputs[0], "DequantizeLinear")
    integers = graph.constant(before.inputs[0]) if before is not None else None
    scale = graph.constant(before.inputs[1]) if before is not None else None
    if before is None or integers is None or scale is None or before.get("block_size", 0) or before.outputs[0] in graph.pinned:
        return None
    if node.op == "Transpose":
        perm = node.get("perm", list(range(integers.ndim))[::-1])
        axis = perm.index(before.get("axis", 1) % integers.ndim) if scale.size > 1 else None
        return Found(node, before, np.ascontiguousarray(integers.transpose(perm)), axis)
    shape = graph.static_shape(node.outputs[0])
    return Found(node, before, integers.reshape(shape), None) if scale.size == 1 and shape is not None else None


def rewrite(graph: Graph, found: Found) -> None:
    """One DequantizeLinear of the moved integers; the old one goes with its last reader."""
    before, output = found.dequantize, found.node.outputs[0]
    moved = graph.add_constant(found.integers, f"{before.inputs[0]}_moved")
    attributes = {} if found.axis is None else {"axis": found.axis}
    graph.replace([found.node], "DequantizeLinear", [moved, *before.inputs[1:]], output, **attributes)


RULE = Rule("dequantize-moved", ("Transpose", "Reshape"), match, rewrite)

"""auto_pad becomes pads, where the sizes are known: later rules and backends then read one form."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """A node and its padding: all beginnings, then all ends."""

    node: Node
    pads: list[int]


def match(graph: Graph, node: Node) -> Found | None:
    """Conv and pooling of static size whose auto_pad is SAME_UPPER, SAME_LOWER or VALID."""
    mode = node.get("auto_pad", "NOTSET")
    sizes = graph.static_shape(node.inputs[0])
    kernel = node.get("kernel_shape")
    if kernel is None and node.op == "Conv":
        weight = graph.static_shape(node.inputs[1])
        kernel = list(weight[2:]) if weight else None
    if mode == "NOTSET" or sizes is None or kernel is None:
        return None
    if mode == "VALID":
        return Found(node, [0] * (2 * len(kernel)))
    strides, dilations = node.get("strides", [1] * len(kernel)), node.get("dilations", [1] * len(kernel))
    begins, ends = [], []
    for size, taps, stride, dilation in zip(sizes[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return Found(node, begins + ends)


def rewrite(graph: Graph, found: Found) -> None:
    """The same node with pads."""
    graph.set_attributes(found.node, auto_pad=None, pads=found.pads)


RULE = Rule("auto-pad", ("Conv", "MaxPool", "AveragePool", "LpPool"), match, rewrite)

"""Poolings over one axis as poolings over two: what TensorRT's table of operators asks for ("2D or 3D Pooling only")."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

_POOLS = ("MaxPool", "AveragePool", "LpPool")


def widen_pools(graph: Graph) -> None:
    """Give every pooling over one axis a second one of size 1, in place; indices of a maximum stay for the check to refuse."""
    for node in list(graph.walk(*_POOLS)):
        shape = graph.shape(node.inputs[0])
        if shape is not None and len(shape) == 3 and not any(node.outputs[1:]):
            _widen(graph, node)


def _widen(graph: Graph, node: Node) -> None:
    source, made = node.inputs[0], node.outputs[0]
    kind, before, after = graph.elem_type(source), graph.shape(source), graph.shape(made)
    axes = graph.add_constant(np.array([2], np.int64), f"{node.name}_axis")
    wide, narrow = graph.unused_name(f"{source}_wide"), graph.unused_name(f"{made}_wide")
    unsqueeze = graph.add("Unsqueeze", [source, axes], wide, before=node)
    graph.set_type(wide, kind, None if before is None else (*before[:2], 1, before[2]))
    pool = graph.add(node.op, [wide], narrow, before=node, **_two_axes(node))
    graph.set_type(narrow, kind, None if after is None else (*after[:2], 1, after[2]))
    squeeze = graph.replace([node], "Squeeze", [narrow, axes], made)
    pool.name = node.name
    unsqueeze.name, squeeze.name = f"{node.name}_unsqueeze", f"{node.name}_squeeze"


def _two_axes(node: Node) -> dict[str, Any]:
    """The node's attributes, with nothing to do along the axis before its own."""
    attributes = {name: node.get(name) for name in node.attributes}
    for name in ("kernel_shape", "strides", "dilations"):
        if name in attributes:
            attributes[name] = [1, *attributes[name]]
    if "pads" in attributes:
        first, last = attributes["pads"]
        attributes["pads"] = [0, first, 0, last]
    return attributes

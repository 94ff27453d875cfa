"""ReverseSequence over whole sequences is a Slice backwards, which every runtime has."""

from __future__ import annotations

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule

_BEFORE_THE_FIRST = np.iinfo(np.int64).min


def match(graph: Graph, node: Node) -> Node | None:
    """All sequences of the batch are reversed in full."""
    lengths, shape = graph.constant(node.inputs[1]), graph.static_shape(node.inputs[0])
    axis = node.get("time_axis", 0)
    return node if lengths is not None and shape is not None and bool((lengths == shape[axis]).all()) else None


def rewrite(graph: Graph, node: Node) -> None:
    """From the last to the first, by steps of -1."""
    output = node.outputs[0]
    bounds = {"from": -1, "to": _BEFORE_THE_FIRST, "axis": node.get("time_axis", 0), "step": -1}
    names = [graph.add_constant(np.array([value]), f"{output}_{name}") for name, value in bounds.items()]
    graph.replace([node], "Slice", [node.inputs[0], *names], output)


RULE = Rule("reverse", ("ReverseSequence",), match, rewrite)

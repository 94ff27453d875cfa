"""A Constant node becomes an initializer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Array, Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """A Constant and its values."""

    node: Node
    values: Array


def match(graph: Graph, node: Node) -> Found | None:
    """Any Constant of numbers whose output is not an output of the graph; those of text and sparse ones stay."""
    import onnx

    if node.outputs[0] in graph.outputs:
        return None
    for kind, dtype in (("float", np.float32), ("floats", np.float32), ("int", np.int64), ("ints", np.int64)):
        if f"value_{kind}" in node.attributes:
            return Found(node, np.array(node.get(f"value_{kind}"), dtype))
    value = node.get("value")
    return Found(node, onnx.numpy_helper.to_array(value)) if isinstance(value, onnx.TensorProto) else None


def rewrite(graph: Graph, found: Found) -> None:
    """The initializer takes the node's name for the tensor."""
    name = found.node.outputs[0]
    graph.remove(found.node)
    graph.name_constant(name, found.values)


RULE = Rule("constant", ("Constant",), match, rewrite)

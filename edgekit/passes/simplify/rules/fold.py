"""A node of constants is worked out beforehand, by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.graph.run import run_nodes

ELEMENTWISE = ("Abs", "Add", "And", "Cast", "Div", "Equal", "Exp", "Greater", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or")
ROUNDED = ("Ceil", "Floor", "Pow", "Reciprocal", "Round", "Sqrt", "Sub", "Where")
MOVED = ("Concat", "Gather", "Identity", "Pad", "Reshape", "Flatten", "Slice", "Squeeze", "Transpose", "Unsqueeze")
GROWN = ("ConstantOfShape", "Expand", "Range", "Tile")
REDUCED = ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum")
_MOST_GROWN_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A node that can be worked out."""

    node: Node


def match(graph: Graph, node: Node) -> Found | None:
    """All inputs constant, one output that nobody outside sees; DequantizeLinear of weights is no such node.

    What only repeats values is folded up to a million elements, so that the file does not swell.
    """
    if len(node.outputs) != 1 or node.outputs[0] in graph.outputs or not any(node.inputs):
        return None
    if not all(graph.is_constant(name) for name in node.inputs if name):
        return None
    if node.op in GROWN:
        shape = graph.static_shape(node.outputs[0])
        elements = 1
        for size in shape or (_MOST_GROWN_ELEMENTS + 1,):
            elements *= size
        if elements > _MOST_GROWN_ELEMENTS:
            return None
    return Found(node)


def rewrite(graph: Graph, found: Found) -> None:
    """The result takes the name of the node's output."""
    node = found.node
    arrays = {name: array for name in node.inputs if name and (array := graph.constant(name)) is not None}
    values = run_nodes([node.proto()], arrays, node.outputs)
    graph.remove(node)
    graph.name_constant(node.outputs[0], values[node.outputs[0]])


RULE = Rule("fold", (*ELEMENTWISE, *ROUNDED, *MOVED, *GROWN, *REDUCED), match, rewrite)

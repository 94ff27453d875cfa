"""A row of pictures of height 1 stays pictures until something wants a sequence.

tf2onnx puts every one-dimensional convolution between Unsqueeze and Squeeze; what stands between that Squeeze and the next
Unsqueeze is done on pictures as well, the two cancel, and normalization finds its convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.rules.reshapes import PLAIN

_HEIGHT = 2
_UNARY = frozenset(
    {"Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh"}
)
_PAIRS = frozenset({"Add", "Div", "Mul", "Sub"})


@dataclass(frozen=True, slots=True)
class Found:
    """What takes the height away, and the node behind it."""

    squeeze: Node
    node: Node


def match(graph: Graph, squeeze: Node) -> Found | None:
    """[n, c, 1, w] becomes [n, c, w], and its only reader works on single elements, or by channel."""
    before, after = graph.static_shape(squeeze.inputs[0]), graph.static_shape(squeeze.outputs[0])
    if before is None or len(before) != 4 or before[_HEIGHT] != 1 or after != (*before[:_HEIGHT], before[-1]):
        return None
    node = graph.next(squeeze, *_UNARY, *_PAIRS, "BatchNormalization")
    if node is None or len(node.outputs) != 1 or graph.static_shape(node.outputs[0]) != after:
        return None
    others = [name for name in node.inputs if name and name != squeeze.outputs[0]]
    return Found(squeeze, node) if all(graph.is_constant(name) for name in others) and node.inputs.count(squeeze.outputs[0]) == 1 else None


def rewrite(graph: Graph, found: Found) -> None:
    """The node first, then what takes the height away."""
    squeeze, node = found.squeeze, found.node
    picture, sequence, output = squeeze.inputs[0], squeeze.outputs[0], node.outputs[0]
    for index, name in enumerate(node.inputs):
        constant = graph.constant(name) if node.op in _PAIRS and name != sequence else None
        if constant is not None and constant.ndim > 1:
            graph.set_constant_input(node, index, np.expand_dims(constant, -2))
    graph.set_input(node, node.inputs.index(sequence), picture)
    made = graph.unused_name(f"{output}_picture")
    graph.set_type(made, graph.elem_type(picture), graph.shape(picture))
    graph.rename_output(node, output, made)
    graph.set_input(squeeze, 0, made)
    graph.rename_output(squeeze, sequence, output)


RULE = Rule("squeezes", PLAIN, match, rewrite)

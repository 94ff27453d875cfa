"""What is left of BatchNormalization becomes a 1x1 depthwise Conv: one integer kernel with a scale a channel, in every engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.linear import Affine, arithmetic, batchnorm


@dataclass(frozen=True, slots=True)
class Found:
    """One BatchNormalization, or a Mul and the Add after it; what they read and do."""

    nodes: tuple[Node, ...]
    source: str
    affine: Affine
    channels: int


def match(graph: Graph, node: Node) -> Found | None:
    """At least one spatial axis; of Mul and Add, constants that differ by channel."""
    if node.op == "BatchNormalization":
        affine = batchnorm(graph, node)
        return _found(graph, (node,), node.inputs[0], affine) if affine else None
    add = graph.next(node, "Add", "Sub")
    sources = [name for name in node.inputs if not graph.is_constant(name)]
    if add is None or len(sources) != 1:
        return None
    scale, shift = arithmetic(graph, node, sources[0], 1), arithmetic(graph, add, node.outputs[0], 1)
    if scale is None or shift is None or max(scale.scale.size, shift.shift.size) == 1:
        return None
    return _found(graph, (node, add), sources[0], Affine(scale.scale * shift.scale, shift.shift))


def _found(graph: Graph, nodes: tuple[Node, ...], source: str, affine: Affine) -> Found | None:
    shape = graph.shape(source)
    if shape is None or len(shape) < 3 or not isinstance(shape[1], int):
        return None
    return Found(nodes, source, affine, shape[1])


def rewrite(graph: Graph, found: Found) -> None:
    """One Conv in the place of them."""
    last = found.nodes[-1]
    rank = graph.rank(found.source) or 0
    output = last.outputs[0]
    dtype = np.float16 if graph.elem_type(found.source) == 10 else np.float32
    scale = np.broadcast_to(found.affine.scale, found.channels).astype(dtype).reshape(-1, *[1] * (rank - 1))
    weight = graph.add_constant(scale, f"{output}_scale")
    bias = graph.add_constant(np.broadcast_to(found.affine.shift, found.channels).astype(dtype), f"{output}_shift")
    graph.replace(found.nodes, "Conv", [found.source, weight, bias], output, group=found.channels, kernel_shape=[1] * (rank - 2))


RULE = Rule("batchnorm-alone", ("BatchNormalization", "Mul"), match, rewrite)

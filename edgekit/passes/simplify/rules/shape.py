"""Shape and Size of a tensor whose sizes are known become constants."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Array, Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """A Shape or Size and what it gives."""

    node: Node
    values: Array


def match(graph: Graph, node: Node) -> Found | None:
    """The part of the shape that is asked for must be known; for Size all of it."""
    shape = graph.shape(node.inputs[0])
    if shape is None or node.outputs[0] in graph.outputs:
        return None
    if node.op == "Shape":
        shape = shape[node.get("start", 0) : node.get("end")]
    sizes = [size for size in shape if isinstance(size, int)]
    if len(sizes) < len(shape):
        return None
    return Found(node, np.array(sizes if node.op == "Shape" else math.prod(sizes), np.int64))


def rewrite(graph: Graph, found: Found) -> None:
    """An initializer under the same name."""
    name = found.node.outputs[0]
    graph.remove(found.node)
    graph.name_constant(name, found.values)


RULE = Rule("shape", ("Shape", "Size"), match, rewrite)

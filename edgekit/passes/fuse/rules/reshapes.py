"""Consecutive Reshape, Flatten, Squeeze and Unsqueeze, and Transposes that move axes of size 1 only, become one Reshape, or none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph, Shape
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.rules.transposes import perm_of

PLAIN = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class Found:
    """Two of them, what the first reads, and the shape that they end in."""

    first: Node
    second: Node
    shape: Shape


def reshapes(graph: Graph, node: Node) -> bool:
    """Whether a node changes the shape and leaves the numbers in their order."""
    if node.op in PLAIN:
        return True
    shape, perm = graph.static_shape(node.inputs[0]), perm_of(graph, node)
    if shape is None or perm is None:
        return False
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def match(graph: Graph, node: Node) -> Found | None:
    """At least one of them is no Transpose; of the final shape at most one size is open. The first may have other users."""
    first = graph.maker(node.inputs[0], *PLAIN, "Transpose")
    shape = graph.shape(node.outputs[0])
    if first is None or shape is None or {first.op, node.op} == {"Transpose"}:
        return None
    if sum(isinstance(size, str) for size in shape) > 1 or 0 in shape or not (reshapes(graph, first) and reshapes(graph, node)):
        return None
    return Found(first, node, shape)


def rewrite(graph: Graph, found: Found) -> None:
    """One Reshape of what the first read, or nothing if that has the shape already."""
    source, output = found.first.inputs[0], found.second.outputs[0]
    sizes = [-1 if isinstance(size, str) else size for size in found.shape]
    graph.set_input(found.second, 0, source)
    if graph.static_shape(source) == found.shape and graph.can_bypass(found.second, source):
        graph.bypass(found.second, source)
    else:
        target = graph.add_constant(np.array(sizes, np.int64), f"{output}_shape")
        graph.replace([found.second], "Reshape", [source, target], output)
    graph.sweep(found.first)


RULE = Rule("reshapes", (*PLAIN, "Transpose"), match, rewrite)

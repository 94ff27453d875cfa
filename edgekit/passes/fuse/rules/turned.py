"""A Reshape between [n, c, 1, 1] and [n, 1, 1, c] is a Transpose, as tf2onnx's own rules no longer say.

Written so, it moves and cancels with the Transposes around it; left alone it costs nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule

_LAST, _FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


@dataclass(frozen=True, slots=True)
class Found:
    """The Reshape, and the order of axes that it comes to."""

    node: Node
    perm: list[int]


def match(graph: Graph, node: Node) -> Found | None:
    """More than one channel, before and after."""
    before, after = graph.static_shape(node.inputs[0]), graph.static_shape(node.outputs[0])
    if before is None or after is None or len(before) != 4 or len(after) != 4:
        return None
    for perm, channels in ((_LAST, before[1]), (_FIRST, before[3])):
        if channels > 1 and sorted(before[1:]) == [1, 1, channels] and after == tuple(before[axis] for axis in perm):
            return Found(node, perm)
    return None


def rewrite(graph: Graph, found: Found) -> None:
    """A Transpose in its place."""
    graph.replace([found.node], "Transpose", found.node.inputs[:1], found.node.outputs[0], perm=found.perm)


RULE = Rule("turned", ("Reshape",), match, rewrite)

"""A Reshape that only moves the one channel of a picture is a Transpose, and is written so: layouts are read off Transposes."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class Found:
    """The Reshape, and the order that it makes."""

    node: Node
    perm: tuple[int, ...]


def match(graph: Graph, node: Node) -> Found | None:
    """[n, h, w, 1] to [n, 1, h, w] or back, h and w larger than 1."""
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    if before is None or after is None or len(before) != 4 or len(after) != 4:
        return None
    for perm, channel in ((TO_NCHW, 3), (TO_NHWC, 1)):
        large = 1 not in before[1:channel] + before[channel + 1 :]
        if before[channel] == 1 and large and tuple(before[axis] for axis in perm) == after:
            return Found(node, perm)
    return None


def rewrite(graph: Graph, found: Found) -> None:
    """One Transpose."""
    graph.replace([found.node], "Transpose", found.node.inputs[:1], found.node.outputs[0], perm=list(found.perm))


RULE = Rule("reshape-transpose", ("Reshape",), match, rewrite)

"""A Transpose before a reduction that drops its axes is not needed if the axes that stay keep their order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.rules.transposes import perm_of

REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd")


@dataclass(frozen=True, slots=True)
class Found:
    """The Transpose, the reduction, and what axes those are before the Transpose."""

    transpose: Node
    reduction: Node
    axes: list[int]


def match(graph: Graph, node: Node) -> Found | None:
    """Constant axes; the Transpose may have other users, for whom it stays."""
    transpose = graph.maker(node.inputs[0], "Transpose")
    axes = graph.constant(node.input(1)) if node.input(1) else None
    perm = perm_of(graph, transpose) if transpose else None
    if transpose is None or perm is None or axes is None or node.get("keepdims", 1):
        return None
    reduced = [perm[int(axis)] for axis in axes]
    stay = [axis for axis in perm if axis not in reduced]
    return Found(transpose, node, sorted(reduced)) if stay == sorted(stay) else None


def rewrite(graph: Graph, found: Found) -> None:
    """The reduction reads what the Transpose read."""
    graph.set_input(found.reduction, 0, found.transpose.inputs[0])
    graph.set_constant_input(found.reduction, 1, np.array(found.axes, np.int64))
    graph.sweep(found.transpose)


RULE = Rule("transpose-reduce", REDUCTIONS, match, rewrite)

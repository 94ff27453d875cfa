"""ReduceMean over all spatial axes of a picture is GlobalAveragePool, with a Flatten if the axes are not kept."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """The node, and whether it keeps the axes it averages."""

    node: Node
    keeps_axes: bool


def match(graph: Graph, node: Node) -> Found | None:
    """Rank 4 or 5, constant axes: exactly those from the third on."""
    rank = graph.rank(node.inputs[0])
    axes = graph.constant(node.input(1)) if node.input(1) else None
    if rank not in (4, 5) or axes is None or sorted(int(axis) % rank for axis in axes) != list(range(2, rank)):
        return None
    return Found(node, bool(node.get("keepdims", 1)))


def rewrite(graph: Graph, found: Found) -> None:
    """GlobalAveragePool, and Flatten where the axes go."""
    source, output = found.node.inputs[0], found.node.outputs[0]
    if found.keeps_axes:
        graph.replace([found.node], "GlobalAveragePool", [source], output)
        return
    pooled = graph.unused_name(f"{output}_pooled")
    shape = graph.shape(source) or ()
    graph.add("GlobalAveragePool", [source], pooled, before=found.node)
    graph.set_type(pooled, graph.elem_type(source), (*shape[:2], *[1] * (len(shape) - 2)))
    graph.replace([found.node], "Flatten", [pooled], output, axis=1)


RULE = Rule("reduce-mean", ("ReduceMean",), match, rewrite)

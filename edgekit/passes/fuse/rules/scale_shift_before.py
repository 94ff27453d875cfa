"""Mul, Div, Add or Sub by constants before Conv, ConvTranspose, Gemm or MatMul goes into their weights."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.linear import WEIGHTED, Affine, arithmetic, fold_before, is_foldable, takes_shift


@dataclass(frozen=True, slots=True)
class Found:
    """The arithmetic, its input that is no constant, what it does, and the weighted node after it."""

    arithmetic: Node
    source: str
    affine: Affine
    weighted: Node


def match(graph: Graph, node: Node) -> Found | None:
    """A shift needs a Conv that does not pad, or a Gemm; a scale alone goes into any of them."""
    weighted = graph.next(node, *WEIGHTED)
    if weighted is None or weighted.inputs[0] != node.outputs[0] or not is_foldable(graph, weighted):
        return None
    sources = [name for name in node.inputs if not graph.is_constant(name)]
    if len(sources) != 1 or graph.shape(sources[0]) != graph.shape(node.outputs[0]):
        return None
    rank = graph.rank(sources[0])
    axis = (rank or 0) - 1 if weighted.op == "MatMul" else 1
    affine = arithmetic(graph, node, sources[0], axis) if rank is not None and rank > axis >= 0 else None
    if affine is None or (affine.shift.any() and not takes_shift(weighted)):
        return None
    return Found(node, sources[0], affine, weighted)


def rewrite(graph: Graph, found: Found) -> None:
    """The weighted node reads what the arithmetic read."""
    fold_before(graph, found.weighted, found.affine)
    graph.bypass(found.arithmetic, found.source)


RULE = Rule("scale-shift-before", ("Mul", "Div", "Add", "Sub"), match, rewrite)

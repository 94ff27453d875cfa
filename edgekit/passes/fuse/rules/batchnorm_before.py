"""BatchNormalization before a Conv that does not pad, or before Gemm, goes into their weights."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.linear import Affine, batchnorm, fold_before, is_foldable, takes_shift


@dataclass(frozen=True, slots=True)
class Found:
    """The normalization, what it does, and the weighted node after it."""

    norm: Node
    affine: Affine
    weighted: Node


def match(graph: Graph, node: Node) -> Found | None:
    """A Conv that pads would pad with zeros where the normalization makes something else of zero."""
    weighted = graph.next(node, "Conv", "Gemm")
    if weighted is None or weighted.inputs[0] != node.outputs[0]:
        return None
    if not is_foldable(graph, weighted) or not takes_shift(weighted):
        return None
    affine = batchnorm(graph, node)
    return Found(node, affine, weighted) if affine else None


def rewrite(graph: Graph, found: Found) -> None:
    """The weighted node reads what the normalization read."""
    fold_before(graph, found.weighted, found.affine)
    graph.bypass(found.norm, found.norm.inputs[0])


RULE = Rule("batchnorm-before", ("BatchNormalization",), match, rewrite)

"""BatchNormalization after Conv, ConvTranspose or Gemm goes into their weights."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.linear import BIASED, Affine, batchnorm, fold_after, is_foldable


@dataclass(frozen=True, slots=True)
class Found:
    """The weighted node, the normalization after it, and what that does."""

    weighted: Node
    norm: Node
    affine: Affine


def match(graph: Graph, node: Node) -> Found | None:
    """Nobody else may see what the weighted node makes."""
    weighted = graph.maker(node.inputs[0], *BIASED)
    if weighted is None or not graph.alone(node.inputs[0]) or not is_foldable(graph, weighted):
        return None
    affine = batchnorm(graph, node)
    return Found(weighted, node, affine) if affine else None


def rewrite(graph: Graph, found: Found) -> None:
    """The weighted node makes what the normalization made."""
    fold_after(graph, found.weighted, found.affine)
    graph.take_output(found.weighted, found.norm)


RULE = Rule("batchnorm-after", ("BatchNormalization",), match, rewrite)

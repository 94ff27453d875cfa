"""Mul, Div, Add or Sub by constants after Conv, ConvTranspose, Gemm or MatMul goes into their weights or bias.

tf2onnx leaves the BatchNormalization of every depthwise convolution as one Mul and one Add.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.linear import WEIGHTED, Affine, arithmetic, channel_axis, fold_after, is_foldable


@dataclass(frozen=True, slots=True)
class Found:
    """The weighted node, the arithmetic after it, and what that does."""

    weighted: Node
    arithmetic: Node
    affine: Affine


def match(graph: Graph, node: Node) -> Found | None:
    """The constant may differ by channel only, and nobody else may see what the weighted node makes. MatMul has no bias."""
    for source in node.inputs:
        weighted = graph.maker(source, *WEIGHTED)
        rank = graph.rank(source)
        if weighted is None or rank is None or not graph.alone(source) or not is_foldable(graph, weighted):
            continue
        affine = arithmetic(graph, node, source, channel_axis(weighted, rank))
        if affine is not None and not (weighted.op == "MatMul" and affine.shift.any()):
            return Found(weighted, node, affine)
    return None


def rewrite(graph: Graph, found: Found) -> None:
    """The weighted node makes what the arithmetic made."""
    fold_after(graph, found.weighted, found.affine)
    graph.take_output(found.weighted, found.arithmetic)


RULE = Rule("scale-shift-after", ("Mul", "Div", "Add", "Sub"), match, rewrite)

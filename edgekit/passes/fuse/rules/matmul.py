"""MatMul of a matrix and constant weights becomes Gemm, which has a place for the bias."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """The node."""

    node: Node


def match(graph: Graph, node: Node) -> Found | None:
    """Both of rank 2, the second constant."""
    fits = graph.is_constant(node.inputs[1]) and not graph.is_constant(node.inputs[0])
    return Found(node) if fits and graph.rank(node.inputs[0]) == 2 == graph.rank(node.inputs[1]) else None


def rewrite(graph: Graph, found: Found) -> None:
    """A Gemm without bias; the Add after it is taken in by the rule scale-shift-after."""
    graph.replace([found.node], "Gemm", found.node.inputs, found.node.outputs[0])


RULE = Rule("matmul", ("MatMul",), match, rewrite)

"""CastLike becomes Cast: the type it looks up is known."""

from __future__ import annotations

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


def match(graph: Graph, node: Node) -> Node | None:
    """A CastLike whose second input has a known type."""
    return node if graph.elem_type(node.inputs[1]) else None


def rewrite(graph: Graph, node: Node) -> None:
    """The same output from a Cast."""
    graph.replace([node], "Cast", node.inputs[:1], node.outputs[0], to=graph.elem_type(node.inputs[1]))


RULE = Rule("cast-like", ("CastLike",), match, rewrite)

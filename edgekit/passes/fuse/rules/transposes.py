"""Consecutive Transposes become one, or none where they cancel."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.moving import Perm, composed


@dataclass(frozen=True, slots=True)
class Found:
    """Two Transposes, and the order that they make together."""

    first: Node
    second: Node
    perm: Perm


def perm_of(graph: Graph, node: Node) -> Perm | None:
    """The order of a Transpose; without an attribute all axes are turned round."""
    rank = graph.rank(node.inputs[0])
    given = node.get("perm")
    if given is not None:
        return tuple(given)
    return None if rank is None else tuple(range(rank))[::-1]


def match(graph: Graph, node: Node) -> Found | None:
    """The first may have other users; it stays for them."""
    first = graph.maker(node.inputs[0], "Transpose")
    if first is None:
        return None
    one, other = perm_of(graph, first), perm_of(graph, node)
    return Found(first, node, composed(one, other)) if one and other else None


def rewrite(graph: Graph, found: Found) -> None:
    """The second reads what the first read; if nothing changes, its users do."""
    source = found.first.inputs[0]
    graph.set_input(found.second, 0, source)
    if found.perm == tuple(range(len(found.perm))) and graph.can_bypass(found.second, source):
        graph.bypass(found.second, source)
    else:
        graph.set_attributes(found.second, perm=list(found.perm))
    graph.sweep(found.first)


RULE = Rule("transposes", ("Transpose",), match, rewrite)

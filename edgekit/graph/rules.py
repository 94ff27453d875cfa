"""Rewriting by rules: a rule looks at one node, says what it found or nothing, and rewrites what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

Match = TypeVar("Match")


@dataclass(frozen=True, slots=True)
class Rule(Generic[Match]):
    """One rewrite.

    Attributes:
        name: as options and reports call it.
        ops: operators of the nodes it looks at.
        match: what is to be rewritten around a node; None if the pattern is not there or must not be touched.
        rewrite: does it. Every rewrite leaves the graph with less to match, so that rules come to an end.
    """

    name: str
    ops: tuple[str, ...]
    match: Callable[[Graph, Node], Match | None]
    rewrite: Callable[[Graph, Match], None]


def apply_rules(graph: Graph, rules: Sequence[Rule[Any]]) -> dict[str, int]:
    """Apply rules in order, again and again until none of them matches.

    Returns:
        How often each rule rewrote something, those left out that never did.
    """
    fired: dict[str, int] = {}
    again = True
    while again:
        again = False
        for rule in rules:
            for node in graph.walk(*rule.ops):
                found = rule.match(graph, node)
                if found is not None:
                    rule.rewrite(graph, found)
                    fired[rule.name] = fired.get(rule.name, 0) + 1
                    again = True
    return fired

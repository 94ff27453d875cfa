"""The formulas of GELU, exact and with tanh, become Gelu.

Source:
    Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.polynomial import Formula, Terms, find_formula, scaled

HALF: Terms = {(1, 0): 0.5, (1, 1): 0.5}
HALF_NEGATIVE: Terms = {(1, 0): 0.5, (1, 1): -0.5}
ERF_OF: Terms = {(1,): math.sqrt(0.5)}
TANH_OF: Terms = {(1,): math.sqrt(2 / math.pi), (3,): 0.044715 * math.sqrt(2 / math.pi)}


@dataclass(frozen=True, slots=True)
class Found:
    """The formula and which of the two it is."""

    formula: Formula
    approximate: str


def match(graph: Graph, node: Node) -> Found | None:
    """``x (1 + f(g(x))) / 2``, or with both signs turned, since erf and tanh are odd."""
    argument, approximate = (ERF_OF, "none") if node.op == "Erf" else (TANH_OF, "tanh")
    formula = find_formula(graph, node, argument, HALF) or find_formula(graph, node, scaled(argument, -1.0), HALF_NEGATIVE)
    return Found(formula, approximate) if formula else None


def rewrite(graph: Graph, found: Found) -> None:
    """One Gelu."""
    graph.replace(found.formula.nodes, "Gelu", [found.formula.source], found.formula.output, approximate=found.approximate)


RULE = Rule("gelu", ("Erf", "Tanh"), match, rewrite)

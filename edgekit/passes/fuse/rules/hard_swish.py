"""``x clip(x + 3, 0, 6) / 6`` becomes HardSwish, also where HardSigmoid is in it already."""

from __future__ import annotations

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.polynomial import Formula, find_formula
from edgekit.passes.fuse.rules.clamp import interval


def match(graph: Graph, node: Node) -> Formula | None:
    """The formula in any order of its factors."""
    if node.op == "HardSigmoid":
        sixth = abs(node.get("alpha", 0.2) - 1 / 6) < 1e-6 and abs(node.get("beta", 0.5) - 0.5) < 1e-6
        return find_formula(graph, node, {(1,): 1.0}, {(1, 1): 1.0}) if sixth else None
    bounds = interval(graph, node)
    if bounds is None or bounds[1:] != (0.0, 6.0):
        return None
    return find_formula(graph, node, {(1,): 1.0, (0,): 3.0}, {(1, 1): 1 / 6})


def rewrite(graph: Graph, found: Formula) -> None:
    """One HardSwish."""
    graph.replace(found.nodes, "HardSwish", [found.source], found.output)


RULE = Rule("hard-swish", ("Clip", "HardSigmoid"), match, rewrite)

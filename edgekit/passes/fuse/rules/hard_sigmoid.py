"""``clip(a x + b, 0, 1)``, and the same scaled such as ``clip(x + 3, 0, 6) / 6``, becomes HardSigmoid."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.polynomial import expand, tensors_below
from edgekit.passes.fuse.rules.clamp import interval


@dataclass(frozen=True, slots=True)
class Found:
    """What it reads and makes, and its slope and offset."""

    source: str
    output: str
    alpha: float
    beta: float
    nodes: list[Node]


def match(graph: Graph, node: Node) -> Found | None:
    """There must be an offset, and the scaled bounds must be 0 and 1."""
    bounds = interval(graph, node)
    if bounds is None or bounds[1] != 0.0:
        return None
    made = node.outputs[0]
    after = graph.next(node, "Mul", "Div")
    above = expand(graph, after.outputs[0], [made]) if after else None
    if after is not None and above is not None and above.terms.keys() == {(1,)}:
        output, factor, nodes = after.outputs[0], above.terms[(1,)], above.nodes | {node}
    else:
        output, factor, nodes = made, 1.0, {node}
    if abs(factor * bounds[2] - 1.0) > 1e-6:
        return None
    return _with_argument(graph, node, output, factor, nodes)


def _with_argument(graph: Graph, node: Node, output: str, factor: float, nodes: set[Node]) -> Found | None:
    for source in list(tensors_below(graph, node.inputs[0], depth=3))[::-1]:
        below = expand(graph, node.inputs[0], [source])
        if below is not None and below.terms.keys() == {(0,), (1,)} and graph.is_closed(nodes | below.nodes, output):
            alpha, beta = factor * below.terms[(1,)], factor * below.terms[(0,)]
            return Found(source, output, alpha, beta, graph.in_order(nodes | below.nodes))
    return None


def rewrite(graph: Graph, found: Found) -> None:
    """One HardSigmoid."""
    graph.replace(found.nodes, "HardSigmoid", [found.source], found.output, alpha=found.alpha, beta=found.beta)


RULE = Rule("hard-sigmoid", ("Clip",), match, rewrite)

"""``relu(x) - a relu(-x)``, as TensorFlow writes it, becomes PRelu."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """The formula's nodes, what it reads, the constant, and whether the slope is minus that."""

    nodes: list[Node]
    source: str
    slope: str
    negated: bool


def match(graph: Graph, node: Node) -> Found | None:
    """Of the sum, one side is Relu of x, the other a constant times Relu of -x."""
    for place in (0, 1):
        positive, product = graph.maker(node.inputs[place], "Relu"), graph.maker(node.inputs[1 - place], "Mul")
        if positive is None or product is None or (node.op == "Sub" and place == 1):
            continue
        found = _negative_side(graph, positive.inputs[0], product)
        if found is None:
            continue
        slope, negative, minus = found
        nodes = {node, positive, product, negative, minus}
        if graph.is_closed(nodes, node.outputs[0]):
            return Found(graph.in_order(nodes), positive.inputs[0], slope, negated=node.op == "Add")
    return None


def _negative_side(graph: Graph, source: str, product: Node) -> tuple[str, Node, Node] | None:
    for place in (0, 1):
        slope, negative = product.inputs[place], graph.maker(product.inputs[1 - place], "Relu")
        minus = graph.maker(negative.inputs[0], "Neg") if negative else None
        if negative and minus and minus.inputs[0] == source and _spreads(graph, slope, source):
            return slope, negative, minus
    return None


def _spreads(graph: Graph, slope: str, source: str) -> bool:
    """Whether the product has the shape of the source: PRelu spreads its slope, never what it reads."""
    shape, own = graph.shape(source), graph.static_shape(slope)
    if not graph.is_constant(slope) or shape is None or own is None or len(own) > len(shape):
        return False
    return all(size in (1, other) for size, other in zip(reversed(own), reversed(shape), strict=False))


def rewrite(graph: Graph, found: Found) -> None:
    """One PRelu, its slope of the shape that the constant had."""
    values = graph.constant(found.slope)
    assert values is not None, "matched as a constant"
    output = found.nodes[-1].outputs[0]
    slope = graph.add_constant(-values if found.negated else values, f"{output}_slope")
    graph.replace(found.nodes, "PRelu", [found.source, slope], output)


RULE = Rule("prelu", ("Add", "Sub"), match, rewrite)

"""Relu, Clip, Max and Min by constants are all clamps: one after another become one, Relu or Clip with constant bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule

CLAMPS = ("Relu", "Clip", "Max", "Min")
FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}


@dataclass(frozen=True, slots=True)
class Found:
    """Clamps, and the one they are."""

    nodes: tuple[Node, ...]
    source: str
    low: float
    high: float


def interval(graph: Graph, node: Node) -> tuple[str, float, float] | None:
    """What a clamp reads, and its bounds; None if they are not constant scalars of a float type."""
    if node.op in ("Max", "Min"):
        sources = [name for name in node.inputs if not graph.is_constant(name)]
        bounds = [graph.scalar(name) for name in node.inputs if graph.is_constant(name)]
        if len(sources) != 1 or len(bounds) != 1 or bounds[0] is None or graph.shape(sources[0]) != graph.shape(node.outputs[0]):
            return None
        low, high = (bounds[0], math.inf) if node.op == "Max" else (-math.inf, bounds[0])
        found = sources[0], low, high
    elif node.op == "Relu":
        found = node.inputs[0], 0.0, math.inf
    else:
        given = [graph.scalar(name) if name else far for name, far in ((node.input(1), -math.inf), (node.input(2), math.inf))]
        if given[0] is None or given[1] is None or given[0] > given[1]:
            return None
        found = node.inputs[0], given[0], given[1]
    return found if graph.elem_type(found[0]) in FLOATS else None


def match(graph: Graph, node: Node) -> Found | None:
    """A clamp on another that nobody else sees, or one that is not written as Relu or Clip would be."""
    outer = interval(graph, node)
    if outer is None:
        return None
    source, low, high = outer
    inner_node = graph.maker(source, *CLAMPS)
    inner = interval(graph, inner_node) if inner_node and graph.alone(source) else None
    if inner is not None and inner_node is not None:
        first, inner_low, inner_high = inner
        return Found((inner_node, node), first, min(max(inner_low, low), high), min(max(inner_high, low), high))
    plain = "Relu" if (low, high) == (0.0, math.inf) else "Clip"
    return None if node.op == plain else Found((node,), source, low, high)


def rewrite(graph: Graph, found: Found) -> None:
    """One Relu or Clip."""
    output = found.nodes[-1].outputs[0]
    if (found.low, found.high) == (0.0, math.inf):
        graph.replace(found.nodes, "Relu", [found.source], output)
        return
    dtype = FLOATS[graph.elem_type(found.source)]
    bounds = [
        graph.add_constant(np.array(bound, dtype), f"{output}_{word}") if math.isfinite(bound) else ""
        for word, bound in (("min", found.low), ("max", found.high))
    ]
    graph.replace(found.nodes, "Clip", [found.source, *(bounds if bounds[1] else bounds[:1])], output)


RULE = Rule("clamp", CLAMPS, match, rewrite)

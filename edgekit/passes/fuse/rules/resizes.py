"""Two Resizes that repeat pixels become one: first the rows, then the columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Array, Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """The two, and what they multiply each axis by."""

    first: Node
    second: Node
    scales: Array


def match(graph: Graph, node: Node) -> Found | None:
    """Both repeat each pixel a whole number of times, and nobody else sees what is between."""
    first = graph.maker(node.inputs[0], "Resize")
    if first is None or not graph.alone(node.inputs[0]):
        return None
    one, other = _repeats(graph, first), _repeats(graph, node)
    return Found(first, node, one * other) if one is not None and other is not None else None


def _repeats(graph: Graph, node: Node) -> Array | None:
    plain = node.get("mode", "nearest") == "nearest" and node.get("coordinate_transformation_mode") == "asymmetric"
    scales = graph.constant(node.input(2)) if node.input(2) and not node.input(3) else None
    if not plain or node.get("nearest_mode") != "floor" or node.get("axes") is not None or scales is None:
        return None
    return scales if bool((scales == np.round(scales)).all() and (scales >= 1).all()) else None


def rewrite(graph: Graph, found: Found) -> None:
    """The second reads what the first read."""
    graph.set_input(found.second, 0, found.first.inputs[0])
    graph.set_constant_input(found.second, 2, found.scales)
    graph.sweep(found.first)


RULE = Rule("resizes", ("Resize",), match, rewrite)

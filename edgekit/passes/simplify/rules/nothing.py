"""Nodes whose output equals their input are taken out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule


@dataclass(frozen=True, slots=True)
class Found:
    """A node, and the input that its output equals."""

    node: Node
    source: str


def match(graph: Graph, node: Node) -> Found | None:
    """A node that does nothing; one that connects an input of the graph with an output has to stay."""
    index = DOES_NOTHING[node.op](graph, node)
    if index is None:
        return None
    found = Found(node, node.inputs[index])
    return found if graph.can_bypass(node, found.source) else None


def rewrite(graph: Graph, found: Found) -> None:
    """Whoever used the output uses the input."""
    graph.bypass(found.node, found.source)


def _always(graph: Graph, node: Node) -> int | None:
    return 0


def _dropout(graph: Graph, node: Node) -> int | None:
    mask_used = len(node.outputs) > 1 and (node.outputs[1] in graph.pinned or graph.users(node.outputs[1]))
    training = graph.constant(node.input(2)) if node.input(2) else None
    off = not node.input(2) or (training is not None and not training.any())
    return 0 if off and not mask_used else None


def _cast(graph: Graph, node: Node) -> int | None:
    return 0 if node.get("to") == graph.elem_type(node.inputs[0]) else None


def _same_shape(graph: Graph, node: Node) -> int | None:
    before, after = graph.static_shape(node.inputs[0]), graph.static_shape(node.outputs[0])
    return 0 if before is not None and before == after else None


def _transpose(graph: Graph, node: Node) -> int | None:
    order = node.get("perm")
    return 0 if order is not None and order == list(range(len(order))) else None


def _pad(graph: Graph, node: Node) -> int | None:
    pads = graph.constant(node.inputs[1])
    return 0 if pads is not None and not pads.any() else None


def _slice(graph: Graph, node: Node) -> int | None:
    steps = graph.constant(node.input(4)) if node.input(4) else None
    forward = not node.input(4) or (steps is not None and bool((steps > 0).all()))
    return _same_shape(graph, node) if forward else None


def _one_input(graph: Graph, node: Node) -> int | None:
    return 0 if len(node.inputs) == 1 else None


def _neutral(*places: int, value: float) -> Callable[[Graph, Node], int | None]:
    def check(graph: Graph, node: Node) -> int | None:
        for place in places:
            constant, other = graph.constant(node.inputs[place]), node.inputs[1 - place]
            shape = graph.static_shape(other)
            if constant is not None and bool((constant == value).all()) and shape is not None and shape == graph.static_shape(node.outputs[0]):
                return 1 - place
        return None

    return check


def _reduce(graph: Graph, node: Node) -> int | None:
    shape = graph.static_shape(node.inputs[0])
    axes = graph.constant(node.input(1)) if node.input(1) else None
    names_none = not node.input(1) or (axes is not None and axes.size == 0)
    if shape is None or not node.get("keepdims", 1) or (names_none and node.get("noop_with_empty_axes", 0)):
        return None
    if names_none:
        return 0 if all(size == 1 for size in shape) else None
    return 0 if axes is not None and all(shape[int(axis)] == 1 for axis in axes) else None


DOES_NOTHING: dict[str, Callable[[Graph, Node], int | None]] = {
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "Reshape": _same_shape,
    "Flatten": _same_shape,
    "Squeeze": _same_shape,
    "Unsqueeze": _same_shape,
    "Expand": _same_shape,
    "Tile": _same_shape,
    "GlobalAveragePool": _same_shape,
    "GlobalMaxPool": _same_shape,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
    "Concat": _one_input,
    "Sum": _one_input,
    "Mean": _one_input,
    "Max": _one_input,
    "Min": _one_input,
    "Add": _neutral(0, 1, value=0.0),
    "Sub": _neutral(1, value=0.0),
    "Mul": _neutral(0, 1, value=1.0),
    "Div": _neutral(1, value=1.0),
    "Pow": _neutral(1, value=1.0),
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "ReduceMin": _reduce,
    "ReduceSum": _reduce,
    "ReduceProd": _reduce,
}

RULE = Rule("nothing", tuple(DOES_NOTHING), match, rewrite)

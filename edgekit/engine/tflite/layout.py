"""In which order each tensor of a graph is stored, decided once for the whole graph.

Tensors that an operation needs in one order, whichever (elementwise ones above all), form a group. A group takes the
order that its convolutions and poolings want, or else the one in which it comes in without being moved, unless more
numbers would then have to be moved for those who read and write it as ONNX has it. Only where two groups want different
things does a Transpose come about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

from edgekit.engine.tflite.graph import Graph, Node
from edgekit.engine.tflite.orders import Order, channels_last, plain, same_memory

Layout = Literal["elementwise", "same", "channels last", "rows", "plain", "follows"]
Through = Callable[[Node, Graph, Order], Order | None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operation's lowering asks of the order of its tensors.

    Attributes:
        layout: ``same``: all tensors of the output's rank alike, in any order of axes. ``elementwise``: so too, and
            flattened pictures may be stored in any order. ``channels last``: first input and
            outputs so. ``rows``: as ONNX has it, but a flattened picture may be stored channels last. ``plain``: as
            ONNX has it. ``follows``: the output's order comes out of the input's.
        through: for ``follows``: the output's order if nothing is moved; ``None`` if something has to be.
    """

    layout: Layout = "plain"
    through: Through | None = None


class _Groups:
    """Union-find over names."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def of(self, name: str) -> str:
        root = self.parent.setdefault(name, name)
        if root != name:
            root = self.parent[name] = self.of(root)
        return root

    def join(self, one: str, other: str) -> None:
        self.parent[self.of(other)] = self.of(one)


def plan(graph: Graph, wish_of: Callable[[Node], Wish], ports: Mapping[str, Order]) -> dict[str, Order]:
    """The order in which each value is stored.

    Args:
        graph: all shapes known.
        wish_of: what a node's lowering asks for.
        ports: the order that the engine's inputs and outputs shall have, by name.
    """
    groups = _Groups()
    for node in graph.nodes:
        if wish_of(node).layout in ("elementwise", "same"):
            _join(graph, node, groups)
    orders = _wanted(graph, wish_of, groups)
    for name in graph.inputs:
        orders.setdefault(groups.of(name), ports[name])
    takes_rows = _groups_of_rows(graph, wish_of, groups)
    as_onnx = _moved_unless_plain(graph, wish_of, groups)
    following = _followers(graph, wish_of, groups)
    for node in graph.nodes:
        for name in filter(None, node.outputs):
            root = groups.of(name)
            if root in orders:
                continue
            order = _following(graph, node, wish_of(node), orders.get(groups.of(node.inputs[0])), root in takes_rows)
            rank = len(graph.shape(name))
            if len(order.axes) != rank and not order.picture:
                order = plain(rank)
            if not order.is_plain and not order.picture:
                natural = {one: _following(graph, one, wish_of(one), orders.get(groups.of(one.inputs[0])), False) for one in following[root]}
                order = plain(rank) if 0 < _turned(graph, natural) <= as_onnx.get(root, 0) else order
            orders[root] = order
    return {name: orders[groups.of(name)] for name in graph.values if groups.of(name) in orders}


def _join(graph: Graph, node: Node, groups: _Groups) -> None:
    first = node.outputs[0]
    rank = len(graph.shape(first))
    for name in (*graph.computed(node), *filter(None, node.outputs)):
        if len(graph.shape(name)) == rank:
            groups.join(first, name)


def _wanted(graph: Graph, wish_of: Callable[[Node], Wish], groups: _Groups) -> dict[str, Order]:
    """Groups that hold what a convolution or the like reads or writes: channels last, unless more has to be plain."""
    votes: dict[str, dict[Order, int]] = {}
    for node in graph.nodes:
        layout = wish_of(node).layout
        if layout not in ("channels last", "plain"):
            continue
        reads = node.inputs[:1] if layout == "channels last" else graph.computed(node)
        for name in (*reads, *filter(None, node.outputs)):
            shape = graph.shape(name)
            order = channels_last(len(shape)) if layout == "channels last" else plain(len(shape))
            of_group = votes.setdefault(groups.of(name), {})
            of_group[order] = of_group.get(order, 0) + prod(shape)
    return {root: max(orders, key=lambda order: (orders[order], not order.is_plain)) for root, orders in votes.items() if _has_picture(orders)}


def _has_picture(orders: Mapping[Order, int]) -> bool:
    return any(not order.is_plain for order in orders)


def _moved_unless_plain(graph: Graph, wish_of: Callable[[Node], Wish], groups: _Groups) -> dict[str, int]:
    """How many numbers of each group are read or written as ONNX has them."""
    names: set[str] = set()
    for node in graph.nodes:
        if wish_of(node).layout in ("rows", "plain"):
            names.update(graph.computed(node)[:1] if wish_of(node).layout == "rows" else graph.computed(node), filter(None, node.outputs))
    found: dict[str, int] = {}
    for name in names:
        found[groups.of(name)] = found.get(groups.of(name), 0) + prod(graph.shape(name))
    return found


def _followers(graph: Graph, wish_of: Callable[[Node], Wish], groups: _Groups) -> dict[str, list[Node]]:
    """Nodes that write into each group in an order that comes out of what they read."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in filter(None, node.outputs):
            of_group = found.setdefault(groups.of(name), [])
            if wish_of(node).layout == "follows":
                of_group.append(node)
    return found


def _turned(graph: Graph, natural: Mapping[Node, Order]) -> int:
    """How many numbers would be moved to have outputs as ONNX has them that come in these orders by themselves."""
    shapes = {node: graph.shape(node.outputs[0]) for node in natural}
    return sum(prod(shapes[node]) for node, order in natural.items() if not same_memory(shapes[node], order, plain(len(shapes[node]))))


def _groups_of_rows(graph: Graph, wish_of: Callable[[Node], Wish], groups: _Groups) -> frozenset[str]:
    """Groups whose every reader takes a flattened picture in whatever order it is stored."""
    accepting = {"rows", "elementwise"}
    readers = {groups.of(name) for node in graph.nodes for name in graph.computed(node)[:1] if wish_of(node).layout == "rows"}
    refusing = {groups.of(name) for name in (*graph.outputs.values(), *graph.inputs)}
    for node in graph.nodes:
        computed = graph.computed(node)
        if wish_of(node).layout not in accepting or (wish_of(node).layout == "elementwise" and len(computed) > 1):
            refusing.update(groups.of(name) for name in computed)
    return frozenset(readers - refusing)


def _following(graph: Graph, node: Node, wish: Wish, order: Order | None, takes_rows: bool) -> Order:
    found = wish.through(node, graph, order) if wish.through is not None and order is not None else None
    if found is None or (found.picture and not takes_rows):
        return plain(len(graph.shape(node.outputs[0])))
    return found

"""Where axes go through a Reshape, and which of them a product takes side by side: the heads of an attention."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from edgekit.graph.edit import Graph, Shape
from edgekit.graph.node import Node

Order = tuple[frozenset[int], ...]
"""Of each axis of a tensor the axes of another that it comes from."""


def blocks(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]] | None:
    """The least parts that a Reshape moves by themselves: axes before, and those that they become; None if a size must be known for it."""
    found: list[tuple[list[int], list[int]]] = []
    one, other = 0, 0
    while one < len(before) or other < len(after):
        left, right = [one], [other]
        if one >= len(before) or other >= len(after):
            rest_left, rest_right = list(range(one, len(before))), list(range(other, len(after)))
            if any(before[axis] != 1 for axis in rest_left) or any(after[axis] != 1 for axis in rest_right) or not found:
                return None
            found[-1][0].extend(rest_left)
            found[-1][1].extend(rest_right)
            return found
        if before[one] != after[other] or (before[one] == "?" and (one, other) != (0, 0)):
            joined = _joined_block(before, after, one, other)
            if joined is None:
                return None
            left, right = joined
        found.append((left, right))
        one, other = left[-1] + 1, right[-1] + 1
    return found


def _joined_block(before: Shape, after: Shape, one: int, other: int) -> tuple[list[int], list[int]] | None:
    sides = [(before, one), (after, other)]
    taken: list[list[int]] = [[one], [other]]
    products = [before[one], after[other]]
    while products[0] != products[1]:
        if not all(isinstance(size, int) for size in products):
            return None
        low = 0 if int(products[0]) < int(products[1]) else 1
        shape, _ = sides[low]
        place = taken[low][-1] + 1
        if place >= len(shape) or not isinstance(shape[place], int):
            return None
        taken[low].append(place)
        products[low] = int(products[low]) * int(shape[place])
    return taken[0], taken[1]


_KEEPING = frozenset({"Cast", "Div", "Dropout", "Identity", "LayerNormalization", "Mul", "Neg", "Softmax"})
_FARTHEST = 10
"""Nodes between where heads are split and the product that takes them; exporters put eight there at most."""


def beside_one_another(graph: Graph, name: str) -> frozenset[int]:
    """Axes of a tensor that come to lie before the last two of a product of two computed tensors."""
    found: set[int] = set()
    waiting: list[tuple[str, Order, int]] = [(name, tuple(frozenset({axis}) for axis in range(len(graph.shape(name) or ()))), 0)]
    while waiting:
        tensor, order, depth = waiting.pop()
        if depth > _FARTHEST:
            continue
        for user in graph.users(tensor):
            if user.op == "MatMul" and not any(graph.is_constant(one) for one in user.inputs):
                found.update(*order[:-2])
            waiting += [(made, after, depth + 1) for made, after in _carried(graph, user, tensor, order)]
    return frozenset(found)


def _carried(graph: Graph, node: Node, tensor: str, order: Order) -> Iterator[tuple[str, Order]]:
    """What a node makes of a tensor whose axes come from ``order``, and where they are then; nothing if they are lost."""
    if tensor != node.inputs[0] and node.op not in ("Mul", "Div"):
        return
    result = node.outputs[0]
    if node.op in _KEEPING and graph.rank(result) == len(order):
        yield result, order
    elif node.op == "Transpose":
        yield result, tuple(order[axis] for axis in node.get("perm", range(len(order))[::-1]))
    elif node.op == "Reshape":
        parts = blocks(graph.shape(tensor) or (), graph.shape(result) or ())
        if parts is not None:
            sources = {axis: frozenset().union(*(order[one] for one in before)) for before, after in parts for axis in after}
            yield result, tuple(sources[axis] for axis in range(len(sources)))
    elif node.op in ("Split", "Slice"):
        yield from zip(node.outputs, itertools.repeat(order))
    elif node.op in ("Gather", "Squeeze") and graph.rank(result) == len(order) - 1:
        lost = _lost_axis(graph, node, len(order))
        if lost is not None:
            yield result, order[:lost] + order[lost + 1 :]


def _lost_axis(graph: Graph, node: Node, rank: int) -> int | None:
    if node.op == "Gather":
        return int(node.get("axis", 0)) % rank
    axes = graph.constant(node.input(1)) if node.input(1) else None
    return int(axes.ravel()[0]) % rank if axes is not None and axes.size == 1 else None

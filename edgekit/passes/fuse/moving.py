"""Operators that do the same in another order of axes, and how each is told that order.

An order ``perm`` means what Transpose means by it: axis ``i`` after is axis ``perm[i]`` before. Moving a node over a
Transpose with ``perm`` makes it work on what was before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Array, Graph
from edgekit.graph.node import Node

Perm = tuple[int, ...]

ONE_BY_ONE = (
    *("Abs", "Cast", "Ceil", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity"),
    *("LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus"),
    *("Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
)
BROADCAST = ("Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Mean", "Min", "Mul", "Or", "Pow", "PRelu", "Sub", "Sum", "Where")


def inverse(perm: Perm) -> Perm:
    """The order that undoes ``perm``."""
    return tuple(int(axis) for axis in np.argsort(perm))


def composed(first: Perm, second: Perm) -> Perm:
    """The order of one Transpose that does what ``first`` and then ``second`` do."""
    return tuple(first[axis] for axis in second)


def permuted(values: Sequence[int] | Array, perm: Perm) -> Array:
    """One value an axis, as they are before the Transpose."""
    before = np.array(values)
    before[list(perm)] = np.array(values)
    return before


@dataclass(frozen=True, slots=True)
class Mover:
    """How one kind of operator moves.

    Attributes:
        data: places of the inputs that move with it; None for all of them.
        can: whether this node can.
        tell: changes its attributes and constants to the order before.
    """

    data: tuple[int, ...] | None
    can: Callable[[Graph, Node], bool]
    tell: Callable[[Graph, Node, Perm], None]


def data_inputs(node: Node) -> list[int]:
    """Places of the inputs that have to move with the node."""
    places = MOVERS[node.op].data
    return [place for place, name in enumerate(node.inputs) if name and (places is None or place in places)]


def can_move(graph: Graph, node: Node, rank: int) -> bool:
    """Whether a node does the same in another order of its axes: all that moves with it has this rank, or is a scalar or constant."""
    if node.op not in MOVERS or any(graph.rank(name) != rank for name in node.outputs if name):
        return False
    for place in data_inputs(node):
        name = node.inputs[place]
        own = graph.rank(name)
        if own is None or own > rank or (own not in (0, rank) and not graph.is_constant(name)):
            return False
    return MOVERS[node.op].can(graph, node)


def _always(graph: Graph, node: Node) -> bool:
    return True


def _nothing(graph: Graph, node: Node, perm: Perm) -> None:
    return


def _side_scalars(graph: Graph, node: Node) -> bool:
    return all(graph.rank(name) == 0 or graph.scalar(name) is not None for name in node.inputs[1:] if name)


def _axis(graph: Graph, node: Node, perm: Perm) -> None:
    default = 0 if node.op in ("Concat", "Split") else -1
    graph.set_attributes(node, axis=perm[node.get("axis", default)])


def _constant_at(*places: int) -> Callable[[Graph, Node], bool]:
    def check(graph: Graph, node: Node) -> bool:
        return all(graph.is_constant(node.input(place)) for place in places if node.input(place))

    return check


def _reduce_can(graph: Graph, node: Node) -> bool:
    return bool(node.get("keepdims", 1)) and _constant_at(1)(graph, node)


def _axes_input(place: int) -> Callable[[Graph, Node, Perm], None]:
    def tell(graph: Graph, node: Node, perm: Perm) -> None:
        axes = graph.constant(node.input(place)) if node.input(place) else None
        if axes is not None:
            graph.set_constant_input(node, place, np.array([perm[int(axis)] for axis in axes], axes.dtype))

    return tell


def _slice_tell(graph: Graph, node: Node, perm: Perm) -> None:
    starts = graph.shape(node.inputs[1]) or (0,)
    if not node.input(3):
        graph.set_input(node, 3, graph.add_constant(np.arange(int(starts[0]), dtype=np.int64), f"{node.outputs[0]}_axes"))
    _axes_input(3)(graph, node, perm)


def _slice_can(graph: Graph, node: Node) -> bool:
    return _constant_at(3)(graph, node) and bool(node.input(3) or graph.is_constant(node.inputs[1]))


def _pad_tell(graph: Graph, node: Node, perm: Perm) -> None:
    if node.input(3):
        _axes_input(3)(graph, node, perm)
        return
    pads = graph.constant(node.inputs[1])
    assert pads is not None, "checked by can"
    begins, ends = np.split(pads, 2)
    graph.set_constant_input(node, 1, np.concatenate([permuted(begins, perm), permuted(ends, perm)]))


def _each_axis(*places: int) -> Callable[[Graph, Node, Perm], None]:
    def tell(graph: Graph, node: Node, perm: Perm) -> None:
        for place in places:
            values = graph.constant(node.input(place)) if node.input(place) else None
            if values is not None and values.size == len(perm):
                graph.set_constant_input(node, place, permuted(values, perm))

    return tell


def _resize_can(graph: Graph, node: Node) -> bool:
    region = graph.constant(node.input(1)) if node.input(1) else None
    return (not node.input(1) or (region is not None and region.size == 0)) and _constant_at(2, 3)(graph, node) and node.get("axes") is None


def _expand_can(graph: Graph, node: Node) -> bool:
    shape = graph.constant(node.inputs[1])
    return shape is not None and shape.size == graph.rank(node.inputs[0])


MOVERS: dict[str, Mover] = {
    **dict.fromkeys(ONE_BY_ONE, Mover((0,), _side_scalars, _nothing)),
    **dict.fromkeys(BROADCAST, Mover(None, _always, _nothing)),
    **dict.fromkeys(("Concat",), Mover(None, _always, _axis)),
    **dict.fromkeys(("Split", "Softmax", "LogSoftmax", "Hardmax"), Mover((0,), _always, _axis)),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd"), Mover((0,), _reduce_can, _axes_input(1))),
    "Slice": Mover((0,), _slice_can, _slice_tell),
    "Pad": Mover((0,), _constant_at(1, 3), _pad_tell),
    "Resize": Mover((0,), _resize_can, _each_axis(2, 3)),
    "Tile": Mover((0,), _constant_at(1), _each_axis(1)),
    "Expand": Mover((0,), _expand_can, _each_axis(1)),
}

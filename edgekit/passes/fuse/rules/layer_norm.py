"""The formulas of layer normalization over one axis become LayerNormalization.

Two are common: ``(x - mean) / std``, and TensorFlow's ``x * inv + (shift - mean * inv)`` with ``inv = scale / std``.

Source:
    Ba, Kiros and Hinton, "Layer Normalization", arXiv:1607.06450.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgekit.graph.edit import Array, Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.linear import channel_values


@dataclass(frozen=True, slots=True)
class Moments:
    """``std = sqrt(mean((x - mean(x))^2) + epsilon)`` over one axis."""

    source: str
    mean: str
    centred: str
    std: str
    axis: int
    epsilon: float
    nodes: frozenset[Node]


@dataclass(frozen=True, slots=True)
class Found:
    """What is normalized, and what the formula makes of it; scale and shift by the axis, None if it has none."""

    moments: Moments
    output: str
    nodes: frozenset[Node]
    scale: str = ""
    shift: Array | None = None


def match(graph: Graph, node: Node) -> Found | None:
    """The axis has a known size; nobody else sees what is between; constants differ along the axis only."""
    moments = _moments(graph, node)
    if moments is None:
        return None
    found = _divided(graph, moments) or _multiplied(graph, moments)
    if found is None or not graph.is_closed(found.nodes, found.output):
        return None
    return found


def _moments(graph: Graph, root: Node) -> Moments | None:
    add = graph.maker(root.inputs[0], "Add")
    variance, epsilon = _with_scalar(graph, add) if add else ("", None)
    averaged = graph.maker(variance, "ReduceMean", "GlobalAveragePool")
    square = graph.maker(averaged.inputs[0], "Mul", "Pow") if averaged else None
    if add is None or epsilon is None or averaged is None or square is None or not _squares(graph, square):
        return None
    centre = graph.maker(square.inputs[0], "Sub")
    mean = graph.maker(centre.inputs[1], "ReduceMean", "GlobalAveragePool") if centre else None
    if centre is None or mean is None or mean.inputs[0] != centre.inputs[0]:
        return None
    source, axis = centre.inputs[0], _axis(graph, mean)
    shape = graph.shape(source)
    if axis is None or axis != _axis(graph, averaged) or shape is None or not isinstance(shape[axis], int):
        return None
    nodes = frozenset((root, add, averaged, square, centre, mean))
    return Moments(source, mean.outputs[0], centre.outputs[0], root.outputs[0], axis, epsilon, nodes)


def _with_scalar(graph: Graph, node: Node) -> tuple[str, float | None]:
    first, second = node.inputs
    return (second, graph.scalar(first)) if graph.is_constant(first) else (first, graph.scalar(second))


def _squares(graph: Graph, node: Node) -> bool:
    return node.inputs[0] == node.inputs[1] if node.op == "Mul" else graph.scalar(node.inputs[1]) == 2.0


def _axis(graph: Graph, node: Node) -> int | None:
    """The one axis that a mean is taken over, and kept."""
    rank = graph.rank(node.inputs[0])
    if rank is None:
        return None
    if node.op == "GlobalAveragePool":
        return 2 if rank == 3 else None
    axes = graph.constant(node.input(1)) if node.input(1) else None
    if axes is None or axes.size != 1 or not node.get("keepdims", 1):
        return None
    return int(axes.reshape(-1)[0]) % rank


def _divided(graph: Graph, moments: Moments) -> Found | None:
    for user in graph.users(moments.std):
        if user.op == "Div" and user.inputs == [moments.centred, moments.std]:
            return Found(moments, user.outputs[0], moments.nodes | {user})
        product = graph.next(user, "Mul") if user.op == "Reciprocal" else None
        if product is not None and moments.centred in product.inputs:
            return Found(moments, product.outputs[0], moments.nodes | {user, product})
    return None


def _multiplied(graph: Graph, moments: Moments) -> Found | None:
    users = graph.users(moments.std)
    if len(users) != 1:
        return None
    inverse = users[0]
    if not (inverse.op == "Reciprocal" or (inverse.op == "Div" and graph.scalar(inverse.inputs[0]) == 1.0)):
        return None
    nodes, factor, scale = moments.nodes | {inverse}, inverse.outputs[0], ""
    scaling = graph.next(inverse, "Mul")
    if scaling is not None and any(graph.is_constant(name) for name in scaling.inputs):
        scale = next(name for name in scaling.inputs if graph.is_constant(name))
        nodes, factor = nodes | {scaling}, scaling.outputs[0]
        if channel_values(graph, scale, moments.source, moments.axis) is None:
            return None
    for product in graph.users(factor):
        total = graph.next(product, "Add", "Sub")
        if product.op == "Mul" and moments.source in product.inputs and total is not None:
            found = Found(moments, total.outputs[0], nodes | {product, total}, scale)
            return _with_rest(graph, found, product.outputs[0], total, factor)
    return None


def _with_rest(graph: Graph, found: Found, product: str, total: Node, factor: str) -> Found | None:
    """Read the other side of the last sum, which must be ``shift - mean * factor``."""
    other = next((name for name in total.inputs if name != product), "")
    if total.op == "Sub" and total.inputs[0] != product:
        return None
    sign = 1.0 if total.op == "Add" else -1.0
    shift: Array | None = None
    nodes = set(found.nodes)
    while (maker := graph.maker(other, "Add", "Sub", "Neg", "Mul")) is not None:
        nodes.add(maker)
        names = maker.inputs
        if maker.op == "Mul":
            return _closing(graph, replace(found, nodes=frozenset(nodes), shift=shift), maker, factor, sign)
        if maker.op == "Neg":
            other, sign = names[0], -sign
            continue
        place = 0 if graph.is_constant(names[0]) else 1
        values = channel_values(graph, names[place], found.moments.source, found.moments.axis)
        if values is None or shift is not None:
            return None
        minus = maker.op == "Sub"
        shift = values * (sign if not minus or place == 0 else -sign)
        other, sign = names[1 - place], -sign if minus and place == 0 else sign
    return None


def _closing(graph: Graph, found: Found, product: Node, factor: str, sign: float) -> Found | None:
    """The product must be the mean times the factor, its sign minus."""
    if factor not in product.inputs:
        return None
    other = next((name for name in product.inputs if name != factor), "")
    negation = graph.maker(other, "Neg")
    if negation is not None:
        found, other, sign = replace(found, nodes=found.nodes | {negation}), negation.inputs[0], -sign
    return found if other == found.moments.mean and sign < 0 else None


def rewrite(graph: Graph, found: Found) -> None:
    """LayerNormalization; between two Transposes if the axis is not the last."""
    moments, output = found.moments, found.output
    rank, shape = graph.rank(moments.source) or 0, graph.shape(moments.source) or ()
    dtype = np.float16 if graph.elem_type(moments.source) == 10 else np.float32
    size = int(shape[moments.axis])
    given = channel_values(graph, found.scale, moments.source, moments.axis) if found.scale else None
    scale = np.broadcast_to(np.ones(1) if given is None else given, size).astype(dtype)
    constants = [graph.add_constant(scale, f"{output}_scale")]
    if found.shift is not None:
        constants.append(graph.add_constant(np.broadcast_to(found.shift, size).astype(dtype), f"{output}_shift"))
    nodes = graph.in_order(found.nodes)
    if moments.axis == rank - 1:
        graph.replace(nodes, "LayerNormalization", [moments.source, *constants], output, axis=-1, epsilon=moments.epsilon)
        return
    perm = [*(axis for axis in range(rank) if axis != moments.axis), moments.axis]
    turned, normed = graph.unused_name(f"{output}_turned"), graph.unused_name(f"{output}_normed")
    graph.add("Transpose", [moments.source], turned, before=nodes[-1], perm=perm)
    graph.add("LayerNormalization", [turned, *constants], normed, before=nodes[-1], axis=-1, epsilon=moments.epsilon)
    for name in (turned, normed):
        graph.set_type(name, graph.elem_type(moments.source), tuple(shape[axis] for axis in perm))
    graph.replace(nodes, "Transpose", [normed], output, perm=[int(axis) for axis in np.argsort(perm)])


RULE = Rule("layer-norm", ("Sqrt",), match, rewrite)

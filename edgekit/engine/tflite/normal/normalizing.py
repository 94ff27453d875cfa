"""Normalizations, made of means and arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgekit.engine.tflite.graph import Fault, Graph, Node
from edgekit.engine.tflite.normal.parts import Parts


def _by_channel(parts: Parts, name: str, rank: int) -> str:
    """What holds a number for each channel, with the axes of a picture."""
    sizes = (-1, *(1,) * (rank - 2))
    constant = parts.graph.constants.get(name)
    if constant is not None:
        return parts.constant(constant.real().reshape(sizes))
    return parts.reshape(name, (1, parts.shape(name)[0], *(1,) * (rank - 2)))


def _batch(node: Node, graph: Graph) -> list[Node] | Fault:
    if any(node.outputs[1:]):
        return Fault("it learns its mean and variance", "export the model for inference")
    if any(name not in graph.constants for name in node.inputs[1:5]):
        return Fault("its scale, bias, mean or variance is computed", "make them constants")
    parts = Parts(node, graph)
    scale, bias, mean, variance = (graph.constants[name].real() for name in node.inputs[1:5])
    factor = scale / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    along = (-1, *(1,) * (len(parts.shape(node.inputs[0])) - 2))
    scaled = parts.add("Mul", node.inputs[0], parts.constant(factor.reshape(along)))
    parts.add("Add", scaled, parts.constant((bias - mean * factor).reshape(along)), into=0)
    return parts.nodes


def _normal(parts: Parts, source: str, mean: Callable[[str], str], epsilon: float) -> str:
    """(x - mean) / sqrt(variance + epsilon)."""
    centred = parts.add("Sub", source, mean(source))
    variance = mean(parts.add("Mul", centred, centred))
    return parts.add("Div", centred, parts.add("Sqrt", parts.add("Add", variance, epsilon)))


def _instance(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    rank = len(parts.shape(node.inputs[0]))
    axes = range(2, rank)
    found = _normal(parts, node.inputs[0], lambda name: parts.reduce("ReduceMean", name, axes), node.attrs.get("epsilon", 1e-5))
    _scaled(parts, found, [_by_channel(parts, name, rank) for name in node.inputs[1:3]])
    return parts.nodes


def _scaled(parts: Parts, name: str, numbers: Sequence[str]) -> None:
    """Times the first, plus the second, if there are any; into the output."""
    ops = ("Mul", "Add")[: len(numbers)]
    if not ops:
        parts.add("Identity", name, into=0)
    for place, (op, number) in enumerate(zip(ops, numbers, strict=True)):
        name = parts.add(op, name, number, into=0 if place == len(ops) - 1 else None)


def _group(node: Node, graph: Graph) -> list[Node] | Fault:
    """The mean of a group is that of its channels' means, so that the picture itself never needs a fifth axis."""
    parts = Parts(node, graph)
    shape = parts.shape(node.inputs[0])
    groups, rank = node.attrs["num_groups"], len(shape)

    def mean(name: str) -> str:
        of_channels = parts.reshape(parts.reduce("ReduceMean", name, range(2, rank)), (shape[0], groups, shape[1] // groups))
        of_groups = parts.reduce("ReduceMean", of_channels, [2])
        spread = parts.add("Mul", of_groups, parts.constant(np.ones((1, 1, shape[1] // groups))))
        return parts.reshape(spread, (*shape[:2], *(1,) * (rank - 2)))

    found = _normal(parts, node.inputs[0], mean, node.attrs.get("epsilon", 1e-5))
    _scaled(parts, found, [_by_channel(parts, name, rank) for name in node.inputs[1:3]])
    return parts.nodes


def _layer(node: Node, graph: Graph) -> list[Node] | Fault:
    """A LayerNormalization whose scale is computed, or that hands out its mean."""
    if all(not name or graph.is_constant(name) for name in node.inputs[1:]) and not any(node.outputs[1:]):
        return [node]
    parts = Parts(node, graph)
    source, rank = node.inputs[0], len(parts.shape(node.inputs[0]))
    axes = range(node.attrs.get("axis", -1) % rank, rank)
    outputs = (*node.outputs, "", "")
    mean = parts.reduce("ReduceMean", source, axes, into=1 if outputs[1] else None)
    centred = parts.add("Sub", source, mean)
    variance = parts.reduce("ReduceMean", parts.add("Mul", centred, centred), axes)
    deviation = parts.add("Sqrt", parts.add("Add", variance, node.attrs.get("epsilon", 1e-5)))
    inverse = parts.add("Reciprocal", deviation, into=2 if outputs[2] else None)
    _scaled(parts, parts.add("Mul", centred, inverse), [name for name in node.inputs[1:3] if name])
    return parts.nodes


def _root_mean_square(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    source, rank = node.inputs[0], len(parts.shape(node.inputs[0]))
    axes = range(node.attrs.get("axis", -1) % rank, rank)
    mean = parts.reduce("ReduceMean", parts.add("Mul", source, source), axes)
    root = parts.add("Sqrt", parts.add("Add", mean, node.attrs.get("epsilon", 1e-5)))
    _scaled(parts, parts.add("Div", source, root), node.inputs[1:2])
    return parts.nodes


def _by_length(node: Node, graph: Graph) -> list[Node] | Fault:
    """x / length, and 0 where the length is."""
    parts = Parts(node, graph)
    source = node.inputs[0]
    axis = node.attrs.get("axis", -1) % len(parts.shape(source))
    length = parts.reduce("ReduceL1" if node.attrs.get("p", 2) == 1 else "ReduceL2", source, [axis])
    parts.add("Div", source, parts.where(parts.add("Equal", length, 0.0), 1.0, length), into=0)
    return parts.nodes


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {
    "BatchNormalization": _batch,
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "LayerNormalization": _layer,
    "LpNormalization": _by_length,
    "RMSNormalization": _root_mean_square,
}

"""Scale and shift, channel by channel, taken into the weights of Conv, ConvTranspose, Gemm and MatMul.

All is computed in double precision and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

F64 = np.ndarray[Any, np.dtype[np.float64]]

CONVOLUTIONS = ("Conv", "ConvTranspose")
BIASED = (*CONVOLUTIONS, "Gemm")
WEIGHTED = (*BIASED, "MatMul")


@dataclass(frozen=True, slots=True)
class Affine:
    """``x * scale + shift`` for each channel. Both of shape (channels,), or (1,) for all channels alike."""

    scale: F64
    shift: F64


def only_scale(values: F64) -> Affine:
    """Multiply by ``values``."""
    return Affine(values, np.zeros(1))


def only_shift(values: F64) -> Affine:
    """Add ``values``."""
    return Affine(np.ones(1), values)


def batchnorm(graph: Graph, node: Node) -> Affine | None:
    """What a BatchNormalization in inference does; None if it trains or its numbers are not constant."""
    numbers = [graph.constant(name) for name in node.inputs[1:5]]
    if node.get("training_mode", 0) or len(node.outputs) > 1 or len(numbers) < 4:
        return None
    known = [array.astype(np.float64) for array in numbers if array is not None]
    if len(known) < 4:
        return None
    gamma, beta, mean, variance = known
    scale = gamma / np.sqrt(variance + node.get("epsilon", 1e-5))
    return Affine(scale, beta - mean * scale)


def arithmetic(graph: Graph, node: Node, source: str, channel_axis: int) -> Affine | None:
    """What Mul, Div, Add or Sub of ``source`` and a constant does to each channel.

    Args:
        graph: the graph.
        node: one of these four.
        source: the input that is no constant.
        channel_axis: which axis of ``source`` the channels are, counted from the front.

    Returns:
        None if the constant is none, differs within a channel, or the operation is no affine one.
    """
    index = node.inputs.index(source)
    values = channel_values(graph, node.inputs[1 - index], source, channel_axis)
    if values is None:
        return None
    if node.op == "Mul":
        return only_scale(values)
    if node.op == "Add":
        return only_shift(values)
    if node.op == "Sub":
        return only_shift(-values) if index == 0 else Affine(-np.ones(1), values)
    return only_scale(1.0 / values) if index == 0 and bool(values.all()) else None


def channel_values(graph: Graph, constant: str, source: str, channel_axis: int) -> F64 | None:
    """A constant that is broadcast to ``source`` as values a channel; None if it is not so shaped."""
    array, shape = graph.constant(constant), graph.shape(source)
    if array is None or shape is None or array.ndim > len(shape) or array.dtype.kind != "f":
        return None
    full = (1,) * (len(shape) - array.ndim) + array.shape
    others = [size for axis, size in enumerate(full) if axis != channel_axis]
    if any(size != 1 for size in others) or full[channel_axis] not in (1, shape[channel_axis]):
        return None
    return array.astype(np.float64).reshape(-1)


def channel_axis(node: Node, rank: int) -> int:
    """The axis of a weighted node's output that its output channels are on."""
    return rank - 1 if node.op == "MatMul" else 1


def is_foldable(graph: Graph, node: Node) -> bool:
    """Whether weights and bias are constant floats, the bias one value a channel, or one for all."""
    weight = graph.constant(node.inputs[1])
    if weight is None or weight.dtype.kind != "f" or graph.is_constant(node.inputs[0]):
        return False
    if node.op == "MatMul" or node.get("transA", 0):
        return weight.ndim == 2 and node.op == "MatMul"
    if not node.input(2):
        return True
    bias = graph.constant(node.input(2))
    return bias is not None and bias.size in (1, output_channels(graph, node)) and bias.size == (bias.shape or (1,))[-1]


def output_channels(graph: Graph, node: Node) -> int:
    """How many channels the node makes."""
    shape = graph.shape(node.inputs[1]) or ()
    sizes = [int(size) for size in shape]
    if node.op == "Conv":
        return sizes[0]
    if node.op == "ConvTranspose":
        return sizes[1] * int(node.get("group", 1))
    return sizes[0] if node.get("transB", 0) else sizes[1]


def fold_after(graph: Graph, node: Node, affine: Affine) -> None:
    """Let the node do what ``affine`` did to its output. Weights that a mere shift leaves as they are stay shared."""
    bias = _bias(graph, node) * affine.scale + affine.shift
    changes = bool((affine.scale != 1).any()) or node.get("alpha", 1.0) != 1
    _store(graph, node, _scaled_outputs(node, _weight(graph, node), affine.scale) if changes else None, bias)


def _scaled_outputs(node: Node, weight: F64, scale: F64) -> F64:
    if node.op == "ConvTranspose":
        groups = int(node.get("group", 1))
        split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        by_channel = np.broadcast_to(scale, weight.shape[1] * groups).reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
        return (split * by_channel).reshape(weight.shape)
    axis = 1 if node.op == "MatMul" or (node.op == "Gemm" and not node.get("transB", 0)) else 0
    return weight * scale.reshape([-1 if place == axis else 1 for place in range(weight.ndim)])


def fold_before(graph: Graph, node: Node, affine: Affine) -> None:
    """Let the node do what ``affine`` did to its first input. A shift needs a node that does not pad."""
    weight, bias = _weight(graph, node), _bias(graph, node)
    if node.op == "Conv":
        groups = int(node.get("group", 1))
        inputs = weight.shape[1] * groups
        split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        tail = [1] * (weight.ndim - 2)
        shift = np.broadcast_to(affine.shift, inputs).reshape(groups, 1, -1, *tail)
        bias = bias + (split * shift).sum(axis=tuple(range(2, split.ndim))).reshape(-1)
        scale = np.broadcast_to(affine.scale, inputs).reshape(groups, 1, -1, *tail)
        weight = (split * scale).reshape(weight.shape)
    else:
        axis = 1 if node.op == "Gemm" and node.get("transB", 0) else 0
        along = [-1 if place == axis else 1 for place in range(weight.ndim)]
        if node.op == "Gemm":
            bias = bias + (weight * np.broadcast_to(affine.shift, weight.shape[axis]).reshape(along)).sum(axis=axis)
        weight = weight * np.broadcast_to(affine.scale, weight.shape[axis]).reshape(along)
    _store(graph, node, weight, bias)


def _weight(graph: Graph, node: Node) -> F64:
    weight = graph.constant(node.inputs[1])
    assert weight is not None, "is_foldable holds"
    return weight.astype(np.float64) * (node.get("alpha", 1.0) if node.op == "Gemm" else 1.0)


def _bias(graph: Graph, node: Node) -> F64:
    bias = graph.constant(node.input(2)) if node.input(2) else None
    if bias is None:
        return np.zeros(1)
    return bias.astype(np.float64).reshape(-1) * (node.get("beta", 1.0) if node.op == "Gemm" else 1.0)


def _store(graph: Graph, node: Node, weight: F64 | None, bias: F64) -> None:
    old = graph.constant(node.inputs[1])
    assert old is not None, "is_foldable holds"
    if node.op == "Gemm":
        graph.set_attributes(node, alpha=None, beta=None)
    if node.op != "MatMul" and (node.input(2) or bias.any()):
        full = np.broadcast_to(bias, output_channels(graph, node))
        graph.set_constant_input(node, 2, full.astype(old.dtype), like=f"{node.name or node.outputs[0]}_bias")
    if weight is not None:
        graph.set_constant_input(node, 1, weight.astype(old.dtype))


def takes_shift(node: Node) -> bool:
    """Whether a shift of the first input can go into the bias: a Gemm, or a Conv that pads nothing."""
    if node.op == "Gemm":
        return True
    plain = node.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return node.op == "Conv" and plain and not any(node.get("pads", [0]))

"""Means, sums and extremes over axes, and LayerNormalization, which is made of them."""

from __future__ import annotations

from functools import partial

import numpy as np

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Fault, Graph, Node
from edgekit.engine.tflite.layout import Wish
from edgekit.engine.tflite.lowering.contract import flow_quantized
from edgekit.engine.tflite.lowering.shape import needs_constants, scale_of
from edgekit.engine.tflite.orders import Order

_BUILTIN = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
}
_OF_TRUTHS = {"ReduceMax": "REDUCE_ANY", "ReduceMin": "REDUCE_ALL"}


def check(node: Node, graph: Graph) -> Fault | None:
    """Why a reduction cannot be lowered."""
    return needs_constants(1)(node, graph)


def axes_of(node: Node, graph: Graph) -> list[int]:
    """The axes that are reduced; none if the node says that an empty list means so."""
    rank = len(graph.shape(node.inputs[0]))
    given = graph.numbers(node, 1)
    if given is None or given.size == 0:
        return [] if node.attrs.get("noop_with_empty_axes") else list(range(rank))
    return sorted(int(axis) % rank for axis in given.ravel())


def _through(node: Node, graph: Graph, order: Order) -> Order | None:
    return order if node.attrs.get("keepdims", 1) else orders.through_reduction(axes_of(node, graph), order)


def wish(node: Node, graph: Graph) -> Wish:
    """The output's order is what is left of the input's."""
    return Wish("follows", _through)


def integer(node: Node, graph: Graph) -> bool:
    """Whether a mean or extreme has an integer kernel; sums are left in float32, where nothing overflows."""
    return node.op not in ("ReduceSum", "ReduceProd") and flow_quantized(node, graph)


def moves(node: Node, graph: Graph) -> bool:
    """Whether the output is one of the inputs: for extremes."""
    return node.op in ("ReduceMax", "ReduceMin", "GlobalMaxPool", "MaxPool")


def lower(node: Node, to: Emitter) -> None:
    """Lower a reduction."""
    graph = to.graph
    order = to.order(node.inputs[0])
    axes = axes_of(node, graph)
    result_order = _through(node, graph, order)
    source = to.read(node, 0, order)
    result = to.write(node, result_order, quant=scale_of(node, to) if moves(node, graph) else None)
    if not axes:
        to.reshape(source, result)
        return
    stored = sorted(order.where(axis) for axis in axes)
    op = (_OF_TRUTHS if to.draft.dtype(source) == "bool" else _BUILTIN)[node.op]
    if to.npu and op == "MEAN" and stored == [3] and len(order.axes) == 4:
        _mean_of_channels(to, source, result)
        return
    to.add(op, [source, to.integers("axes", stored)], [result], keepDims=bool(node.attrs.get("keepdims", 1)))


def _mean_of_channels(to: Emitter, source: int, result: int) -> None:
    """A mean over the last axis of a picture laid out in one column: Ethos-U takes none where height and width are above 1."""
    batch, height, width, depth = to.draft.shape(source)
    column = to.reshaped(source, f"{to.draft.tensors[result].name}_column", (batch, height * width, 1, depth))
    mean = to.like(result, f"{to.draft.tensors[result].name}_of_column", (batch, height * width, 1, 1))
    to.add("MEAN", [column, to.integers("axes", [3])], [mean], keepDims=True)
    to.reshape(mean, result)


def _lower_global(op: str, node: Node, to: Emitter) -> None:
    order = to.order(node.inputs[0])
    axes = sorted(order.where(axis) for axis in range(2, len(order.axes)))
    source = to.read(node)
    result = to.write(node, order, quant=scale_of(node, to) if moves(node, to.graph) else None)
    to.add(op, [source, to.integers("axes", axes)], [result], keepDims=True)


lower_global_average = partial(_lower_global, "MEAN")
lower_global_max = partial(_lower_global, "REDUCE_MAX")


def check_layer_normalization(node: Node, graph: Graph) -> Fault | None:
    """Why a LayerNormalization cannot be lowered."""
    if any(name and not graph.is_constant(name) for name in node.inputs[1:]):
        return Fault("its scale or bias is computed", "make it a constant")
    if any(node.outputs[1:]):
        return Fault("its mean or deviation is used", "compute them apart")
    return None


def lower_layer_normalization(node: Node, to: Emitter) -> None:
    """Lower a LayerNormalization, (x - mean) / sqrt(variance + epsilon) * scale + bias, to its parts."""
    order = to.order(node.outputs[0])
    rank = len(order.axes)
    first = node.attrs.get("axis", -1) % rank
    axes = to.integers("axes", sorted(order.where(axis) for axis in range(first, rank)))
    source = to.read(node, 0, order)
    shape = to.draft.shape(source)
    small = tuple(1 if order.axes[place] >= first else size for place, size in enumerate(shape))

    def step(op: str, inputs: list[int], what: str, sizes: tuple[int, ...], **options: object) -> int:
        tensor = to.temporary(f"{node.outputs[0]}_{what}", sizes)
        to.add(op, inputs, [tensor], **options)
        return tensor

    plain_sum = {"fusedActivationFunction": "NONE"}
    mean = step("MEAN", [source, axes], "mean", small, keepDims=True)
    centred = step("SUB", [source, mean], "centred", shape, **plain_sum)
    square = step("MUL", [centred, centred], "square", shape, **plain_sum)
    variance = step("MEAN", [square, axes], "variance", small, keepDims=True)
    epsilon = to.constant("epsilon", np.asarray(node.attrs.get("epsilon", 1e-5), np.float32))
    deviation = step("SQRT", [step("ADD", [variance, epsilon], "raised", small, **plain_sum)], "deviation", small)
    result = step("DIV", [centred, deviation], "normal", shape, **plain_sum)
    given = [index for index in (1, 2) if index < len(node.inputs) and node.inputs[index]]
    for index in given[:-1]:
        result = step("MUL", [result, to.number(node, index, order)], "scaled", shape, **plain_sum)
    last = given[-1]
    op = "MUL" if last == 1 else "ADD"
    to.add(op, [result, to.number(node, last, order)], [to.write(node, order)], **plain_sum)

"""A scale for each channel of what is computed becomes one scale, where that says exactly the same.

NNCF gives what a depthwise convolution reads a scale for each channel. No runtime computes on such integers. But where a
convolution makes them and depthwise convolutions alone read them, the scales can be taken out of the channels of the one
and into those of the others: every integer, weights and activations, stays what it was.

    integer = round(s_in w_c acc / s_c)      the same with w_c' = w_c S / s_c and S
    product = s_c t_c acc'                   the same with t_c' = t_c s_c / S and S
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.edit import Array, Graph
from edgekit.graph.node import Node

if TYPE_CHECKING:
    import onnx

F64 = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class _Found:
    """The node that rounds, those that read it, what makes and takes it, the clamp that rounding implies, if any."""

    quantize: Node
    dequantizes: list[Node]
    producer: Node
    consumers: list[Node]
    clamp: Node | None
    scale: F64
    zero_point: Array


def with_tensor_scales(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with one scale wherever that says the same; itself if there is no such place. Types of new tensors are not said."""
    graph = Graph(proto)
    found = [one for node in graph.walk("QuantizeLinear") if (one := _match(graph, node)) is not None]
    for one in found:
        _rewrite(graph, one)
    return graph.finish() if found else proto


def _match(graph: Graph, quantize: Node) -> _Found | None:
    numbers = _channel_numbers(graph, quantize)
    source = quantize.inputs[0]
    if numbers is None or not _is_private(graph, source) or quantize.outputs[0] in graph.pinned:
        return None
    clamp = graph.maker(source, "Relu", "Clip")
    producer = graph.maker(clamp.inputs[0] if clamp else source, "Conv")
    if producer is None or (clamp is not None and not _is_private(graph, clamp.inputs[0])) or not _has_scalable_weights(graph, producer):
        return None
    if clamp is not None and clamp.op == "Clip" and not _is_implied(graph, clamp, *numbers):
        return None
    dequantizes = graph.users(quantize.outputs[0])
    consumers = [user for node in dequantizes for user in graph.users(node.outputs[0])]
    if not all(_says_the_same(graph, node, numbers) for node in dequantizes):
        return None
    if not all(_is_depthwise(graph, node, dequantizes, numbers[0].size) for node in consumers):
        return None
    return _Found(quantize, dequantizes, producer, consumers, clamp if clamp is not None and clamp.op == "Clip" else None, *numbers)


def _is_private(graph: Graph, name: str) -> bool:
    return len(graph.users(name)) == 1 and name not in graph.pinned


def _channel_numbers(graph: Graph, node: Node) -> tuple[F64, Array] | None:
    """Scales and zero points of a node that has one for each channel, the zero points all alike."""
    scale, zero_point = graph.constant(node.input(1)), graph.constant(node.input(2)) if node.input(2) else None
    rank = graph.rank(node.inputs[0])
    if scale is None or zero_point is None or scale.ndim != 1 or scale.size < 2 or rank is None or node.get("axis", 1) % rank != 1:
        return None
    is_one = zero_point.dtype in (np.int8, np.uint8) and bool((zero_point == zero_point[0]).all()) and bool((scale > 0).all())
    return (scale.astype(np.float64), zero_point) if is_one and not node.get("block_size", 0) else None


def _says_the_same(graph: Graph, node: Node, numbers: tuple[F64, Array]) -> bool:
    own = _channel_numbers(graph, node) if node.op == "DequantizeLinear" and node.outputs[0] not in graph.pinned else None
    return own is not None and np.array_equal(own[0], numbers[0]) and np.array_equal(own[1], numbers[1])


def _is_depthwise(graph: Graph, node: Node, dequantizes: list[Node], channels: int) -> bool:
    reads = node.op == "Conv" and node.inputs[0] in {one.outputs[0] for one in dequantizes}
    return reads and node.get("group", 1) == channels and _has_scalable_weights(graph, node)


def _has_scalable_weights(graph: Graph, node: Node) -> bool:
    """Whether weights and bias are constants, or constants behind a DequantizeLinear with scales by output channel."""
    return all(_is_scalable(graph, name) for name in node.inputs[1:] if name)


def _is_scalable(graph: Graph, name: str) -> bool:
    if graph.is_constant(name):
        return True
    node = graph.maker(name, "DequantizeLinear")
    if node is None or node.get("block_size", 0) or not all(graph.is_constant(one) for one in node.inputs if one):
        return False
    scale, rank = graph.constant(node.inputs[1]), graph.rank(node.inputs[0])
    return scale is not None and rank is not None and (scale.size == 1 or node.get("axis", 1) % rank == 0)


def _is_implied(graph: Graph, clamp: Node, scale: F64, zero_point: Array) -> bool:
    """Whether rounding cuts off, in every channel, all that a Clip does: its bounds round to the last integers."""
    low, high = (graph.scalar(clamp.input(place)) if clamp.input(place) else None for place in (1, 2))
    limits = np.iinfo(zero_point.dtype)
    least, greatest = ((limit - zero_point.astype(np.float64)) * scale for limit in (limits.min, limits.max))
    slack = 0.49 * scale
    fits_low = not clamp.input(1) or (low is not None and bool((low <= least + slack).all()))
    return fits_low and (not clamp.input(2) or (high is not None and bool((high >= greatest - slack).all())))


def _rewrite(graph: Graph, found: _Found) -> None:
    whole = np.float32(found.scale.max())
    for place in (1, 2):
        _multiply(graph, found.producer, place, float(whole) / found.scale)
    for consumer in found.consumers:
        filters = (graph.shape(consumer.inputs[1]) or (found.scale.size,))[0]
        _multiply(graph, consumer, 1, np.repeat(found.scale / float(whole), int(filters) // found.scale.size))
    scale = graph.add_constant(np.asarray(whole), f"{found.quantize.inputs[1]}_of_all")
    zero_point = graph.add_constant(found.zero_point[:1].reshape(()), f"{found.quantize.inputs[2]}_of_all")
    for node in (found.quantize, *found.dequantizes):
        graph.set_input(node, 1, scale)
        graph.set_input(node, 2, zero_point)
        graph.set_attributes(node, axis=None)
    if found.clamp is not None:
        graph.bypass(found.clamp, found.clamp.inputs[0])


def _multiply(graph: Graph, node: Node, place: int, factors: F64) -> None:
    """Multiply a convolution's weights or bias by one factor an output channel; of integers the scales alone."""
    name = node.input(place)
    if not name:
        return
    values = graph.constant(name)
    if values is not None:
        along = factors.reshape(-1, *[1] * (values.ndim - 1))
        graph.set_constant_input(node, place, (values.astype(np.float64) * along).astype(values.dtype))
        return
    before = graph.maker(name, "DequantizeLinear")
    scale = graph.constant(before.inputs[1]) if before is not None else None
    assert before is not None, "matched so"
    assert scale is not None, "matched so"
    scales = (np.broadcast_to(scale.reshape(-1), factors.size).astype(np.float64) * factors).astype(scale.dtype)
    inputs = [before.inputs[0], graph.add_constant(scales, f"{before.inputs[1]}_by_channel"), *_zero_points(graph, before, factors.size)]
    result = graph.unused_name(f"{name}_by_channel")
    graph.add("DequantizeLinear", inputs, result, before=node, axis=0)
    graph.set_input(node, place, result)


def _zero_points(graph: Graph, node: Node, channels: int) -> Iterator[str]:
    zero_point = graph.constant(node.input(2)) if node.input(2) else None
    if zero_point is not None:
        yield graph.add_constant(np.broadcast_to(zero_point.reshape(-1), channels).copy(), f"{node.input(2)}_by_channel")

"""Conv and ConvTranspose: CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Array, Constant, Fault, Graph, Node, Quant
from edgekit.engine.tflite.lowering.contract import flow_quantized, integers_of
from edgekit.engine.tflite.lowering.window import check_window, padded, pair, strides, window

_LAST = orders.channels_last(4)
_LARGEST_BIAS = 2**30
_LARGEST_WIDE_BIAS = 2**46
"""LiteRT's int16 kernels scale sums of up to 48 bits; half is left to the sum of products."""
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
STATIC = ("int8", "int4", "int2")
"""Weights that integer kernels read, those of few bits as they are or widened."""


def check(node: Node, graph: Graph) -> Fault | None:
    """Why a Conv cannot be lowered."""
    fault = check_window(node, graph)
    if fault is None and not graph.is_constant(node.inputs[1]):
        return Fault("its weights are computed", "make them a constant, or use another runtime")
    if fault is None and len(node.inputs) > 2 and node.inputs[2] and not graph.is_constant(node.inputs[2]):
        return Fault("its bias is computed", "add it with an Add after it")
    return fault


def integer(node: Node, graph: Graph) -> bool:
    """Whether LiteRT has an integer kernel for it: integer flow, symmetric weights with their channels first."""
    return flow_quantized(node, graph) and has_integer_weights(node, graph, channel_axis=0, types=STATIC)


def dynamic(node: Node, graph: Graph) -> bool:
    """Whether LiteRT has a kernel for it that rounds what flows: in one group, symmetric int8 weights."""
    return node.attrs.get("group", 1) == 1 and has_integer_weights(node, graph, channel_axis=0)


def has_integer_weights(node: Node, graph: Graph, *, channel_axis: int, types: Collection[str] = ("int8",)) -> bool:
    """Whether a node's second input is constant, of such integers, symmetric, at one scale or at one for each output channel."""
    constant = graph.constants.get(node.inputs[1])
    if constant is None or constant.quant is None or constant.stored.dtype.name not in types:
        return False
    return constant.quant.is_symmetric and (constant.quant.is_per_tensor or constant.quant.axis == channel_axis)


def is_depthwise(node: Node, graph: Graph) -> bool:
    """Whether each input channel has filters of its own."""
    groups = node.attrs.get("group", 1)
    channels = graph.shape(node.inputs[0])[1]
    return bool(groups == channels and groups > 1)


def lower(node: Node, to: Emitter) -> None:
    """Lower a Conv."""
    graph = to.graph
    depthwise = is_depthwise(node, graph)
    kernel = graph.shape(node.inputs[1])[2:]
    slides = window(node, graph, kernel)
    source = to.read(node, 0, _LAST)
    scheme = slides.scheme
    if scheme is None:
        source, scheme = padded(to, source, slides.padding), "VALID"
    weights, bias = filters(node, to, _depthwise_filters if depthwise else _filters, 3 if depthwise else 0)
    height, width = pair(node, "dilations")
    options: dict[str, Any] = {"padding": scheme, "fusedActivationFunction": node.activation, "dilationHFactor": height, "dilationWFactor": width}
    if depthwise:
        options["depthMultiplier"] = graph.shape(node.inputs[1])[0] // graph.shape(node.inputs[0])[1]
    result = to.write(node, _LAST)
    to.add("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [source, weights, bias], [result], **options, **strides(node))


def _filters(array: Array) -> Array:
    return array.transpose(0, 2, 3, 1)


def _depthwise_filters(array: Array) -> Array:
    return array.transpose(1, 2, 3, 0)


def filters(node: Node, to: Emitter, arrange: Any, axis: int) -> tuple[int, int]:
    """Weights and bias of a Conv, ConvTranspose or matrix product as tensors.

    Args:
        node: its second input holds weights, its third, if there is one, the bias.
        to: what is written to.
        arrange: from ONNX's arrangement of weights to TFLite's.
        axis: TFLite's axis of output channels.
    """
    has_bias = len(node.inputs) > 2 and node.inputs[2]
    constant = to.graph.constants[node.inputs[1]]
    if not node.integer:
        weights = to.weights(node, 1, arrange, axis)
        channels = to.draft.shape(weights)[axis]
        if not has_bias:
            return weights, to.constant("no_bias", np.zeros(channels, np.float32))
        bias = to.graph.constants[node.inputs[2]]
        row = Constant(np.broadcast_to(bias.stored.reshape(-1) if bias.quant is None else bias.real().reshape(-1), (channels,)))
        return weights, to.multiplied(node, node.inputs[2], row)
    assert constant.quant is not None
    stored = np.ascontiguousarray(arrange(as_kernels_read(constant.stored, node, to.graph)))
    channels = stored.shape[axis]
    real_bias = to.graph.constants[node.inputs[2]].real().reshape(-1) if has_bias else np.zeros(1, np.float32)
    quant = Quant(constant.quant.scale, constant.quant.zero_point, 0 if constant.quant.is_per_tensor else axis)
    source = to.graph.quant(node.inputs[0])
    assert source is not None
    fitted, bias_integers, bias_quant = integer_bias(Constant(stored, quant), np.broadcast_to(real_bias, (channels,)), source)
    name = node.inputs[2] if has_bias else "no_bias"
    return to.constant(node.inputs[1], fitted.stored, fitted.quant), to.constant(name, bias_integers, bias_quant)


def as_kernels_read(weights: Array, node: Node, graph: Graph) -> Array:
    """Weights of few bits in the type that the kernel reads: int4 in a CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED of int8, else int8.

    Measured with LiteRT 2.3.0: with int16 around it, DEPTHWISE_CONV_2D takes int4 and computes nonsense.
    """
    if weights.dtype == np.int8:
        return weights
    import ml_dtypes

    takes_int4 = node.op != "ConvTranspose" and integers_of(node, graph) == "int8"
    return weights.astype(np.int8).astype(ml_dtypes.int4 if takes_int4 else np.int8)


def integer_bias(weights: Constant, bias: Array, source: Quant) -> tuple[Constant, Array, Quant]:
    """The bias at the scale of the products, as TFLite prescribes: int32, with int16 flowing int64.

    A channel whose weights are (nearly) all zero has so small a scale that its bias overflows, or that the product of
    scales is no normal number. Such a channel gets the smallest scale at which its bias fits, and its weights are
    rounded to it.

    Args:
        weights: integers in TFLite's arrangement, symmetric.
        bias: real values, one for each output channel.
        source: how what the weights are multiplied with is stored.

    Returns:
        The weights, changed only where they had to be; the bias; its scale.
    """
    assert weights.quant is not None
    scale = np.asarray(weights.quant.scale, np.float64)
    input_scale, is_wide = source.scale[0], source.dtype == "int16"
    least = np.abs(np.asarray(bias, np.float64)) / ((_LARGEST_WIDE_BIAS if is_wide else _LARGEST_BIAS) * input_scale)
    least = np.maximum(least, max(_SMALLEST_SCALE / input_scale, _SMALLEST_SCALE) * 1.01)
    fitted = np.maximum(scale, least if scale.size > 1 else least.max())
    stored = weights.stored
    if np.any(fitted > scale):
        shape = [1] * stored.ndim
        shape[weights.quant.axis] = fitted.size
        integers = stored.astype(np.int8)
        stored = np.rint(integers * (scale / fitted).reshape(shape if fitted.size > 1 else ())).astype(np.int8).astype(stored.dtype)
    narrow = fitted.astype(np.float32)
    product = np.asarray(np.float32(input_scale) * narrow, np.float32)
    integers = np.rint(np.asarray(bias, np.float64) / product).astype(np.int64 if is_wide else np.int32)
    zeros = (0,) * narrow.size
    quant = Quant(tuple(narrow.tolist()), zeros, weights.quant.axis)
    return Constant(stored, quant), integers, Quant(tuple(product.tolist()), zeros)


def check_transposed(node: Node, graph: Graph) -> Fault | None:
    """Why a ConvTranspose cannot be lowered."""
    fault = check(node, graph)
    if fault is not None:
        return fault
    if node.attrs.get("group", 1) != 1:
        return Fault("TFLite has no transposed convolution in groups", "use group=1, or Resize and Conv")
    if pair(node, "dilations") != (1, 1):
        return Fault("TFLite has no dilated transposed convolution", "use dilation 1, or Resize and Conv")
    return None


def integer_transposed(node: Node, graph: Graph) -> bool:
    """Whether LiteRT has an integer kernel for a ConvTranspose, whose weights have their output channels second."""
    return flow_quantized(node, graph) and has_integer_weights(node, graph, channel_axis=1, types=STATIC)


def lower_transposed(node: Node, to: Emitter) -> None:
    """Lower a ConvTranspose: what ONNX cuts off at the start is cut off by SAME, or by a slice afterwards."""
    graph = to.graph
    shape = graph.shape(node.outputs[0])
    kernel = graph.shape(node.inputs[1])[2:]
    source = to.read(node, 0, _LAST)
    weights, bias = filters(node, to, lambda array: array.transpose(1, 2, 3, 0), 0)
    cut = transposed_cut(node, graph)
    sizes, stride = graph.shape(node.inputs[0])[2:], pair(node, "strides")
    same = all(_is_same(shape[2 + axis], sizes[axis], kernel[axis], stride[axis], cut[axis]) for axis in (0, 1))
    result = to.write(node, _LAST)
    # TFLite wants an output that leads back to the input's size: at least all that the windows reach.
    whole = [max(shape[2 + axis] + cut[axis], (sizes[axis] - 1) * stride[axis] + kernel[axis]) for axis in (0, 1)]
    uncut = result if same else _uncut(to, result, f"{node.outputs[0]}_uncut", (shape[0], *whole, shape[1]))
    inputs = [to.integers("output_shape", to.draft.shape(uncut)), weights, source, bias]
    to.add("TRANSPOSE_CONV", inputs, [uncut], padding="SAME" if same else "VALID", **strides(node))
    if uncut != result:
        begin, size = to.integers("begin", (0, *cut, 0)), to.integers("size", to.draft.shape(result))
        to.add("SLICE", [uncut, begin, size], [result])


def _uncut(to: Emitter, result: int, name: str, shape: tuple[int, ...]) -> int:
    return result if to.draft.shape(result) == shape else to.like(result, name, shape)


def transposed_cut(node: Node, graph: Graph) -> tuple[int, ...]:
    """How much a ConvTranspose cuts off at the start of each of its output's axes behind the channels."""
    sizes, kernel = graph.shape(node.inputs[0])[2:], graph.shape(node.inputs[1])[2:]
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto == "NOTSET" and not node.attrs.get("output_shape"):
        return tuple(int(pad) for pad in (node.attrs.get("pads") or (0,) * len(sizes))[: len(sizes)])
    if auto == "VALID":
        return (0,) * len(sizes)
    strides, extra = node.attrs.get("strides") or (1,) * len(sizes), node.attrs.get("output_padding") or (0,) * len(sizes)
    cuts = []
    for axis, size in enumerate(sizes):
        total = (size - 1) * strides[axis] + kernel[axis] + extra[axis] - graph.shape(node.outputs[0])[2 + axis]
        cuts.append(max(0, total // 2 if auto == "SAME_UPPER" else total - total // 2))
    return tuple(cuts)


def _is_same(size: int, input_size: int, kernel: int, stride: int, cut: int) -> bool:
    """Whether SAME, seen from the output, cuts off as much and leads back to the input's size."""
    steps = -(-size // stride)
    total = max((steps - 1) * stride + kernel - size, 0)
    return steps == input_size and cut == total // 2

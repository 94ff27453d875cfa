"""MaxPool, AveragePool and the global poolings."""

from __future__ import annotations

import numpy as np

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Array, Fault, Graph, Node, Quant
from edgekit.engine.tflite.lowering.contract import all_quantized, integers_of
from edgekit.engine.tflite.lowering.window import Slide, Window, check_window, padded, pair, strides, window

_LAST = orders.channels_last(4)
_LOWEST = np.float32(np.finfo(np.float32).min)


def _window(node: Node, graph: Graph) -> Window:
    return window(node, graph, node.attrs["kernel_shape"])


def check(node: Node, graph: Graph) -> Fault | None:
    """Why a pooling cannot be lowered."""
    fault = check_window(node, graph)
    if fault is None and pair(node, "dilations") != (1, 1):
        return Fault("TFLite has no dilated pooling", "use dilation 1")
    if fault is None and any(slide.starts_beyond for slide in (_window(node, graph).height, _window(node, graph).width)):
        return Fault("its last window starts in the padding, which runtimes leave out and its shape counts", "use ceil_mode=0")
    return fault


def check_max(node: Node, graph: Graph) -> Fault | None:
    """Why a MaxPool cannot be lowered."""
    fault = check(node, graph)
    if fault is None and len(node.outputs) > 1 and node.outputs[1]:
        return Fault("TFLite's pooling does not say where the greatest value was", "use MaxPool without indices")
    return fault


def lower_max(node: Node, to: Emitter) -> None:
    """Lower a MaxPool. Padding must lose against every value: TFLite's own (SAME) does, zeros do after a ReLU."""
    graph = to.graph
    slides = _window(node, graph)
    source = to.read(node, 0, _LAST)
    scheme = slides.scheme
    if scheme is None:
        source, scheme = padded(to, source, slides.padding, _least(node, graph)), "VALID"
    _pool(node, to, "MAX_POOL_2D", source, scheme)


def _least(node: Node, graph: Graph) -> Array | None:
    """What to pad with; ``None`` where 0.0 is as good, which the faster PAD fills in."""
    quant = graph.quant(node.inputs[0])
    if node.integer and quant is not None:
        least = np.iinfo(quant.dtype).min
        return None if quant.zero_point[0] == least else np.asarray(least, quant.dtype)
    producer = next((other for other in graph.nodes if node.inputs[0] in other.outputs), None)
    is_positive = producer is not None and (producer.activation in ("RELU", "RELU6") or producer.op in ("Relu", "Sigmoid", "Softmax"))
    return None if is_positive else np.asarray(_LOWEST)


def _pool(node: Node, to: Emitter, op: str, source: int, scheme: str, result: int | None = None) -> None:
    """Add a pooling operator; into ``result``, without the activation, if that is given."""
    height, width = node.attrs["kernel_shape"]
    activation = "NONE" if result is not None else node.activation
    if result is None:
        quant = to.graph.quant(node.inputs[0]) if node.integer else None
        result = to.write(node, _LAST, quant=quant)
    options = {"padding": scheme, "filterHeight": height, "filterWidth": width, "fusedActivationFunction": activation}
    to.add(op, [source], [result], **options, **strides(node))


def integer_average(node: Node, graph: Graph) -> bool:
    """Whether an AveragePool is one integer operator: its padding is not counted, or counted everywhere."""
    return all_quantized(node, graph) and _divisors(node, graph) is None


def lower_average(node: Node, to: Emitter) -> None:
    """Lower an AveragePool: TFLite's SAME leaves padding out of the mean, a PAD before VALID counts it."""
    graph = to.graph
    slides = _window(node, graph)
    source = to.read(node, 0, _LAST)
    correction = _divisors(node, graph)
    scheme = slides.scheme
    leaves_out = scheme == "SAME" and not node.attrs.get("count_include_pad")
    if node.integer and not leaves_out and integers_of(node, graph) == "int8":
        _average_by_convolution(node, to, source, slides)
        return
    if scheme is not None and (scheme == "VALID" or leaves_out):
        _pool(node, to, "AVERAGE_POOL_2D", source, scheme)
        return
    source = padded(to, source, slides.padding)
    if correction is None:
        _pool(node, to, "AVERAGE_POOL_2D", source, "VALID")
        return
    result = to.write(node, _LAST)
    mean = to.like(result, f"{node.outputs[0]}_uncorrected", to.draft.shape(result))
    _pool(node, to, "AVERAGE_POOL_2D", source, "VALID", mean)
    to.add("MUL", [mean, to.constant("correction", correction)], [result], fusedActivationFunction=node.activation)


def _average_by_convolution(node: Node, to: Emitter, source: int, slides: Window) -> None:
    """The mean as a depthwise convolution by equal weights, which 127 steps of 1 / (127 x elements) hold exactly.

    It may write at any scale, where AVERAGE_POOL_2D must keep its input's, and XNNPACK has int8 kernels for it and none
    for AVERAGE_POOL_2D (measured on x86-64: four to seven times faster).
    """
    if slides.scheme is None:
        source = padded(to, source, slides.padding)
    height, width = node.attrs["kernel_shape"]
    channels = to.draft.shape(source)[3]
    quant = to.draft.quant(source)
    share = Quant((1 / (127 * height * width),), (0,))
    weights = to.constant("equal_weights", np.full((1, height, width, channels), 127, np.int8), share)
    assert quant is not None
    bias = to.constant("no_bias", np.zeros(channels, np.int32), Quant((quant.scale[0] * share.scale[0],), (0,)))
    options = {"padding": slides.scheme or "VALID", "fusedActivationFunction": node.activation, "depthMultiplier": 1}
    dilation = {"dilationHFactor": 1, "dilationWFactor": 1}
    to.add("DEPTHWISE_CONV_2D", [source, weights, bias], [to.write(node, _LAST)], **options, **dilation, **strides(node))


def _divisors(node: Node, graph: Graph) -> Array | None:
    """What a mean over whole windows has to be multiplied by where ONNX divides by less; ``None`` if nowhere.

    Returns:
        Shape (1, height, width, 1).
    """
    slides = _window(node, graph)
    counted = bool(node.attrs.get("count_include_pad"))
    if slides.scheme == "VALID" or (slides.scheme == "SAME" and not counted):
        return None
    pads = node.attrs.get("pads", (0, 0, 0, 0)) if node.attrs.get("auto_pad", "NOTSET") == "NOTSET" else (0, 0, 0, 0)
    if counted and node.attrs.get("auto_pad", "NOTSET") != "NOTSET":
        pads = (slides.height.before, slides.width.before, slides.height.after, slides.width.after)
    counts = [_counts(slide, pads[2 + axis] if counted else None) for axis, slide in enumerate((slides.height, slides.width))]
    share = (slides.height.reach / counts[0])[:, None] * (slides.width.reach / counts[1])[None, :]
    return None if np.all(share == 1) else share.astype(np.float32).reshape(1, *share.shape, 1)


def _counts(slide: Slide, padding_after: int | None) -> Array:
    """How many elements of each window ONNX counts; ``padding_after`` where padding counts too."""
    starts = np.arange(slide.steps) * slide.stride - slide.before
    low, high = (0, slide.size) if padding_after is None else (-slide.before, slide.size + padding_after)
    return np.minimum(starts + slide.reach, high) - np.maximum(starts, low)

"""Resize and Upsample of pictures: RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR.

ONNX and TFLite each have several rules for where an output pixel lies in the input. Whether one of TFLite's is the
node's own is not read off their names: both are computed for every row and column, and compared.
"""

from __future__ import annotations

import numpy as np

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Array, Fault, Graph, Node
from edgekit.engine.tflite.layout import Wish
from edgekit.engine.tflite.lowering.shape import needs_constants, scale_of
from edgekit.engine.tflite.orders import Order

_RULES = ((False, False), (False, True), (True, False))


def check(node: Node, graph: Graph) -> Fault | None:
    """Why a Resize cannot be lowered."""
    fault = needs_constants(1, 2, 3)(node, graph)
    if fault is not None:
        return fault
    if not _resized(node, graph):
        return Fault("TFLite resizes height and width of pictures only", "resize these two")
    mode = node.attrs.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        return Fault(f"TFLite has no interpolation of mode {mode}", "use nearest or linear")
    crops = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    if crops or node.attrs.get("antialias") or node.attrs.get("exclude_outside"):
        return Fault("TFLite has no antialiasing and no cropping while it resizes", "resize without it")
    if rule(node, graph) is None:
        how = node.attrs.get("coordinate_transformation_mode", "half_pixel")
        return Fault(
            f"TFLite puts the pixels elsewhere than {how}", "use half_pixel, align_corners or asymmetric, and sizes that are whole multiples"
        )
    return None


def _resized(node: Node, graph: Graph) -> tuple[int, ...]:
    """Height and width, where only they change: after the channels, or before them; else none."""
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    changed = {axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    return next((pair for pair in ((2, 3), (1, 2)) if len(before) == 4 and changed <= set(pair)), ())


def order_of(node: Node, graph: Graph) -> Order:
    """The order in which height and width are the stored axes 1 and 2."""
    return orders.plain(4) if _resized(node, graph) == (1, 2) else orders.channels_last(4)


def wish(node: Node, graph: Graph) -> Wish:
    """Channels last, which for a Resize before the channels is ONNX's own order."""
    return Wish("plain" if _resized(node, graph) == (1, 2) else "channels last")


def rule(node: Node, graph: Graph) -> tuple[bool, bool] | None:
    """``alignCorners`` and ``halfPixelCenters`` with which TFLite samples where ONNX does."""
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    for align, half in _RULES:
        if all(_agree(node, graph, axis, (before[axis], after[axis]), (align, half)) for axis in _resized(node, graph)):
            return align, half
    return None


def _agree(node: Node, graph: Graph, axis: int, sizes: tuple[int, int], choice: tuple[bool, bool]) -> bool:
    wanted = positions(node, graph, axis)
    if node.attrs.get("mode", "nearest") == "nearest":
        return bool(np.array_equal(nearest(node, wanted, sizes[0]), _tflite_nearest(*sizes, *choice)))
    return bool(np.allclose(np.clip(wanted, 0, sizes[0] - 1), _tflite_positions(*sizes, *choice), atol=1e-4))


def scale(node: Node, graph: Graph, axis: int) -> float:
    """How many times an axis grows; the node may say so for some axes only, or give sizes instead."""
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    scales, sizes = graph.numbers(node, 2), graph.numbers(node, 3)
    axes = [int(one) % len(before) for one in node.attrs.get("axes") or range(len(before))]
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    if axis not in axes:
        return 1.0
    if scales is not None and scales.size:
        return float(scales.ravel()[axes.index(axis)])
    if sizes is not None and policy != "stretch":
        found = [int(size) / before[one] for size, one in zip(sizes.ravel(), axes, strict=True)]
        return min(found) if policy == "not_larger" else max(found)
    return after[axis] / before[axis]


def positions(node: Node, graph: Graph, axis: int) -> Array:
    """Where ONNX samples each output row (or column) in the input."""
    before, after = graph.shape(node.inputs[0])[axis], graph.shape(node.outputs[0])[axis]
    index, times = np.arange(after, dtype=np.float64), scale(node, graph, axis)
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return index / times
    if mode == "align_corners":
        # By the output's whole pixels, as ONNX Runtime and PyTorch do; ONNX's reference counts with the size before it is rounded.
        return np.asarray(index * ((before - 1) / max(after - 1, 1)))
    if mode == "pytorch_half_pixel" and after == 1:
        return np.zeros(1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (index + 0.5) / times - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = after / (times * before)
        return before / 2 * (1 - adjustment) + (index + 0.5) / times - 0.5
    return _cropped(node, graph, axis)


def _cropped(node: Node, graph: Graph, axis: int) -> Array:
    """Positions within the region that tf_crop_and_resize cuts out."""
    before, after = graph.shape(node.inputs[0])[axis], graph.shape(node.outputs[0])[axis]
    region = graph.numbers(node, 1)
    axes = [int(one) % len(graph.shape(node.inputs[0])) for one in node.attrs.get("axes") or range(len(graph.shape(node.inputs[0])))]
    if region is None or axis not in axes:
        return np.arange(after, dtype=np.float64)
    first, last = (float(one) for one in region.reshape(2, -1)[:, axes.index(axis)])
    if after == 1:
        return np.array([0.5 * (first + last) * (before - 1)])
    return np.asarray(first * (before - 1) + np.arange(after) * (last - first) * (before - 1) / (after - 1))


def nearest(node: Node, positions: Array, before: int) -> Array:
    """The pixel that ONNX takes for each position; one that is meant to lie on a pixel or between two lies there."""
    positions = np.round(positions, 5)
    mode = node.attrs.get("nearest_mode", "round_prefer_floor")
    if mode == "round_prefer_floor":
        index: Array = np.ceil(positions - 0.5)
    elif mode == "round_prefer_ceil":
        index = np.floor(positions + 0.5)
    else:
        index = np.floor(positions) if mode == "floor" else np.ceil(positions)
    return np.asarray(np.clip(index, 0, before - 1))


def _tflite_nearest(before: int, after: int, align: bool, half: bool) -> Array:
    index = np.arange(after, dtype=np.float32)
    scale = np.float32((before - 1) / (after - 1) if align and after > 1 else before / after)
    position = (index + np.float32(0.5 if half else 0)) * scale
    found = np.floor(position + 0.5) if align else np.floor(position)
    return np.asarray(np.clip(found, 0, before - 1))


def _tflite_positions(before: int, after: int, align: bool, half: bool) -> Array:
    index = np.arange(after, dtype=np.float64)
    scale = (before - 1) / (after - 1) if align and after > 1 else before / after
    position = (index + 0.5) * scale - 0.5 if half else index * scale
    return np.asarray(np.clip(position, 0, before - 1))


def moves(node: Node, graph: Graph) -> bool:
    """Whether every output is one of the inputs."""
    return bool(node.attrs.get("mode", "nearest") == "nearest")


def lower(node: Node, to: Emitter) -> None:
    """Lower a Resize."""
    graph = to.graph
    order = order_of(node, graph)
    found = rule(node, graph)
    assert found is not None
    source = to.read(node, 0, order)
    result = to.write(node, order, quant=scale_of(node, to))
    op = "RESIZE_NEAREST_NEIGHBOR" if moves(node, graph) else "RESIZE_BILINEAR"
    size = to.integers("size", to.draft.shape(result)[1:3])
    to.add(op, [source, size], [result], alignCorners=found[0], halfPixelCenters=found[1])

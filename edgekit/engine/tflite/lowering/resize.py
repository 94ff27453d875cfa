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
    if node.attrs.get("antialias") or node.attrs.get("exclude_outside"):
        return Fault("TFLite has no antialiasing", "resize without it")
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
    wanted = _onnx_positions(node, _scale(node, graph, axis), *sizes)
    if node.attrs.get("mode", "nearest") == "nearest":
        return bool(np.array_equal(_nearest(node, wanted, sizes[0]), _tflite_nearest(*sizes, *choice)))
    return bool(np.allclose(np.clip(wanted, 0, sizes[0] - 1), _tflite_positions(*sizes, *choice), atol=1e-4))


def _scale(node: Node, graph: Graph, axis: int) -> float:
    """How many times an axis grows; the node may say so for some axes only, or give sizes instead."""
    scales = graph.numbers(node, 2)
    axes = [int(one) % 4 for one in node.attrs.get("axes") or range(4)]
    if scales is not None and scales.size and axis in axes:
        return float(scales.ravel()[axes.index(axis)])
    return graph.shape(node.outputs[0])[axis] / graph.shape(node.inputs[0])[axis]


def _onnx_positions(node: Node, scale: float, before: int, after: int) -> Array:
    """Where ONNX samples each output row (or column) in the input."""
    index = np.arange(after, dtype=np.float64)
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return index / scale
    if mode == "align_corners":
        return np.asarray(index * ((before - 1) / max(after - 1, 1)))
    if mode == "pytorch_half_pixel" and after == 1:
        return np.zeros(1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (index + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = after / (scale * before)
        return before / 2 * (1 - adjustment) + (index + 0.5) / scale - 0.5
    return np.full(after, np.nan)


def _nearest(node: Node, positions: Array, before: int) -> Array:
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

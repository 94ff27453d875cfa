"""Resize and Upsample of pictures: RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR.

ONNX and TFLite each have several rules for where an output pixel lies in the input. Whether one of TFLite's is the
node's own is not read off their names: both are computed for every row and column, and compared.
"""

from __future__ import annotations

import numpy as np

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Array, Fault, Graph, Node
from edgekit.engine.tflite.lowering.shape import needs_constants, scale_of

_RULES = ((False, False), (False, True), (True, False))


def check(node: Node, graph: Graph) -> Fault | None:
    """Why a Resize cannot be lowered."""
    fault = needs_constants(1, 2, 3)(node, graph)
    if fault is not None:
        return fault
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    if len(before) != 4 or before[:2] != after[:2]:
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


def rule(node: Node, graph: Graph) -> tuple[bool, bool] | None:
    """``alignCorners`` and ``halfPixelCenters`` with which TFLite samples where ONNX does."""
    before, after = graph.shape(node.inputs[0])[2:], graph.shape(node.outputs[0])[2:]
    for align, half in _RULES:
        if all(_agree(node, graph, axis, (before[axis], after[axis]), (align, half)) for axis in (0, 1)):
            return align, half
    return None


def _agree(node: Node, graph: Graph, axis: int, sizes: tuple[int, int], choice: tuple[bool, bool]) -> bool:
    wanted = _onnx_positions(node, graph, axis, *sizes)
    if node.attrs.get("mode", "nearest") == "nearest":
        return bool(np.array_equal(_nearest(node, wanted, sizes[0]), _tflite_nearest(*sizes, *choice)))
    return bool(np.allclose(np.clip(wanted, 0, sizes[0] - 1), _tflite_positions(*sizes, *choice), atol=1e-4))


def _onnx_positions(node: Node, graph: Graph, axis: int, before: int, after: int) -> Array:
    """Where ONNX samples each output row (or column) in the input."""
    scales = graph.numbers(node, 2)
    scale = float(scales.ravel()[-2 + axis]) if scales is not None and scales.size else after / before
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
    order = orders.channels_last(4)
    found = rule(node, graph)
    assert found is not None
    source = to.read(node, 0, order)
    result = to.write(node, order, quant=scale_of(node, to))
    op = "RESIZE_NEAREST_NEIGHBOR" if moves(node, graph) else "RESIZE_BILINEAR"
    size = to.integers("size", graph.shape(node.outputs[0])[2:])
    to.add(op, [source, size], [result], alignCorners=found[0], halfPixelCenters=found[1])

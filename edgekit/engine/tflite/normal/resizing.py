"""Resizes that TFLite samples elsewhere: nearest ones take rows and columns by their places, others multiply by weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.engine.tflite.graph import Array, Fault, Graph, Node
from edgekit.engine.tflite.lowering import resize
from edgekit.engine.tflite.lowering.shape import needs_constants
from edgekit.engine.tflite.normal.parts import Parts


def _resize(node: Node, graph: Graph) -> list[Node] | Fault:
    fault = needs_constants(1, 2, 3)(node, graph)
    if fault is not None:
        return fault
    if resize.check(node, graph) is None:
        return [node]
    parts = Parts(node, graph)
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    nearest = node.attrs.get("mode", "nearest") == "nearest"
    axes = [axis for axis in range(len(before)) if not _stays(node, graph, axis)]
    if not axes:
        return [Node(node.name, "Identity", node.inputs[:1], node.outputs)]
    found = node.inputs[0]
    for axis in axes:
        into = 0 if axis == axes[-1] else None
        positions = resize.positions(node, graph, axis)
        if nearest and not _looks_outside(node, positions, before[axis]).any():
            found = parts.take(found, resize.nearest(node, positions, before[axis]).astype(np.int64), axis, into=into)
        elif len(before) > 4 or (nearest and _looks_outside(node, positions, before[axis]).any()):
            return Fault("it resizes what is outside of the picture, or more than four axes", "use another coordinate_transformation_mode")
        else:
            found = _weighted(parts, found, axis, weights(node, graph, axis), into)
    outside = [_looks_outside(node, resize.positions(node, graph, axis), before[axis]) for axis in axes]
    return _filled(parts, axes, outside, after) if any(one.any() for one in outside) else parts.nodes


def _filled(parts: Parts, axes: list[int], outside: list[Array], after: tuple[int, ...]) -> list[Node]:
    """What lies outside of the picture gets the extrapolation value."""
    mask = np.zeros(after, bool)
    for axis, places in zip(axes, outside, strict=True):
        mask |= places.reshape([-1 if one == axis else 1 for one in range(len(after))])
    last = parts.nodes[-1]
    inner = parts.add("Identity", parts.node.inputs[0], shape=after)
    parts.nodes.pop()
    last.outputs = [inner]
    parts.where(parts.constant(mask, "bool"), parts.node.attrs.get("extrapolation_value", 0.0), inner, into=0)
    return parts.nodes


def _stays(node: Node, graph: Graph, axis: int) -> bool:
    """Whether every output of an axis is the input at the same place."""
    before, after = graph.shape(node.inputs[0])[axis], graph.shape(node.outputs[0])[axis]
    return before == after and bool(np.allclose(resize.positions(node, graph, axis), np.arange(before)))


def _looks_outside(node: Node, positions: Array, size: int) -> Array:
    crops = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    return np.asarray(((positions < 0) | (positions > size - 1)) & crops)


def _weighted(parts: Parts, name: str, axis: int, matrix: Array, into: int | None) -> str:
    """A product by a matrix along one axis."""
    shape = parts.shape(name)
    by = [*(one for one in range(len(shape)) if one != axis), axis]
    turned = parts.transpose(name, by)
    sizes = [*(shape[one] for one in by[:-1]), matrix.shape[0]]
    is_last = axis == len(shape) - 1
    product = parts.add("MatMul", turned, parts.constant(matrix.T), into=into if is_last else None, shape=sizes)
    return product if is_last else parts.transpose(product, [by.index(one) for one in range(len(shape))], into=into)


def weights(node: Node, graph: Graph, axis: int) -> Array:
    """How much each input of an axis adds to each output. Shape (outputs, inputs)."""
    size = graph.shape(node.inputs[0])[axis]
    scale = min(resize.scale(node, graph, axis), 1.0) if node.attrs.get("antialias") else 1.0
    kernel, reach = (_cubic(node.attrs.get("cubic_coeff_a", -0.75)), 2) if node.attrs.get("mode") == "cubic" else (_linear, 1)
    positions = resize.positions(node, graph, axis)
    matrix = np.zeros((len(positions), size))
    for row, position in enumerate(positions):
        places = np.arange(int(np.floor(position - reach / scale)), int(np.ceil(position + reach / scale)) + 1)
        shares = kernel(np.abs((places - position) * scale))
        if node.attrs.get("exclude_outside"):
            shares = shares * ((places >= 0) & (places < size))
        np.add.at(matrix[row], np.clip(places, 0, size - 1), shares / shares.sum())
    return matrix


def _linear(distance: Array) -> Array:
    return np.asarray(np.clip(1 - distance, 0, 1))


def _cubic(a: float) -> Callable[[Array], Array]:
    """Keys, "Cubic Convolution Interpolation for Digital Image Processing", IEEE Transactions on ASSP 29, 1981."""

    def kernel(distance: Array) -> Array:
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        return np.asarray(np.where(distance <= 1, near, np.where(distance < 2, far, 0.0)))

    return kernel


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {"Resize": _resize}

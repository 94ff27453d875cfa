"""Windows, paddings and blocks that TFLite has no operator for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgekit.engine.tflite.graph import Array, Constant, Fault, Graph, Node, NotConstantError
from edgekit.engine.tflite.lowering.convolution import transposed_cut
from edgekit.engine.tflite.lowering.shape import paddings
from edgekit.engine.tflite.normal import classic
from edgekit.engine.tflite.normal.parts import Parts


def _transposed(node: Node, graph: Graph) -> list[Node] | Fault:
    """A ConvTranspose: gaps between weights become zeros; groups and volumes, zeros between pixels and a Conv."""
    weights = graph.constants.get(node.inputs[1])
    rank = len(graph.shape(node.inputs[0]))
    if rank not in (4, 5) or weights is None:
        return classic.sequence(node, graph)
    if any(one != 1 for one in node.attrs.get("dilations") or ()):
        return _with_gaps(node, graph, weights)
    return [node] if rank == 4 and node.attrs.get("group", 1) == 1 else _in_groups(node, graph, weights)


def _with_gaps(node: Node, graph: Graph, weights: Constant) -> list[Node]:
    """The same with weights that have zeros in their gaps."""
    steps = node.attrs["dilations"]
    kernel = weights.shape[2:]
    sizes = [(size - 1) * step + 1 for size, step in zip(kernel, steps, strict=True)]
    wide = np.zeros((*weights.shape[:2], *sizes), weights.stored.dtype)
    if weights.quant is not None and not weights.quant.is_symmetric:
        weights = Constant(weights.real())
        wide = wide.astype(np.float32)
    wide[(slice(None), slice(None), *(slice(None, None, step) for step in steps))] = weights.stored
    name = f"{node.outputs[0]}_with_gaps"
    graph.constants[name] = Constant(wide, weights.quant)
    attrs = {**node.attrs, "dilations": [1] * len(steps), "kernel_shape": sizes}
    return [Node(node.name, node.op, [node.inputs[0], name, *node.inputs[2:]], node.outputs, attrs)]


def _in_groups(node: Node, graph: Graph, weights: Constant) -> list[Node]:
    """Zeros between and around the pixels, then a Conv by the weights turned about, which TFLite has in groups.

    The zeros are one row and one column behind the picture, taken by their place as often as they are wanted.
    """
    parts = Parts(node, graph)
    array, groups = weights.real(), node.attrs.get("group", 1)
    batch, channels, *sizes = parts.shape(node.inputs[0])
    kernel, wanted = array.shape[2:], parts.shape(node.outputs[0])[2:]
    before, strides = transposed_cut(node, graph), node.attrs.get("strides") or [1] * len(sizes)
    pads = parts.constant(np.array([0] * (len(sizes) + 4) + [1] * len(sizes)), "int64")
    found = parts.add("Pad", node.inputs[0], pads, shape=(batch, channels, *(size + 1 for size in sizes)))
    for axis, size in enumerate(sizes):
        places = np.full(wanted[axis] + kernel[axis] - 1, size)
        spread = np.arange(size) * strides[axis] + kernel[axis] - 1 - before[axis]
        inside = (spread >= 0) & (spread < len(places))
        places[spread[inside]] = np.arange(size)[inside]
        found = parts.take(found, places, axis + 2)
    turned = np.flip(array, tuple(range(2, array.ndim))).reshape(groups, channels // groups, array.shape[1], *kernel)
    filters = parts.constant(np.swapaxes(turned, 1, 2).reshape(groups * array.shape[1], channels // groups, *kernel))
    parts.add("Conv", found, filters, *node.inputs[2:], into=0, group=groups)
    return parts.nodes


def _pad(node: Node, graph: Graph) -> list[Node] | Fault:
    """What is taken away goes by Slice; edges, and what comes round again, are taken by their places."""
    try:
        around = paddings(node, graph)
    except NotConstantError:
        return [node]
    mode = node.attrs.get("mode", "constant")
    sizes = graph.shape(node.inputs[0])
    is_positive = all(before >= 0 and after >= 0 for before, after in around)
    if is_positive and (mode == "constant" or (mode == "reflect" and _fits_mirror(around, sizes))):
        return [node]
    parts = Parts(node, graph)
    found = node.inputs[0]
    if mode == "constant":
        for axis, (before, after) in enumerate(around):
            if before < 0 or after < 0:
                found = parts.slice(found, axis, max(-before, 0), sizes[axis] + min(after, 0))
        kept = [max(pads[side], 0) for side in (0, 1) for pads in around]
        parts.add("Pad", found, parts.constant(np.array(kept), "int64"), *node.inputs[2:3], into=0)
        return parts.nodes
    changed = [axis for axis, pads in enumerate(around) if pads != (0, 0)]
    if not changed:
        return [Node(node.name, "Identity", node.inputs[:1], node.outputs)]
    for axis in changed:
        places = _places(mode, np.arange(-around[axis][0], sizes[axis] + around[axis][1]), sizes[axis])
        found = parts.take(found, places, axis, into=0 if axis == changed[-1] else None)
    return parts.nodes


def _fits_mirror(around: Sequence[tuple[int, int]], sizes: Sequence[int]) -> bool:
    return all(max(pads) < size or pads == (0, 0) for pads, size in zip(around, sizes, strict=True))


def _places(mode: str, index: Array, size: int) -> Array:
    if mode == "wrap":
        return np.asarray(index % size)
    if mode == "edge" or size == 1:
        return np.asarray(np.clip(index, 0, size - 1))
    around = index % (2 * (size - 1))
    return np.asarray(np.minimum(around, 2 * (size - 1) - around))


def _blocks(node: Node, graph: Graph) -> list[Node] | Fault:
    """DepthToSpace in the mode CRD: its channels sorted as the mode DCR has them."""
    if node.attrs.get("mode", "DCR") != "CRD":
        return [node]
    parts = Parts(node, graph)
    block = node.attrs["blocksize"]
    channels = parts.shape(node.inputs[0])[1]
    order = np.arange(channels).reshape(-1, block * block).T.reshape(-1)
    parts.add("DepthToSpace", parts.take(node.inputs[0], order, 1), into=0, blocksize=block, mode="DCR")
    return parts.nodes


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {"ConvTranspose": _transposed, "DepthToSpace": _blocks, "Pad": _pad}

"""Conv over volumes: over pictures, one for each depth of the kernel, and their sum.

TFLite's CONV_3D has neither groups nor a kernel of XNNPACK's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.engine.tflite.graph import Fault, Graph, Node
from edgekit.engine.tflite.normal import classic
from edgekit.engine.tflite.normal.parts import Parts
from edgekit.engine.tflite.normal.pooling import window_axes

_DEPTH_BEFORE_CHANNELS = (0, 2, 1, 3, 4)


def _conv(node: Node, graph: Graph) -> list[Node] | Fault:
    weights = graph.constants.get(node.inputs[1])
    if len(graph.shape(node.inputs[0])) != 5:
        return classic.sequence(node, graph)
    if weights is None:
        return Fault("its weights are computed, which TFLite has for pictures alone", "make them constants")
    parts, array = Parts(node, graph), weights.real()
    depth, *plane = window_axes(node, graph, array.shape[2:])
    source = node.inputs[0]
    if depth.before or depth.after:
        sizes = list(parts.shape(source))
        sizes[2] += depth.before + depth.after
        pads = np.array([[0, 0, side, 0, 0] for side in (depth.before, depth.after)]).ravel()
        source = parts.add("Pad", source, parts.constant(pads, "int64"), shape=sizes)
    source = parts.transpose(source, _DEPTH_BEFORE_CHANNELS)
    batch, channels, height, width = (parts.shape(source)[axis] for axis in (0, 2, 3, 4))
    _, filters, *after = parts.shape(node.outputs[0])
    attrs = {
        "group": node.attrs.get("group", 1),
        "strides": [axis.stride for axis in plane],
        "dilations": [axis.dilation for axis in plane],
        "pads": [side for sides in ([axis.before for axis in plane], [axis.after for axis in plane]) for side in sides],
    }
    total = ""
    for one in range(depth.kernel):
        first = one * depth.dilation
        slices = parts.slice(source, 1, first, first + (depth.steps - 1) * depth.stride + 1, depth.stride)
        pictures = parts.reshape(slices, (batch * depth.steps, channels, height, width))
        bias = node.inputs[2:3] if one == 0 else []
        shape = (batch * depth.steps, filters, *after[1:])
        found = parts.add("Conv", pictures, parts.constant(array[:, :, one]), *bias, shape=shape, **attrs)
        total = parts.add("Add", total, found) if total else found
    parts.transpose(parts.reshape(total, (batch, depth.steps, filters, *after[1:])), _DEPTH_BEFORE_CHANNELS, into=0)
    return parts.nodes


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {"Conv": _conv}

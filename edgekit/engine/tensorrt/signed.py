"""Q/DQ that says what TensorRT takes in a form that it does not take, said in the one that it does.

TensorRT reads int8 at zero point 0 and a float bias. uint8 at zero point 128 is the same numbers and the same limits with
128 taken off; a constant of int32, which is how others store a bias, is worth as much as a float constant.
"""

from __future__ import annotations

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

_Q, _DQ = "QuantizeLinear", "DequantizeLinear"
_MIDDLE = 128


def to_signed(graph: Graph) -> None:
    """Rewrite, in place, what can be said exactly; the rest stays for the check to refuse."""
    for node in graph.walk(_DQ):
        _float_bias(graph, node)
    for node in graph.walk(_Q):
        readers = graph.users(node.outputs[0])
        if node.outputs[0] not in graph.pinned and _is_centred(graph, node) and all(_reads_alike(graph, one, node) for one in readers):
            for one in (node, *readers):
                _shift_zero_point(graph, one)
            graph.set_type(node.outputs[0], _int8(), graph.shape(node.outputs[0]))
    for node in graph.walk(_DQ):
        if graph.is_constant(node.inputs[0]) and _is_centred(graph, node):
            integers = graph.constant(node.inputs[0])
            if integers is not None and integers.dtype == np.uint8:
                graph.set_constant_input(node, 0, (integers.astype(np.int16) - _MIDDLE).astype(np.int8))
                _shift_zero_point(graph, node)


def _float_bias(graph: Graph, node: Node) -> None:
    integers, scale = graph.constant(node.inputs[0]), graph.constant(node.input(1))
    if integers is None or scale is None or integers.dtype != np.int32 or node.outputs[0] in graph.pinned or node.get("block_size", 0):
        return
    zero_point = graph.constant(node.input(2)) if node.input(2) else np.zeros(scale.shape, np.int32)
    if zero_point is None:
        return
    along = [1] * integers.ndim
    if scale.size > 1:
        along[node.get("axis", 1)] = scale.size
    shape = along if scale.size > 1 else ()
    values = (integers.astype(np.int64) - zero_point.reshape(shape)).astype(scale.dtype) * scale.reshape(shape)
    graph.remove(node)
    graph.name_constant(node.outputs[0], values.astype(scale.dtype))


def _is_centred(graph: Graph, node: Node) -> bool:
    zero_point = graph.constant(node.input(2)) if node.input(2) else None
    return zero_point is not None and zero_point.dtype == np.uint8 and bool((zero_point == _MIDDLE).all())


def _reads_alike(graph: Graph, reader: Node, quantize: Node) -> bool:
    return reader.op == _DQ and reader.inputs[0] == quantize.outputs[0] and _is_centred(graph, reader)


def _shift_zero_point(graph: Graph, node: Node) -> None:
    zero_point = graph.constant(node.input(2))
    assert zero_point is not None, "centred"
    graph.set_input(node, 2, graph.add_constant(np.zeros(zero_point.shape, np.int8), f"{node.input(2)}_signed"))
    if node.get("output_dtype", 0):
        graph.set_attributes(node, output_dtype=None)


def _int8() -> int:
    import onnx

    return int(onnx.TensorProto.INT8)

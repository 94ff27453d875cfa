"""A dense layer whose numbers become a picture computes them in the order that TFLite stores pictures in.

Decoders (autoencoders, generators) begin so: Gemm, perhaps an activation, Reshape to (n, c, h, w), convolutions. Sorting the
rows of the matrix beforehand saves the Transpose of the picture.
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgekit.engine.tflite.graph import Array, Constant, Graph, Node, Quant, Value

_OF_PICTURES = frozenset({"AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "MaxPool", "Resize"})
_OF_ELEMENTS = frozenset({"Clip", "Elu", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
_LAST = (0, 2, 3, 1)


def sort_rows(graph: Graph) -> None:
    """Sort, in place, what the dense layers before pictures compute, where nobody else reads it."""
    consumers = graph.consumers()
    producers = {name: node for node in graph.nodes for name in node.outputs}
    for node in list(graph.nodes):
        if node.op != "Reshape" or not _becomes_picture(graph, node, consumers):
            continue
        dense = _dense_before(graph, node.inputs[0], consumers, producers)
        if dense is not None:
            _, channels, height, width = graph.shape(node.outputs[0])
            places = np.arange(channels * height * width).reshape(channels, height, width).transpose(1, 2, 0).ravel()
            _sort(graph, dense, places)
            _turn(graph, node)


def _becomes_picture(graph: Graph, node: Node, consumers: dict[str, list[Node]]) -> bool:
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    if len(before) != 2 or len(after) != 4 or before[0] != after[0] or after[1] == 1 or prod(after[2:]) == 1:
        return False
    name = node.outputs[0]
    while len(readers := consumers.get(name, [])) == 1 and readers[0].op in _OF_ELEMENTS:
        name = readers[0].outputs[0]
    return any(reader.op in _OF_PICTURES and reader.inputs[0] == name for reader in readers)


def _dense_before(graph: Graph, name: str, consumers: dict[str, list[Node]], producers: dict[str, Node]) -> Node | None:
    while len(consumers.get(name, [])) == 1 and name not in graph.outputs.values() and name in producers:
        node = producers[name]
        if node.op in ("Gemm", "MatMul"):
            constants = all(graph.is_constant(one) for one in node.inputs[1:] if one)
            return node if constants and len(graph.constants[node.inputs[1]].shape) == 2 else None
        if node.op not in _OF_ELEMENTS:
            return None
        name = node.inputs[0]
    return None


def _sort(graph: Graph, dense: Node, places: Array) -> None:
    for index, name in enumerate(dense.inputs[1:], 1):
        if not name:
            continue
        constant = graph.constants[name]
        axis = 0 if index == 1 and dense.attrs.get("transB") else len(constant.shape) - 1
        if not constant.shape or constant.shape[axis] != places.size:
            continue
        sorted_name = f"{name}_of_{dense.outputs[0]}"
        graph.constants[sorted_name] = Constant(np.take(constant.stored, places, axis), _sorted(constant.quant, axis, len(constant.shape), places))
        dense.inputs[index] = sorted_name


def _sorted(quant: Quant | None, axis: int, rank: int, places: Array) -> Quant | None:
    if quant is None or quant.is_per_tensor or quant.axis % rank != axis:
        return quant
    return Quant(tuple(quant.scale[place] for place in places), tuple(quant.zero_point[place] for place in places), quant.axis, quant.dtype)


def _turn(graph: Graph, node: Node) -> None:
    result = node.outputs[0]
    value, shape = graph.values[result], graph.shape(result)
    stored = tuple(shape[axis] for axis in _LAST)
    last, sizes = f"{result}_channels_last", f"{result}_sizes"
    graph.values[last] = Value(stored, value.dtype, value.quant)
    graph.constants[sizes] = Constant(np.array(stored))
    node.inputs, node.outputs = [node.inputs[0], sizes], [last]
    graph.nodes.insert(graph.nodes.index(node) + 1, Node(f"{node.name}_channels_first", "Transpose", [last], [result], {"perm": [0, 3, 1, 2]}))

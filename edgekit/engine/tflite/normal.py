"""One form for what ONNX can say in several, so that no lowering meets them all."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from edgekit.engine.tflite.graph import Array, Constant, Graph, Node, Value

_SLIDING = ("AveragePool", "Conv", "ConvTranspose", "MaxPool")


def normalize(graph: Graph) -> None:
    """Rewrite, in place: factors of a Gemm go into its constants, its bias into an Add if it is no row; Div by a number
    is Mul by its inverse, PRelu with one slope is LeakyRelu; Sum, Max and Min of several become a chain of pairs; what
    slides over sequences slides over pictures of height 1; a BatchNormalization that nothing took up is Mul and Add.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        rewrite = _REWRITES.get(node.op)
        nodes += [node] if rewrite is None else rewrite(node, graph)
    graph.nodes = nodes


def _gemm(node: Node, graph: Graph) -> list[Node]:
    for index, factor in ((1, node.attrs.get("alpha", 1.0)), (2, node.attrs.get("beta", 1.0))):
        if factor != 1.0 and index < len(node.inputs) and graph.is_constant(node.inputs[index]):
            node.inputs[index] = _new_constant(graph, f"{node.inputs[index]}_times_{factor}", graph.constants[node.inputs[index]].real() * factor)
            node.attrs["alpha" if index == 1 else "beta"] = 1.0
    if len(node.inputs) < 3 or not node.inputs[2]:
        return [node]
    bias, columns = node.inputs[2], graph.shape(node.outputs[0])[-1]
    is_row = graph.is_constant(bias) and (prod(graph.shape(bias)) == 1 or (prod(graph.shape(bias)), graph.shape(bias)[-1]) == (columns, columns))
    if is_row or node.attrs.get("beta", 1.0) != 1.0:
        return [node]
    result, product = node.outputs[0], f"{node.outputs[0]}_product"
    graph.values[product] = Value(graph.values[result].shape, "float32")
    dense = Node(node.name, "Gemm", node.inputs[:2], [product], node.attrs, dynamic=node.dynamic)
    return [dense, Node(f"{node.name}_bias", "Add", [product, bias], [result])]


def _div(node: Node, graph: Graph) -> list[Node]:
    divisor = graph.constants.get(node.inputs[1])
    is_number = divisor is not None and divisor.stored.size == 1 and divisor.real().dtype.kind == "f"
    if divisor is None or not is_number or not divisor.real().all():
        return [node]
    inverse = _new_constant(graph, f"{node.inputs[1]}_inverse", 1.0 / divisor.real())
    return [Node(node.name, "Mul", [node.inputs[0], inverse], node.outputs)]


def _prelu(node: Node, graph: Graph) -> list[Node]:
    slope = graph.constants.get(node.inputs[1])
    if slope is None or slope.stored.size != 1:
        return [node]
    return [Node(node.name, "LeakyRelu", node.inputs[:1], node.outputs, {"alpha": float(slope.real().reshape(()))})]


def _chain(node: Node, graph: Graph) -> list[Node]:
    op = "Add" if node.op == "Sum" else node.op
    if len(node.inputs) == 1:
        return [Node(node.name, "Identity", node.inputs, node.outputs)]
    nodes, left, value = [], node.inputs[0], graph.values[node.outputs[0]]
    for number, right in enumerate(node.inputs[1:], 1):
        last = number == len(node.inputs) - 1
        result = node.outputs[0] if last else f"{node.outputs[0]}_{number}"
        if not last:
            shape = np.broadcast_shapes(graph.shape(left), graph.shape(right))
            graph.values[result] = Value(shape, value.dtype, value.quant if op in ("Max", "Min") else None)
        nodes.append(Node(node.name if last else f"{node.name}_{number}", op, [left, right], [result]))
        left = result
    return nodes


def _normalization(node: Node, graph: Graph) -> list[Node]:
    if any(name not in graph.constants for name in node.inputs[1:5]) or any(node.outputs[1:]):
        return [node]
    scale, bias, mean, variance = (graph.constants[name].real() for name in node.inputs[1:5])
    factor = scale / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    result, inner = node.outputs[0], f"{node.outputs[0]}_scaled"
    shape = graph.shape(node.inputs[0])
    along = (-1, *(1,) * (len(shape) - 2))
    graph.values[inner] = Value(shape, "float32")
    by = _new_constant(graph, f"{result}_factor", factor.reshape(along))
    shift = _new_constant(graph, f"{result}_shift", (bias - mean * factor).reshape(along))
    return [Node(f"{node.name}_scale", "Mul", [node.inputs[0], by], [inner]), Node(node.name, "Add", [inner, shift], node.outputs[:1])]


def _sequence(node: Node, graph: Graph) -> list[Node]:
    """Unsqueeze, the same over pictures of height 1, Squeeze."""
    source, result = node.inputs[0], node.outputs[0]
    weights = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    has_computed_weights = len(node.inputs) > 1 and weights is None
    if len(graph.shape(source)) != 3 or has_computed_weights or any(node.outputs[1:]):
        return [node]
    names = [f"{result}_from_picture", f"{result}_as_picture"]
    for name, flat in zip(names, (source, result), strict=True):
        batch, channels, steps = graph.shape(flat)
        graph.values[name] = Value((batch, channels, 1, steps), "float32")
    axes = f"{node.name}_height"
    graph.constants[axes] = Constant(np.array([2]))
    inputs = [names[0], *node.inputs[1:]]
    if weights is not None:
        inputs[1] = f"{node.inputs[1]}_as_picture"
        graph.constants[inputs[1]] = Constant(weights.stored[:, :, None], weights.quant)
    attrs = {key: _for_pictures(key, value) for key, value in node.attrs.items()}
    return [
        Node(f"{node.name}_before", "Unsqueeze", [source, axes], names[:1]),
        Node(node.name, node.op, inputs, names[1:], attrs, dynamic=node.dynamic),
        Node(f"{node.name}_after", "Squeeze", [names[1], axes], [result]),
    ]


def _for_pictures(key: str, value: Any) -> Any:
    """An attribute of a window over sequences, for one over pictures of height 1."""
    if key == "pads":
        return [0, value[0], 0, value[1]]
    if key in ("strides", "dilations", "kernel_shape"):
        return [1, *value]
    return [0 if key == "output_padding" else 1, *value] if key in ("output_padding", "output_shape") else value


def _new_constant(graph: Graph, name: str, array: Array) -> str:
    graph.constants[name] = Constant(np.asarray(array, np.float32))
    return name


_REWRITES = {
    "Gemm": _gemm,
    "Div": _div,
    "PRelu": _prelu,
    "Sum": _chain,
    "Max": _chain,
    "Min": _chain,
    "BatchNormalization": _normalization,
    **dict.fromkeys(_SLIDING, _sequence),
}

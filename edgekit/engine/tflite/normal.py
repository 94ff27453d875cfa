"""One form for what ONNX can say in several, so that no lowering meets them all."""

from __future__ import annotations

from math import prod

import numpy as np

from edgekit.engine.tflite.graph import Array, Constant, Graph, Node, Value


def normalize(graph: Graph) -> None:
    """Rewrite, in place: factors of a Gemm go into its constants, its bias into an Add if it is no row; Div by a number
    is Mul by its inverse, PRelu with one slope is LeakyRelu; Sum, Max and Min of several become a chain of pairs.
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
    dense = Node(node.name, "Gemm", node.inputs[:2], [product], node.attrs)
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


def _new_constant(graph: Graph, name: str, array: Array) -> str:
    graph.constants[name] = Constant(np.asarray(array, np.float32))
    return name


_REWRITES = {"Gemm": _gemm, "Div": _div, "PRelu": _prelu, "Sum": _chain, "Max": _chain, "Min": _chain}

"""What is the same with another name: divisions by a number, sums of several, windows over sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.engine.tflite.graph import Array, Constant, Fault, Graph, Node, Value


def _div(node: Node, graph: Graph) -> list[Node]:
    divisor = graph.constants.get(node.inputs[1])
    is_number = divisor is not None and divisor.stored.size == 1 and divisor.real().dtype.kind == "f"
    if divisor is None or not is_number or not divisor.real().all():
        return [node]
    inverse = _new_constant(graph, f"{node.inputs[1]}_inverse", 1.0 / divisor.real())
    return [Node(node.name, "Mul", [node.inputs[0], inverse], node.outputs)]


def _chain(node: Node, graph: Graph) -> list[Node]:
    op = "Add" if node.op == "Sum" else node.op
    if op == node.op and len(node.inputs) == 2:
        return [node]
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


def sequence(node: Node, graph: Graph) -> list[Node]:
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


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {
    "Div": _div,
    "Sum": _chain,
    "Max": _chain,
    "Min": _chain,
}

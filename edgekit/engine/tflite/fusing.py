"""What TFLite has in one operation and ONNX in several: activations after arithmetic, a bias after a matrix product."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgekit.engine.tflite.graph import Constant, Graph, Node, NotConstantError

FUSED = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
_MOVES = frozenset({"Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose"})


def bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """The least and greatest value that a Relu or Clip lets pass; ``None`` for any other node, or if they are computed."""
    if node.op == "Relu":
        return 0.0, math.inf
    if node.op != "Clip":
        return None
    try:
        low, high = graph.numbers(node, 1), graph.numbers(node, 2)
    except NotConstantError:
        return None
    least = -math.inf if low is None else float(low.reshape(()))
    greatest = math.inf if high is None else float(high.reshape(()))
    return (-math.inf if least <= -3.4e38 else least), (math.inf if greatest >= 3.4e38 else greatest)


def fuse(graph: Graph, takes_activation: Callable[[Node], bool]) -> None:
    """Join nodes that TFLite computes as one, and drop what does nothing.

    Args:
        graph: a settled graph, changed in place.
        takes_activation: whether a node's lowering applies an activation by itself.
    """
    _drop_identities(graph)
    _join_biases(graph)
    _drop_axes_of_means(graph)
    _join_activations(graph, takes_activation)


def _drop_identities(graph: Graph) -> None:
    known_as: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        node.inputs = [known_as.get(name, name) for name in node.inputs]
        source, result = (node.inputs or [""])[0], (node.outputs or [""])[0]
        if node.op not in ("Identity", "Dropout") or not _can_stand_for(graph, source, result):
            kept.append(node)
        elif source in graph.constants:
            graph.constants[result] = graph.constants[source]
        else:
            graph.values[source].quant = graph.values[source].quant or graph.values[result].quant
            known_as[result] = source
    graph.nodes = kept
    graph.outputs = {port: known_as.get(name, name) for port, name in graph.outputs.items()}


def _can_stand_for(graph: Graph, source: str, result: str) -> bool:
    """A quantized result of a source that others use unquantized must stay apart; so must one of another scale."""
    if source in graph.constants:
        return True
    before, after = graph.values[source].quant, graph.values[result].quant
    alone = len(graph.consumers().get(source, [])) == 1 and source not in graph.outputs.values()
    return after is None or before == after or (before is None and alone)


def _join_biases(graph: Graph) -> None:
    """MatMul by a constant, then Add of a constant row, is one MatMul with three inputs."""
    consumers = graph.consumers()
    producers = {name: node for node in graph.nodes for name in node.outputs}
    for node in list(graph.nodes):
        if node.op != "Add":
            continue
        computed = graph.computed(node)
        before = producers.get(computed[0]) if len(computed) == 1 else None
        if before is None or before.op != "MatMul" or len(before.inputs) != 2 or not graph.is_constant(before.inputs[1]):
            continue
        row = next(name for name in node.inputs if name != computed[0])
        columns = graph.constants[before.inputs[1]].shape[-1:]
        shape = graph.constants[row].shape
        grows = graph.shape(node.outputs[0]) != graph.shape(computed[0])
        is_row = shape[-1:] == columns and math.prod(shape) == columns[0] and not grows
        if is_row and len(graph.constants[before.inputs[1]].shape) == 2 and _is_inner(graph, computed[0], consumers):
            before.inputs.append(row)
            before.outputs = list(node.outputs)
            graph.nodes.remove(node)


def _drop_axes_of_means(graph: Graph) -> None:
    """A mean over height and width, then a Reshape that only drops these axes, is one mean that keeps neither."""
    consumers = graph.consumers()
    for node in list(graph.nodes):
        if not _is_mean_of_picture(graph, node):
            continue
        mean = node.outputs[0]
        readers = consumers.get(mean, [])
        if len(readers) != 1 or readers[0].op not in ("Flatten", "Reshape", "Squeeze") or mean in graph.outputs.values():
            continue
        result = readers[0].outputs[0]
        before, after = graph.values[mean].quant, graph.values[result].quant
        if graph.shape(result) != graph.shape(mean)[:2] or (after is not None and before != after):
            continue
        axes = f"{node.name}_height_and_width"
        graph.constants[axes] = Constant(np.array([2, 3]))
        graph.values[result].quant = before
        node.op, node.inputs, node.outputs, node.attrs = "ReduceMean", [node.inputs[0], axes], [result], {"keepdims": 0}
        graph.nodes.remove(readers[0])


def _is_mean_of_picture(graph: Graph, node: Node) -> bool:
    if node.op not in ("GlobalAveragePool", "ReduceMean") or len(graph.shape(node.inputs[0])) != 4:
        return False
    if node.op == "GlobalAveragePool":
        return True
    axes = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return bool(node.attrs.get("keepdims", 1)) and axes is not None and {int(axis) % 4 for axis in axes.stored.ravel()} == {2, 3}


def _join_activations(graph: Graph, takes_activation: Callable[[Node], bool]) -> None:
    consumers = graph.consumers()
    producers = {name: node for node in graph.nodes for name in node.outputs}
    for node in list(graph.nodes):
        limits = bounds(graph, node)
        before = producers.get(node.inputs[0]) if limits is not None else None
        if limits is None or before is None or not _is_inner(graph, node.inputs[0], consumers):
            continue
        name = FUSED.get(limits)
        source = _behind_moves(graph, before, consumers, producers)
        if name is not None and source.activation == "NONE" and takes_activation(source):
            source.activation = name
        elif not (len(before.outputs) == 1 and _is_implied(graph, node, limits)):
            continue
        before.outputs = list(node.outputs)
        producers[node.outputs[0]] = before
        graph.nodes.remove(node)


def _behind_moves(graph: Graph, node: Node, consumers: dict[str, list[Node]], producers: dict[str, Node]) -> Node:
    """The node whose output this one only moves, if nobody else reads it; an activation may as well be applied there."""
    while node.op in _MOVES and node.inputs[0] in producers and _is_inner(graph, node.inputs[0], consumers):
        node = producers[node.inputs[0]]
    return node


def _is_inner(graph: Graph, name: str, consumers: dict[str, list[Node]]) -> bool:
    """Whether a value has one reader and is stored nowhere: neither rounded to integers nor handed out."""
    return len(consumers.get(name, [])) == 1 and graph.values[name].quant is None and name not in graph.outputs.values()


def _is_implied(graph: Graph, node: Node, limits: tuple[float, float]) -> bool:
    """Whether rounding the output to its integers already cuts off all that the node would."""
    quant = graph.values[node.outputs[0]].quant
    if quant is None:
        return False
    low, high = quant.real_range()
    slack = 0.49 * quant.scale[0]
    return limits[0] <= low + slack and limits[1] >= high - slack

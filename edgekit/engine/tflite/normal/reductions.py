"""Reductions that are made of sums, extremes and functions of single elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.engine.tflite.graph import Fault, Graph, Node, NotConstantError
from edgekit.engine.tflite.normal.parts import Parts


def _rest(parts: Parts, op: str, name: str, into: int | None = None) -> str:
    """The same reduction by another operator, of another tensor of the same shape."""
    node = parts.node
    return parts.add(op, name, *node.inputs[1:2], into=into, shape=parts.shape(node.outputs[0]), **node.attrs)


def _absolute(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    _rest(parts, "ReduceSum", parts.add("Abs", node.inputs[0]), 0)
    return parts.nodes


def _squares(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    _rest(parts, "ReduceSum", parts.add("Mul", node.inputs[0], node.inputs[0]), 0)
    return parts.nodes


def _length(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    parts.add("Sqrt", _rest(parts, "ReduceSumSquare", node.inputs[0]), into=0)
    return parts.nodes


def _log_of_sum(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    parts.add("Log", _rest(parts, "ReduceSum", node.inputs[0]), into=0)
    return parts.nodes


def _log_of_exponentials(node: Node, graph: Graph) -> list[Node] | Fault:
    """log(sum(exp(x - greatest))) + greatest, in which exp never overflows."""
    parts = Parts(node, graph)
    source = node.inputs[0]
    try:
        given = graph.numbers(node, 1)
    except NotConstantError as error:
        return Fault(f"{error} is computed", "make the axes a constant")
    rank = len(parts.shape(source))
    if (given is None or not given.size) and node.attrs.get("noop_with_empty_axes"):
        return [Node(node.name, "Identity", node.inputs[:1], node.outputs)]
    axes = sorted({int(axis) % rank for axis in given.ravel()} if given is not None and given.size else range(rank))
    greatest = parts.reduce("ReduceMax", source, axes)
    total = parts.reduce("ReduceSum", parts.add("Exp", parts.add("Sub", source, greatest)), axes)
    if node.attrs.get("keepdims", 1):
        parts.add("Add", parts.add("Log", total), greatest, into=0)
    else:
        parts.reshape(parts.add("Add", parts.add("Log", total), greatest), parts.shape(node.outputs[0]), into=0)
    return parts.nodes


def _last_of_several(node: Node, graph: Graph) -> list[Node] | Fault:
    """The last place of the greatest or least is the first one seen from the end."""
    if not node.attrs.get("select_last_index"):
        return [node]
    parts = Parts(node, graph)
    source = node.inputs[0]
    size, rank = parts.shape(source), len(parts.shape(source))
    axis = node.attrs.get("axis", 0) % rank
    turned = parts.slice(source, axis, -1, -(2**31), -1)
    attrs = {"axis": axis, "keepdims": node.attrs.get("keepdims", 1)}
    found = parts.add(node.op, turned, shape=parts.shape(node.outputs[0]), dtype="int64", **attrs)
    last = parts.constant(np.array(size[axis] - 1), "int64")
    parts.add("Sub", last, found, into=0)
    return parts.nodes


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {
    "ArgMax": _last_of_several,
    "ArgMin": _last_of_several,
    "ReduceL1": _absolute,
    "ReduceL2": _length,
    "ReduceLogSum": _log_of_sum,
    "ReduceLogSumExp": _log_of_exponentials,
    "ReduceSumSquare": _squares,
}

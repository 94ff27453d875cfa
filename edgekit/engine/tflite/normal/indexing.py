"""Places of elements as TFLite counts them: from 0, in one table for all axes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from edgekit.engine.tflite.graph import Array, Fault, Graph, Node
from edgekit.engine.tflite.normal.parts import Parts


def _counted(parts: Parts, name: str, sizes: Array) -> str:
    """Places counted from 0, where they may be counted from the end."""
    constant = parts.graph.constants.get(name)
    if constant is not None:
        return parts.constant(np.where(constant.stored < 0, constant.stored + sizes, constant.stored), "int64")
    return parts.add("Mod", name, parts.constant(sizes, parts.dtype(name)), shape=parts.shape(name))


def _is_counted(node: Node, graph: Graph, place: int) -> bool:
    """Whether a node's places are constant, or come from here."""
    return graph.is_constant(node.inputs[place]) or bool(node.attrs.get("counted"))


def _gather(node: Node, graph: Graph) -> list[Node] | Fault:
    if _is_counted(node, graph, 1):
        return [node]
    parts = Parts(node, graph)
    axis = node.attrs.get("axis", 0) % len(parts.shape(node.inputs[0]))
    places = _counted(parts, node.inputs[1], np.array(parts.shape(node.inputs[0])[axis]))
    parts.add("Gather", node.inputs[0], places, into=0, axis=axis, counted=1)
    return parts.nodes


def _gather_nd(node: Node, graph: Graph) -> list[Node] | Fault:
    """Batch axes become further columns of places."""
    batch = node.attrs.get("batch_dims", 0)
    if not batch and _is_counted(node, graph, 1):
        return [node]
    parts = Parts(node, graph)
    shape, rows = parts.shape(node.inputs[0]), parts.shape(node.inputs[1])
    places = _counted(parts, node.inputs[1], np.array(shape[batch : batch + rows[-1]]))
    columns = [_coordinates(parts, rows[:-1], axis, parts.dtype(places)) for axis in range(batch)]
    places = parts.concat([*columns, places], len(rows) - 1)
    parts.add("GatherND", node.inputs[0], places, into=0, counted=1)
    return parts.nodes


def _coordinates(parts: Parts, sizes: tuple[int, ...], axis: int, dtype: str) -> str:
    """The place along one axis of every element, as a column."""
    return parts.constant(np.indices(sizes)[axis][..., None], dtype)


def _table(parts: Parts, indices: str, axis: int, size: int) -> str:
    """Places along one axis as rows of places along all."""
    sizes = parts.shape(indices)
    places = _counted(parts, indices, np.array(size))
    dtype = parts.dtype(places)
    column = parts.reshape(places, (*sizes, 1))
    columns = [column if one == axis else _coordinates(parts, sizes, one, dtype) for one in range(len(sizes))]
    return parts.concat(columns, len(sizes))


def _gather_elements(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    shape = parts.shape(node.inputs[0])
    axis = node.attrs.get("axis", 0) % len(shape)
    parts.add("GatherND", node.inputs[0], _table(parts, node.inputs[1], axis, shape[axis]), into=0, counted=1)
    return parts.nodes


def _scatter_elements(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    shape = parts.shape(node.inputs[0])
    axis = node.attrs.get("axis", 0) % len(shape)
    return _scattered(parts, _table(parts, node.inputs[1], axis, shape[axis]))


def _scatter_nd(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    columns = parts.shape(node.inputs[1])[-1]
    return _scattered(parts, _counted(parts, node.inputs[1], np.array(parts.shape(node.inputs[0])[:columns])))


def _scattered(parts: Parts, places: str) -> list[Node] | Fault:
    """Updates put into zeros, and taken from there where anything was put."""
    node, reduction = parts.node, parts.node.attrs.get("reduction", "none")
    data, updates = node.inputs[0], node.inputs[2]
    if parts.dtype(data) == "bool":
        return Fault("TFLite has no scatter of bool", "cast to int32 around it")
    if reduction not in ("none", "add"):
        return _combined(parts, places)
    shape = parts.shape(data)
    constant = parts.graph.constants.get(places)
    table = parts.constant(constant.stored, "int32") if constant is not None else parts.cast(places, "int32")
    put = parts.add("tflite.Scatter", table, updates, shape=shape, dtype=parts.dtype(data))
    if reduction == "add":
        parts.add("Add", data, put, into=0)
        return parts.nodes
    ones = parts.constant(np.ones(parts.shape(updates)), "float32")
    there = parts.add("tflite.Scatter", table, ones, shape=shape, dtype="float32")
    parts.where(parts.add("Greater", there, 0.5), put, data, into=0)
    return parts.nodes


_COMBINED = {"max": ("ReduceMax", "Max"), "min": ("ReduceMin", "Min"), "mul": ("ReduceProd", "Mul")}
_MOST_COMBINED = 2**22


def _combined(parts: Parts, places: str) -> list[Node] | Fault:
    """Every update beside every place: those that meet there are reduced, the others are what changes nothing."""
    node, reduction = parts.node, parts.node.attrs["reduction"]
    data, updates = node.inputs[0], node.inputs[2]
    shape, columns = parts.shape(data), parts.shape(places)[-1]
    count, cells, width = (prod(sizes) for sizes in (parts.shape(places)[:-1], shape[:columns], shape[columns:]))
    if count * cells * width > _MOST_COMBINED:
        reason = f"TFLite cannot combine updates by {reduction}, and {count} updates of {cells} places of {width} numbers are too many to compare"
        return Fault(reason, "use reduction=none or add, or fewer updates")
    meets = _meets(parts, parts.reshape(places, (count, columns)), shape[:columns])
    rows = parts.reshape(updates, (count, 1, width))
    reduce, combine = _COMBINED[reduction]
    beside = parts.where(meets, rows, _unmoved(reduction, parts.dtype(data)))
    found = parts.reshape(parts.reduce(reduce, beside, [0], keepdims=False), shape)
    parts.add(combine, data, found, into=0)
    return parts.nodes


def _unmoved(reduction: str, dtype: str) -> Any:
    """What a number can be combined with without becoming another."""
    if reduction == "mul":
        return 1
    limits = np.iinfo(dtype) if dtype.startswith("int") else np.finfo(np.float32)
    return limits.min if reduction == "max" else limits.max  # as they are: float64 does not hold the greatest int64


def _meets(parts: Parts, table: str, sizes: tuple[int, ...]) -> str:
    """Which rows of places are which cell, counted row by row. Shape (rows, cells, 1)."""
    steps = np.array([prod(sizes[axis + 1 :]) for axis in range(len(sizes))])
    cells = np.arange(prod(sizes))[None, :, None]
    constant = parts.graph.constants.get(table)
    if constant is not None:
        return parts.constant((constant.stored @ steps)[:, None, None] == cells, "bool")
    dtype = parts.dtype(table)
    numbers = parts.reduce("ReduceSum", parts.add("Mul", table, parts.constant(steps, dtype)), [1], keepdims=False)
    column = parts.reshape(numbers, (parts.shape(table)[0], 1, 1))
    return parts.add("Equal", column, parts.constant(cells, dtype))


def _top_k(node: Node, graph: Graph) -> list[Node] | Fault:
    """The least are the greatest of what is negated."""
    if node.attrs.get("largest", 1):
        return [node] if graph.is_constant(node.inputs[1]) else Fault(f"{node.inputs[1]} is computed", "make k a constant")
    parts = Parts(node, graph)
    outputs = (*node.outputs, "")
    attrs = {"axis": node.attrs.get("axis", -1)}
    shape = parts.shape(next(filter(None, outputs)))
    negated = parts.add("Neg", node.inputs[0])
    found = parts.add("TopK", negated, node.inputs[1], shape=shape, **attrs)
    parts.nodes[-1].outputs.append(outputs[1])
    if outputs[0]:
        parts.add("Neg", found, into=0)
    return parts.nodes


def _one_hot(node: Node, graph: Graph) -> list[Node] | Fault:
    """Places counted from 0; those that are neither from 0 nor from the end stay outside."""
    kinds = [graph.is_constant(name) for name in node.inputs]
    parts = Parts(node, graph)
    if not all(kinds[1:]):
        return Fault("its depth or its values are computed", "make them constants")
    if kinds[0] or node.attrs.get("counted"):
        return [node]
    places = parts.cast(node.inputs[0], "int64") if parts.dtype(node.inputs[0]) == "float32" else node.inputs[0]
    axis = node.attrs.get("axis", -1)
    depth = parts.shape(node.outputs[0])[axis]
    counted = parts.where(parts.add("Less", places, 0), parts.add("Add", places, depth), places)
    parts.add("OneHot", counted, *node.inputs[1:], into=0, axis=axis, counted=1)
    return parts.nodes


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "TopK": _top_k,
}

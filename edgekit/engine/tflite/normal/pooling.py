"""Poolings that TFLite has no operator for, over dilated windows and over volumes: axis by axis, out of shifted slices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgekit.engine.tflite.graph import Array, Constant, Fault, Graph, Node
from edgekit.engine.tflite.lowering import pooling
from edgekit.engine.tflite.normal import classic
from edgekit.engine.tflite.normal.parts import Parts

_MOST_SLICES = 64


@dataclass(frozen=True)
class Axis:
    """A window along one axis of the tensor."""

    axis: int
    size: int
    steps: int
    kernel: int
    stride: int
    dilation: int
    before: int
    stated_after: int

    @property
    def after(self) -> int:
        """Padding at the end that a window touches."""
        return max(0, (self.steps - 1) * self.stride + (self.kernel - 1) * self.dilation + 1 - self.size - self.before)

    @property
    def starts_beyond(self) -> bool:
        """Whether the last window starts behind the input."""
        return (self.steps - 1) * self.stride - self.before >= self.size

    def counts(self, with_padding: bool) -> Array:
        """How many elements of each window a mean counts."""
        places = np.arange(self.steps)[:, None] * self.stride - self.before + np.arange(self.kernel) * self.dilation
        low, high = (-self.before, self.size + self.stated_after) if with_padding else (0, self.size)
        return np.asarray(((places >= low) & (places < high)).sum(1))


def _pooled(node: Node, graph: Graph) -> list[Node] | Fault:
    sequence = classic.sequence(node, graph)
    if sequence != [node]:
        return sequence
    rank = len(graph.shape(node.inputs[0]))
    if any(node.outputs[1:]):
        return _with_places(node, graph)
    dilated = any(one != 1 for one in node.attrs.get("dilations") or ())
    if rank == 4 and (not dilated or pooling.check(node, graph) is None):
        return [node]
    axes = window_axes(node, graph, node.attrs["kernel_shape"])
    if any(axis.starts_beyond or axis.before < 0 for axis in axes) or sum(axis.kernel for axis in axes) > _MOST_SLICES:
        return [node]
    parts, is_max = Parts(node, graph), node.op == "MaxPool"
    found = _padded(parts, axes, float(np.finfo(np.float32).min) if is_max else 0.0)
    for axis in axes:
        found = _along(parts, found, axis, "Max" if is_max else "Sum")
    if is_max:
        return _finished(parts, found)
    counts = np.ones((1,) * rank)
    for axis in axes:
        sizes = [-1 if one == axis.axis else 1 for one in range(rank)]
        counts = counts * axis.counts(bool(node.attrs.get("count_include_pad"))).reshape(sizes)
    parts.add("Mul", found, parts.constant(1 / counts), into=0)
    return parts.nodes


def window_axes(node: Node, graph: Graph, kernel: Sequence[int]) -> list[Axis]:
    """The window of a pooling or Conv along each axis behind the channels."""
    before, after = graph.shape(node.inputs[0])[2:], graph.shape(next(filter(None, node.outputs)))[2:]
    ones = [1] * len(before)
    strides, dilations = node.attrs.get("strides") or ones, node.attrs.get("dilations") or ones
    pads = node.attrs.get("pads") or [0] * (2 * len(before))
    auto = node.attrs.get("auto_pad", "NOTSET")
    found = []
    for place in range(len(before)):
        first, last = pads[place], pads[place + len(before)]
        if auto.startswith("SAME"):
            total = max(0, (after[place] - 1) * strides[place] + (kernel[place] - 1) * dilations[place] + 1 - before[place])
            first = total // 2 if auto == "SAME_UPPER" else total - total // 2
            last = total - first
        found.append(Axis(place + 2, before[place], after[place], kernel[place], strides[place], dilations[place], first, last))
    return found


def _with_places(node: Node, graph: Graph) -> list[Node] | Fault:
    """A MaxPool that says where the greatest values were, the first of several: one element of the windows after another."""
    axes = window_axes(node, graph, node.attrs["kernel_shape"])
    count = prod(axis.kernel for axis in axes)
    if count > _MOST_SLICES:
        return Fault(f"it says which of {count} values is the greatest, and TFLite has no operator for that", "use a smaller window, or no indices")
    if any(axis.starts_beyond or axis.before < 0 for axis in axes):
        return [node]
    parts = Parts(node, graph)
    batch, channels, *sizes = graph.shape(node.inputs[0])
    steps = _steps(sizes, first_fastest=bool(node.attrs.get("storage_order")))
    starts = [(np.arange(axis.steps) * axis.stride - axis.before) * step for axis, step in zip(axes, steps, strict=True)]
    first = sum(np.meshgrid(*starts, indexing="ij"))
    planes = np.arange(batch * channels).reshape(batch, channels, *(1 for _ in axes)) * prod(sizes)
    source = _padded(parts, axes, float(np.finfo(np.float32).min))
    greatest, place = "", ""
    for offset in itertools.product(*(range(axis.kernel) for axis in axes)):
        found, beyond = source, sum(one * axis.dilation * step for one, axis, step in zip(offset, axes, steps, strict=True))
        for one, axis in zip(offset, axes, strict=True):
            found = _shifted(parts, found, axis, one)
        here = parts.constant(beyond, "int64")
        place = parts.where(parts.add("Greater", found, greatest), here, place) if greatest else here
        greatest = parts.add("Max", found, greatest) if greatest else found
    if count == 1:
        graph.constants[node.outputs[1]] = Constant(np.asarray(first + planes, np.int64))
    else:
        parts.add("Add", parts.add("Add", place, parts.constant(first, "int64")), parts.constant(planes, "int64"), into=1)
    if node.outputs[0]:
        parts.add("Identity", greatest, into=0)
    return parts.nodes


def _steps(sizes: Sequence[int], *, first_fastest: bool) -> list[int]:
    """How far apart neighbours along each axis are, where the last axis or the first is the one that runs fastest."""
    ends = [sizes[:axis] if first_fastest else sizes[axis + 1 :] for axis in range(len(sizes))]
    return [prod(end) for end in ends]


def _padded(parts: Parts, axes: list[Axis], filling: float) -> str:
    source = parts.node.inputs[0]
    pads = [0, 0, *(axis.before for axis in axes), 0, 0, *(axis.after for axis in axes)]
    if not any(pads):
        return source
    sizes = [*parts.shape(source)[:2], *(axis.before + axis.size + axis.after for axis in axes)]
    return parts.add("Pad", source, parts.constant(np.array(pads), "int64"), parts.constant(filling), shape=sizes)


def _along(parts: Parts, name: str, axis: Axis, op: str) -> str:
    """The greatest, or the sum, of a window along one axis."""
    slices = [_shifted(parts, name, axis, one) for one in range(axis.kernel)]
    return slices[0] if len(slices) == 1 else parts.add(op, *slices)


def _shifted(parts: Parts, name: str, axis: Axis, one: int) -> str:
    """One element of every window along one axis."""
    first = one * axis.dilation
    return parts.slice(name, axis.axis, first, first + (axis.steps - 1) * axis.stride + 1, axis.stride)


def _finished(parts: Parts, name: str) -> list[Node]:
    parts.add("Identity", name, into=0)
    return parts.nodes


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = dict.fromkeys(("AveragePool", "MaxPool"), _pooled)

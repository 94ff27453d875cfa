"""Poolings that TFLite has no operator for, over dilated windows and over volumes: axis by axis, out of shifted slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekit.engine.tflite.graph import Array, Fault, Graph, Node
from edgekit.engine.tflite.lowering import pooling
from edgekit.engine.tflite.normal import classic
from edgekit.engine.tflite.normal.parts import Parts

_MOST_SLICES = 64


@dataclass(frozen=True)
class _Axis:
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
    dilated = any(one != 1 for one in node.attrs.get("dilations") or ())
    if any(node.outputs[1:]) or (rank == 4 and (not dilated or pooling.check(node, graph) is None)):
        return [node]
    axes = _axes(node, graph)
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


def _axes(node: Node, graph: Graph) -> list[_Axis]:
    before, after = graph.shape(node.inputs[0])[2:], graph.shape(node.outputs[0])[2:]
    kernel, ones = node.attrs["kernel_shape"], [1] * len(before)
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
        found.append(_Axis(place + 2, before[place], after[place], kernel[place], strides[place], dilations[place], first, last))
    return found


def _padded(parts: Parts, axes: list[_Axis], filling: float) -> str:
    source = parts.node.inputs[0]
    pads = [0, 0, *(axis.before for axis in axes), 0, 0, *(axis.after for axis in axes)]
    if not any(pads):
        return source
    sizes = [*parts.shape(source)[:2], *(axis.before + axis.size + axis.after for axis in axes)]
    return parts.add("Pad", source, parts.constant(np.array(pads), "int64"), parts.constant(filling), shape=sizes)


def _along(parts: Parts, name: str, axis: _Axis, op: str) -> str:
    """The greatest, or the sum, of a window along one axis."""
    span = (axis.steps - 1) * axis.stride + 1
    slices = [parts.slice(name, axis.axis, one * axis.dilation, one * axis.dilation + span, axis.stride) for one in range(axis.kernel)]
    return slices[0] if len(slices) == 1 else parts.add(op, *slices)


def _finished(parts: Parts, name: str) -> list[Node]:
    parts.add("Identity", name, into=0)
    return parts.nodes


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = dict.fromkeys(("AveragePool", "MaxPool"), _pooled)

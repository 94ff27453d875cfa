"""What is left of a graph's multiply-adds, numbers and bytes, by how many units each group keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekit.graph.channels import ChannelGroups
from edgekit.graph.channels.groups import Term
from edgekit.graph.edit import Graph

if TYPE_CHECKING:
    from edgekit.passes.compress.prune.choose import Kept

Of = Literal["macs", "parameters", "bytes", "latency"]
COUNTED: tuple[Of, ...] = ("macs", "parameters")
"""What every record says of a graph before and after."""
Axis = tuple[int, dict[int, float]]
"""Channels that stay whatever is cut, and by group how many each of its units has."""


@dataclass(frozen=True, slots=True)
class Part:
    """A count in proportion to the channels along some axes."""

    name: str
    count: float
    axes: tuple[Axis, ...]

    def left(self, kept: Kept) -> float:
        """The count when each group keeps so many units."""
        share = self.count
        for whole, by_group in self.axes:
            share *= channels(whole, by_group, kept)
        return share


def channels(whole: int, by_group: dict[int, float], kept: Kept) -> float:
    """Channels along an axis."""
    return whole + sum(each * kept[number] for number, each in by_group.items())


def part_of(term: Term, groups: ChannelGroups, weight: float = 1.0) -> Part:
    """A term as a count for each combination of channels."""
    count, axes = term.count * weight, []
    for axis in term.axes:
        by_group: dict[int, float] = {}
        for number, _ in axis:
            by_group[number] = by_group.get(number, 0) + 1
        whole = int(by_group.pop(-1, 0))
        axes.append((whole, {number: found / groups.groups[number].units for number, found in by_group.items()}))
        count /= len(axis)
    return Part(term.name, count, tuple(axes))


def cost_of(found: ChannelGroups, of: Of) -> Total:
    """What the graph costs by what is kept.

    Args:
        found: the channels of the graph.
        of: multiply-adds; float numbers in constants; or their bytes.
    """
    graph = Graph(found.proto)
    if of == "macs":
        return Total([part_of(term, found) for term in found.macs])
    import onnx

    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    sizes = {tensor.name: onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize for tensor in found.proto.graph.initializer}
    held = {tensor.name for tensor in found.proto.graph.initializer if tensor.data_type in floats or of == "bytes"}
    tied = {term.name for term in found.numbers}
    parts = [part_of(term, found, sizes[term.name] if of == "bytes" else 1) for term in found.numbers if term.name in held]
    rest = sum(int(np.prod(graph.static_shape(name) or (1,))) * (sizes[name] if of == "bytes" else 1) for name in held - tied)
    return Total([*parts, Part("", float(rest), ())])


class Total:
    """The sum of parts, each remembered by the groups it depends on."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [(part, sorted({number for _, by_group in part.axes for number in by_group})) for part in parts]
        self._seen: dict[tuple[int, ...], float] = {}

    def __call__(self, kept: Kept) -> float:
        """The sum when each group keeps so many units."""
        total = 0.0
        for place, (part, groups) in enumerate(self._parts):
            key = (place, *(kept[number] for number in groups))
            if key not in self._seen:
                self._seen[key] = part.left(kept)
            total += self._seen[key]
        return total

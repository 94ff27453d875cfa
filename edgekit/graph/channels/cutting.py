"""Channels are taken out of a graph: of every constant they lie along, and of the sizes that nodes state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.graph.channels.groups import Bools, ChannelGroups
from edgekit.graph.channels.moves import slices
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx


def cut(channels: ChannelGroups, gone: Mapping[int, Collection[int]]) -> onnx.ModelProto:
    """A graph without some of its channels, shapes inferred; names stay.

    Args:
        channels: of the graph, which is left alone.
        gone: units to cut, by the group's number.

    Raises:
        ValueError: a group or unit is not there, or no unit of a group would be left.
    """
    for number, units in gone.items():
        group = channels.groups[number] if 0 <= number < len(channels.groups) else None
        if group is None or not set(units) <= set(range(group.units)):
            raise ValueError(f"group {number} has no such units")
        if len(set(units)) == group.units:
            raise ValueError(f"{group.name}: no channel would be left")
    return _Cutting(channels, {(number, unit) for number, units in gone.items() for unit in units}).done()


class _Cutting:
    """One graph while channels are taken out."""

    def __init__(self, channels: ChannelGroups, gone: set[tuple[int, int]]) -> None:
        self._channels = channels
        self._gone = gone
        self.graph = Graph(channels.proto)
        self.before = Graph(channels.proto)

    def done(self) -> onnx.ModelProto:
        for node in self.graph.walk():
            if node.op in _ADJUST:
                _ADJUST[node.op](self, node)
        for term in self._channels.numbers:
            self._cut_constant(term.name)
        made = self.graph.finish()
        del made.graph.value_info[:]  # of the sizes before
        return infer_shapes(made)

    def kept(self, name: str, axis: int) -> Bools | None:
        """Which indices along an axis stay; None if it has no channels."""
        labels = self._channels.labels(name)
        if labels[axis] is None:
            return None
        return np.array([place not in self._gone for place in self._channels.unit_of(name, axis)], bool)

    def sizes(self, name: str) -> tuple[int | str, ...]:
        """The sizes of a tensor when channels are out."""
        found = []
        for axis, size in enumerate(self.before.shape(name) or ()):
            kept = self.kept(name, axis)
            found.append(size if kept is None else int(kept.sum()))
        return tuple(found)

    def _cut_constant(self, name: str) -> None:
        array = self.before.constant(name)
        assert array is not None, "channels lie along initializers that nobody can override"
        cut_array = array
        for axis in range(array.ndim):
            kept = self.kept(name, axis)
            if kept is not None and not kept.all():
                cut_array = np.compress(kept, cut_array, axis=axis)
        if cut_array is not array:
            self.graph.name_constant(name, np.ascontiguousarray(cut_array))


def _convolution(cutting: _Cutting, node: Node) -> None:
    """Groups of which all channels go, go too."""
    groups = int(node.get("group", 1))
    kept = cutting.kept(node.inputs[0], 1) if groups > 1 else None
    if kept is not None:
        left = int(kept.reshape(groups, -1).any(axis=1).sum())
        cutting.graph.set_attributes(node, group=left)


def _group_norm(cutting: _Cutting, node: Node) -> None:
    groups, kept = int(node.get("num_groups")), cutting.kept(node.inputs[0], 1)
    if kept is not None:
        cutting.graph.set_attributes(node, num_groups=int(kept.reshape(groups, -1).any(axis=1).sum()))


def _stated_sizes(place: int) -> Callable[[_Cutting, Node], None]:
    """For nodes that have the sizes of their output as an input: those that are stated, and have channels, change."""

    def adjust(cutting: _Cutting, node: Node) -> None:
        stated = cutting.before.constant(node.input(place)) if node.input(place) else None
        if stated is None:
            return
        result = node.outputs[0]
        old, new = cutting.before.shape(result) or (), cutting.sizes(result)
        changed = stated.copy()
        for at in range(1, len(stated) + 1):
            if stated[-at] > 1 and old[-at] == stated[-at] and new[-at] != old[-at]:
                changed[-at] = new[-at]
        if not np.array_equal(changed, stated):
            cutting.graph.set_input(node, place, cutting.graph.add_constant(changed, node.input(place)))

    return adjust


def _split(cutting: _Cutting, node: Node) -> None:
    axis = int(node.get("axis", 0)) % len(cutting.before.shape(node.inputs[0]) or (0,))
    sizes = [cutting.sizes(name)[axis] for name in node.outputs]
    if sizes != [(cutting.before.shape(name) or ())[axis] for name in node.outputs]:
        cutting.graph.set_attributes(node, num_outputs=None)
        cutting.graph.set_input(node, 1, cutting.graph.add_constant(np.array(sizes, np.int64), node.input(1) or f"{node.outputs[0]}_split"))


def _slice(cutting: _Cutting, node: Node) -> None:
    """Bounds move to where the first and last channel have come to lie."""
    ranges, source = slices(cutting.before, node), node.inputs[0]
    kept = {axis: mask for axis in ranges or {} if (mask := cutting.kept(source, axis)) is not None and not mask.all()}
    if ranges is None or not kept:
        return
    bounds = []
    for axis, found in ranges.items():
        begin, end = found.start, found.stop
        if axis in kept:
            begin, end = int(kept[axis][:begin].sum()), int(kept[axis][:end].sum())
        bounds.append((begin, np.iinfo(np.int64).min if end is None else end, axis, found.step))
    for place, values in enumerate(zip(*bounds, strict=True), start=1):
        cutting.graph.set_input(node, place, cutting.graph.add_constant(np.array(values, np.int64), f"{node.outputs[0]}_range"))


def _gather(cutting: _Cutting, node: Node) -> None:
    """Places are counted among the channels that are left."""
    axis = int(node.get("axis", 0)) % len(cutting.before.shape(node.inputs[0]) or (0,))
    kept, places = cutting.kept(node.inputs[0], axis), cutting.before.constant(node.inputs[1])
    if kept is not None and not kept.all() and places is not None:
        places = places % kept.size
        moved = (np.cumsum(kept) - 1)[places[kept[places]]]
        cutting.graph.set_input(node, 1, cutting.graph.add_constant(moved.astype(places.dtype), node.inputs[1]))


_ADJUST: Mapping[str, Callable[[_Cutting, Node], None]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Expand": _stated_sizes(1),
    "Gather": _gather,
    "GroupNormalization": _group_norm,
    "Reshape": _stated_sizes(1),
    "Resize": _stated_sizes(3),
    "Slice": _slice,
    "Split": _split,
}

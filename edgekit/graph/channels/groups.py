"""What may be cut of a graph: units of channels that hang together, in groups of those that lie in the same places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.channels.table import RULES
from edgekit.graph.channels.ties import Ids
from edgekit.graph.channels.walk import Labels, Role, Walk, known
from edgekit.graph.edit import Graph
from edgekit.graph.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx

Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no one truth
class Place:
    """Where units of a group lie in a constant.

    Attributes:
        node: name of the node that computes with it.
        role: whether it ``makes`` these channels, ``reads`` them, or ``follows`` them.
        constant, axis: the initializer and its axis.
        unit: of each index along the axis the number of its unit in the group, -1 where it belongs to another.
        flow, flow_axis: of what reads: the computed tensor that carries these channels, and its axis; ``unit`` holds there too.
    """

    node: str
    role: Role
    constant: str
    axis: int
    unit: Ids
    flow: str = ""
    flow_axis: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Units of which any number may be cut.

    Attributes:
        name: of the first node that makes their channels.
        units: how many there are.
        width: channels of one unit where it is made: several where heads, or groups of a convolution, are cut whole.
        places: everywhere they lie.
    """

    name: str
    units: int
    width: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Channels that are never cut.

    Attributes:
        node: that makes them.
        channels: how many.
        reason: why, in words.
    """

    node: str
    channels: int
    reason: str


@dataclass(frozen=True, slots=True)
class Term:
    """A count in proportion to the channels left along some axes: multiply-adds of a node, or numbers in a constant.

    Attributes:
        name: of the node or constant.
        count: with all channels.
        axes: of each axis that channels lie along, the group and unit of each index; unit -1 stays.
    """

    name: str
    count: int
    axes: tuple[tuple[tuple[int, int], ...], ...]


class ChannelGroups:
    """What hangs together in a graph, and what may be cut of it.

    Attributes:
        proto: the graph, shapes inferred.
        groups: that may be cut, in the graph's order.
        fixed: what makes channels that may not.
        macs: multiply-adds by node.
        numbers: by constant that channels lie along.
    """

    def __init__(self, proto: onnx.ModelProto, graph: Graph, walk: Walk) -> None:
        self.proto = proto
        self._graph = graph
        self._walk = walk
        self._place_of: dict[int, tuple[int, int]] = {}
        self._roots: dict[tuple[str, int], Ids] = {
            (name, axis): walk.ties.roots(ids) for name in walk.labelled() for axis, ids in enumerate(walk.labels(name)) if ids is not None
        }
        self.groups = self._grouped()
        self.fixed = self._fixed()
        self.macs = tuple(Term(one.node, one.macs, tuple(self._units(walk.ties.roots(ids)) for ids in one.axes)) for one in walk.products)
        self.numbers = tuple(self._numbers(name) for name in dict.fromkeys(name for name, _ in self._roots if graph.is_constant(name)))

    def labels(self, name: str) -> Labels:
        """Of each axis of a tensor the number of each channel's unit; None where there are no channels."""
        return [self._roots.get((name, axis)) for axis in range(self._graph.rank(name) or 0)]

    def unit_of(self, name: str, axis: int) -> tuple[tuple[int, int], ...]:
        """Of each index along an axis its group and unit, unit -1 where it stays."""
        return self._units(self._roots[name, axis])

    def _units(self, roots: Ids) -> tuple[tuple[int, int], ...]:
        return tuple(self._place_of.get(root, (-1, -1)) for root in roots.tolist())

    def _grouped(self) -> tuple[Group, ...]:
        """Units with the same places are a group."""
        uses = list(
            {(use.constant, use.axis, use.role, use.node): use for use in self._walk.uses if (use.constant, use.axis) in self._roots}.values()
        )
        found: dict[int, list[int]] = {}
        for number, use in enumerate(uses):
            for root in np.unique(self._roots[use.constant, use.axis]).tolist():
                if not self._walk.ties.why(root):
                    found.setdefault(root, []).append(number)
        by_places: dict[tuple[int, ...], list[int]] = {}
        for root, places in found.items():
            by_places.setdefault(tuple(places), []).append(root)
        groups: list[Group] = []
        for numbers, roots in sorted(by_places.items()):
            makers = [uses[number] for number in numbers if uses[number].role == "makes"]
            if len(roots) < 2 or not makers:
                continue
            at = {root: unit for unit, root in enumerate(sorted(roots))}
            self._place_of.update({root: (len(groups), unit) for root, unit in at.items()})
            where = []
            for use in (uses[number] for number in numbers):
                unit = np.array([at.get(root, -1) for root in self._roots[use.constant, use.axis].tolist()], np.int64)
                where.append(Place(use.node, use.role, use.constant, use.axis, unit, use.flow, use.flow_axis))
            width = max(int(np.bincount(place.unit[place.unit >= 0]).max()) for place in where if place.role == "makes")
            groups.append(Group(makers[0].node, len(roots), width, tuple(where)))
        return tuple(groups)

    def _fixed(self) -> tuple[Fixed, ...]:
        found: dict[str, Fixed] = {}
        for use in self._walk.uses:
            roots = self._roots.get((use.constant, use.axis))
            if use.role != "makes" or roots is None:
                continue
            held = [root for root in roots.tolist() if root not in self._place_of]
            if held and use.node not in found:
                reasons = [why for root in held if (why := self._walk.ties.why(root))]
                found[use.node] = Fixed(use.node, len(held), reasons[0] if reasons else "they are all one unit")
        return tuple(found.values())

    def _numbers(self, name: str) -> Term:
        held = [self._units(ids) for ids in self.labels(name) if ids is not None]
        return Term(name, int(np.prod(self._graph.static_shape(name) or (0,))), tuple(held))


def channel_groups(proto: onnx.ModelProto) -> ChannelGroups:
    """Which channels of a graph hang together.

    Args:
        proto: in store form; it is left alone.

    Raises:
        SourceError: shapes contradict one another.
    """
    proto = infer_shapes(proto)
    graph = Graph(proto)
    walk = Walk(graph)
    for node in graph.nodes:
        rule = RULES.get(node.op) if not node.domain else None
        if node.op == "Constant":
            continue
        if rule is None or not known(node, graph):
            walk.give_up(node, "what it does with channels is not known here" if rule is None else "the shapes of what it reads are not known")
        else:
            rule(walk, node)
    for name in graph.pinned:
        walk.fix([name], f"{name} is an output of the model" if name in graph.outputs else f"{name} is read by a subgraph")
    return ChannelGroups(proto, graph, walk)

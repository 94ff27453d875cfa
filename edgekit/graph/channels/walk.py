"""A walk over a graph that gives every axis its channels; what each operator ties is in the rules beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.graph.channels.ties import Ids, Ties
from edgekit.graph.edit import Graph, Shape
from edgekit.graph.node import Node

Labels = list[Ids | None]
"""Of each axis of a tensor the channels along it; None where no weight decides the size: pictures' sides, steps, batches."""

Role = Literal["makes", "reads", "follows"]


@dataclass(frozen=True, slots=True)
class Use:
    """An axis of a constant that channels lie along.

    Attributes:
        node: name of the node that computes with it.
        role: ``makes`` these channels, ``reads`` them, or ``follows`` them, as a bias does.
        constant, axis: where they lie.
        flow, flow_axis: of what reads: the computed tensor that carries these channels, and where.
    """

    node: str
    role: Role
    constant: str
    axis: int
    flow: str = ""
    flow_axis: int = 0


@dataclass(frozen=True, slots=True)
class Product:
    """Multiply-adds of a node: so many, in proportion to the channels of each of these axes."""

    node: str
    macs: int
    axes: tuple[Ids, ...]


class Walk:
    """What is known of the channels of each tensor, while nodes are visited in order.

    Attributes:
        graph: shapes inferred.
        ties: between channels.
        uses: axes of constants, in the order met.
        products: nodes with multiply-adds.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ties = Ties()
        self.uses: list[Use] = []
        self.products: list[Product] = []
        self._labels: dict[str, Labels] = {}
        self._frozen: dict[tuple[str, int], str] = {}
        self._why: dict[str, str] = {name: f"{name} is an input of the model" for name in graph.inputs}

    # --- what is there

    def shape(self, name: str) -> Shape:
        """Sizes of a tensor of known rank."""
        shape = self.graph.shape(name)
        assert shape is not None, "asked for before"
        return shape

    def labels(self, name: str) -> Labels:
        """The channels of each axis of a tensor; of a constant those that have been met."""
        if name not in self._labels:
            self._labels[name] = [None] * len(self.graph.shape(name) or ())
        return self._labels[name]

    def labelled(self) -> tuple[str, ...]:
        """Every tensor that has been met."""
        return tuple(self._labels)

    def is_fixed_to(self, name: str) -> str:
        """Why axes of a tensor without channels are as they are."""
        return self._why.get(name, f"{name} has its size from elsewhere")

    def channels(self, name: str, axis: int) -> Ids | None:
        """The channels along an axis; of a constant they are made when first asked for."""
        axis %= len(self.labels(name))
        held = self.labels(name)[axis]
        if held is None and self.graph.is_constant(name) and (name, axis) not in self._frozen:
            size = self.shape(name)[axis]
            held = self.labels(name)[axis] = self.ties.new(int(size))
        return held

    # --- what rules do

    def put(self, name: str, labels: Sequence[Ids | None], why_of: str = "") -> None:
        """Say what channels a computed tensor has."""
        self._labels[name] = list(labels)
        if why_of:
            self._why[name] = self.is_fixed_to(why_of)

    def tie(self, one: tuple[str, int], other: tuple[str, int]) -> Ids | None:
        """Let two axes of equal size have the same channels, and return them; what meets an axis without channels is fixed."""
        held = [self.labels(name)[axis] for name, axis in (one, other)]
        if held[0] is None and held[1] is None and not all(self.graph.is_constant(name) for name, _ in (one, other)):
            self._freeze(one, other)
            return None
        first, second = (self.channels(name, axis) for name, axis in (one, other))
        if first is not None and second is not None:
            self.ties.tie(first, second)
            return first
        (name, _), known = (one, second) if first is None else (other, first)
        if known is not None:
            self.ties.fix(known, self.is_fixed_to(name))
        return known

    def tie_ids(self, place: tuple[str, int], ids: Ids | None, why: str) -> Ids | None:
        """Let an axis of a constant have these channels; without any, or with others in number, it is fixed."""
        own = self.channels(*place)
        if own is not None and ids is not None and own.size == ids.size:
            self.ties.tie(own, ids)
            return own
        for known in (own, ids):
            if known is not None:
                self.ties.fix(known, why)
        return own

    def fix(self, names: Iterable[str], why: str) -> None:
        """Let no channel of these tensors be cut."""
        for name in names:
            for axis, ids in enumerate(self.labels(name)) if name else ():
                if ids is not None:
                    self.ties.fix(ids, why)
                else:
                    self.freeze(name, axis, why)

    def fix_axis(self, name: str, axis: int, why: str) -> None:
        """Let no channel along an axis be cut."""
        ids = self.labels(name)[axis]
        if ids is not None:
            self.ties.fix(ids, why)

    def give_up(self, node: Node, why: str) -> None:
        """Fix all that a node reads, and know nothing of what it makes."""
        self.fix([*node.inputs, *node.captured()], f"{node.op} {node.name}: {why}")
        for name in filter(None, node.outputs):
            self.put(name, [None] * len(self.graph.shape(name) or ()))
            self._why[name] = f"{node.op} {node.name}: {why}"

    def freeze(self, name: str, axis: int, why: str) -> None:
        """Let an axis of a constant stay as it is; of computed tensors nothing is to be done."""
        if self.graph.is_constant(name):
            self._frozen[name, axis] = why
            self.fix_axis(name, axis, why)

    def use(self, node: Node, role: Role, place: tuple[str, int], flow: tuple[str, int] = ("", 0)) -> None:
        """Note that a node computes with an axis of a constant."""
        if self.graph.is_constant(place[0]):
            name, axis = place
            self.uses.append(Use(node.name or node.outputs[0], role, name, axis % len(self.labels(name)), *flow))

    def _freeze(self, *places: tuple[str, int]) -> None:
        for (name, axis), (other, _) in zip(places, places[::-1], strict=True):
            self.freeze(name, axis, self.is_fixed_to(other))


def known(node: Node, graph: Graph) -> bool:
    """Whether the rank of all that a node reads and makes is known."""
    return all(graph.rank(name) is not None for name in (*node.inputs, *node.outputs) if name)

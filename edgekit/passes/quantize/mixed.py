"""Mixed precision: the few nodes that are left in float until the outputs are near enough to those of the float graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.graph.view import View, attributes
from edgekit.passes.quantize.decide import Decision
from edgekit.passes.quantize.place import Placement
from edgekit.passes.quantize.sensitivity import Sensitivity, Trial, sensitivity

if TYPE_CHECKING:
    import onnx

MARGIN_DB = 1.0
"""Once nodes are kept, so much more than the budget is asked for: the samples that chose them flatter them."""

SAMPLES = 64
"""So many judge a decision; of fewer, one that is answered badly decides what stays in float."""

HELD_BYTES = 64 * 2**20
"""… or as many as fit, but not fewer than :data:`LOOKED_AT`."""

LOOKED_AT = 8
"""Of these, so many tell what each rounding costs."""

CONVERTED_COST, WIDER_COST = 8.0, 2.0
"""What a number costs that is converted between float and integers, and one that is stored in float, in multiply-adds: both
are bound by memory."""

FEW_CHANNELS = 4
"""A first convolution reads pictures of at most so many."""

REASON = "kept in float for min_sqnr_db"
NO_SLOWER = "kept in float: this runtime computes it no faster in integers"

WORTH = 0.05
"""Share of the error that must go for nodes to be kept in float that cost nothing."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the search came to.

    Attributes:
        decision: with as few nodes in float as it took.
        kept: these nodes.
        error: relative squared error of the decision on the samples of the trial.
        all_integer_error: the same before any node was kept in float.
        sensitivity: what each rounding costs; None where it was not needed.
        is_reached: whether the budget holds.
        float_share: of all multiply-adds, that the kept nodes do, 0 to 1.
    """

    decision: Decision
    kept: tuple[str, ...]
    error: float
    all_integer_error: float
    sensitivity: Sensitivity | None
    is_reached: bool
    float_share: float


@dataclass(frozen=True, slots=True)
class Search:
    """What a search needs.

    Attributes:
        proto: the float graph.
        view: of it.
        trial: samples to judge by.
        place: where integers go with these nodes kept in float, each with the reason.
        decide: in which numbers.
        min_sqnr_db: the budget.
        max_float_share: most of the multiply-adds that may stay in float, 0 to 1.
        speedup: of integers over float, by kind of node, as the scheme says it.
        found: what each rounding costs with all integer; None if it is to be measured.
    """

    proto: onnx.ModelProto
    view: View
    trial: Trial
    place: Callable[[Mapping[str, str]], Placement]
    decide: Callable[[Placement], Decision]
    min_sqnr_db: float
    max_float_share: float
    speedup: Mapping[str, float]
    found: Sensitivity | None = None

    def run(self) -> Mixed:
        """Keep nodes in float, the most useful for what they cost first, until the outputs are near enough."""
        return min(self.steps(), key=lambda one: one.error)

    def steps(self) -> Iterator[Mixed]:
        """The search one step after the other, from no node in float to the budget, or to where nothing helps.

        A tensor is stored in float only if all that make it and read it compute so: nodes are therefore kept as regions,
        everything around one group of tensors at a time. First come those that integers make no faster, whatever the
        budget. Which is next is worked out from what each rounding costs alone; what is left of the error is measured.
        """
        decision = self.decide(self.place({}))
        error = first = self.trial.error(decision)
        wanted = 10.0 ** (-self.min_sqnr_db / 10.0)
        yield Mixed(decision, (), error, first, self.found, is_reached=error <= wanted, float_share=0.0)
        costs = _Costs(self.proto, self.view, self.speedup)
        found = self.found if error <= wanted else self.found or sensitivity(self.trial, decision, weights=False, samples=LOOKED_AT)
        kept = self._no_slower(decision.placement, costs)
        if kept:
            placed = self.place(kept)
            without = self.decide(placed)
            left = self.trial.error(without)
            if left < error * (1.0 - WORTH):
                decision, error = without, left
                yield Mixed(decision, tuple(kept), error, first, found, is_reached=error <= wanted, float_share=costs.share(kept))
            else:
                kept = {}
        if error <= wanted or found is None:
            return
        while error > wanted * 10.0 ** (-MARGIN_DB / 10.0):
            step = self._best_step(kept, decision.placement, found, costs)
            if step is None:
                return
            kept, placed = step
            decision = self.decide(placed)
            error = self.trial.error(decision)
            yield Mixed(decision, tuple(kept), error, first, found, is_reached=error <= wanted, float_share=costs.share(kept))

    def _no_slower(self, whole: Placement, costs: _Costs) -> dict[str, str]:
        """Nodes that take no more time in float, conversions included: what integers make no faster, and goes on from there.

        Args:
            whole: all that can be integer.
            costs: of nodes in float.
        """
        regions = [nodes for nodes in _regions(self.view, whole, sorted(set(whole.tensors.values()))) if any(map(costs.is_no_faster, nodes))]
        kept: dict[str, str] = {}
        while True:
            near = [nodes for nodes in regions if not kept.keys() >= set(nodes) and (not kept or not kept.keys().isdisjoint(nodes))]
            wider = [{**kept, **dict.fromkeys(nodes, NO_SLOWER)} for nodes in near]
            cost = {at: costs.of(one, self.place(one)) for at, one in enumerate(wider) if costs.share(one) <= self.max_float_share}
            best = min(cost, key=cost.__getitem__, default=None)
            if best is None or cost[best] >= 0.0:
                return kept
            kept = wider[best]

    def _best_step(self, kept: Mapping[str, str], placed: Placement, found: Sensitivity, costs: _Costs) -> tuple[dict[str, str], Placement] | None:
        """The next nodes to keep: those that take most error away for what they cost."""
        before, cost = found.of_activations(placed), costs.of(kept, placed)
        best: tuple[float, dict[str, str], Placement] | None = None
        for nodes in _regions(self.view, placed, sorted(set(placed.tensors.values()), key=lambda group: -found.groups.get(group, 0.0))[:CONSIDERED]):
            wider = {**kept, **dict.fromkeys(nodes, REASON)}
            if costs.share(wider) > self.max_float_share:
                continue
            candidate = self.place(wider)
            gain = before - found.of_activations(candidate)
            worth = gain / max(costs.of(wider, candidate) - cost, 1.0)
            if gain > 1e-3 * before and (best is None or worth > best[0]):
                best = worth, wider, candidate
        return None if best is None else (best[1], best[2])


class _Costs:
    """What it costs to compute nodes in float and not in integers, in multiply-adds of float."""

    def __init__(self, proto: onnx.ModelProto, view: View, speedup: Mapping[str, float]) -> None:
        from edgekit.graph.inspect import layers

        self._view = view
        self._macs = {layer.name: float(layer.macs) for layer in layers(proto)}
        self._total = max(sum(self._macs.values()), 1.0)
        self._nodes = {node.name: node for node in view.nodes}
        self._saved = {name: 1.0 - 1.0 / speedup.get(_kind(view, self._nodes[name]), math.inf) for name in self._macs if name in self._nodes}

    def of(self, nodes: Mapping[str, str], placed: Placement) -> float:
        """Cost of these nodes: what their products take longer, and every number that is converted or wider for them.

        Negative where integers are slower.
        """
        moved = {name for node in nodes for name in [*self._nodes[node].input, *self._nodes[node].output] if name not in self._view.constants}
        numbers = sum(self._view.numbers(name) * (CONVERTED_COST if name in placed.tensors else WIDER_COST) for name in moved)
        return sum(self._macs.get(node, 0.0) * self._saved.get(node, 1.0) for node in nodes) + numbers

    def is_no_faster(self, node: str) -> bool:
        """Whether integers save nothing of what a node's own arithmetic takes."""
        return node in self._macs and self._saved.get(node, 1.0) <= 0.0

    def share(self, nodes: Mapping[str, str]) -> float:
        """Share of all multiply-adds that these nodes do."""
        return sum(self._macs.get(node, 0.0) for node in nodes) / self._total


def _kind(view: View, node: onnx.NodeProto) -> str:
    """What a scheme calls an op whose speed it knows."""
    if node.op_type != "Conv":
        return str(node.op_type)
    weights = view.shape(node.input[1]) or ()
    groups = int(attributes(node).get("group", 1))
    if groups > 1 and weights[1:2] == (1,):
        return "depthwise Conv"
    return "first Conv" if groups == 1 and len(weights) > 1 and isinstance(weights[1], int) and weights[1] <= FEW_CHANNELS else "Conv"


CONSIDERED = 24
"""Groups of tensors that are considered at each step, the costliest first."""


def _regions(view: View, placed: Placement, groups: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Sets of nodes that together free a group of tensors from rounding."""
    members: dict[str, list[str]] = {}
    for tensor, group in placed.tensors.items():
        members.setdefault(group, []).append(tensor)
    return iter(dict.fromkeys(filter(None, (region(view, placed, members[group]) for group in groups))))


def region(view: View, placed: Placement, tensors: Iterable[str]) -> tuple[str, ...]:
    """The integer nodes that make or read some tensors: kept in float together, they free them from rounding."""
    integer = frozenset(placed.integer)
    adders = {one.bias_adder: one.node for one in placed.weighted.values() if one.bias_adder is not None}
    around: set[str] = set()
    for tensor in tensors:
        around.update(reader.name for reader, _ in view.readers(tensor))
        around.update(_makers(view, tensor, integer, adders))
    return tuple(sorted(around & integer))


def _makers(view: View, tensor: str, integer: frozenset[str], adders: Mapping[str, str]) -> Iterator[str]:
    """The integer node that makes a tensor, looked for behind an activation and the Add of a bias."""
    for _ in range(3):
        maker = view.maker(tensor)
        if maker is None:
            return
        if maker.name in integer:
            yield maker.name
            return
        if maker.name in adders:
            yield adders[maker.name]
            return
        tensor = maker.input[0]

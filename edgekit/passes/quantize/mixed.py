"""Mixed precision: the few nodes that are left in float until the outputs are near enough to those of the float graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.graph.view import View
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

NUMBER_COST = 8.0
"""What reading or making a number in float costs, in multiply-adds: conversions and plain arithmetic are bound by memory."""

REASON = "kept in float for min_sqnr_db"


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
        found: what each rounding costs with all integer; None if it is to be measured.
    """

    proto: onnx.ModelProto
    view: View
    trial: Trial
    place: Callable[[Mapping[str, str]], Placement]
    decide: Callable[[Placement], Decision]
    min_sqnr_db: float
    max_float_share: float
    found: Sensitivity | None = None

    def run(self) -> Mixed:
        """Keep nodes in float, the most useful for what they cost first, until the outputs are near enough."""
        return min(self.steps(), key=lambda one: one.error)

    def steps(self) -> Iterator[Mixed]:
        """The search one step after the other, from no node in float to the budget, or to where nothing helps.

        A tensor is stored in float only if all that make it and read it compute so: nodes are therefore kept as regions,
        everything around one group of tensors at a time. Which is next is worked out from what each rounding costs alone;
        what is left of the error is measured.
        """
        decision = self.decide(self.place({}))
        error = first = self.trial.error(decision)
        wanted = 10.0 ** (-self.min_sqnr_db / 10.0)
        yield Mixed(decision, (), error, first, self.found, is_reached=error <= wanted, float_share=0.0)
        if error <= wanted:
            return
        costs = _Costs(self.proto, self.view)
        found = self.found or sensitivity(self.trial, decision, weights=False, samples=LOOKED_AT)
        kept: dict[str, str] = {}
        while error > wanted * 10.0 ** (-MARGIN_DB / 10.0):
            step = self._best_step(kept, decision.placement, found, costs)
            if step is None:
                return
            kept, placed = step
            decision = self.decide(placed)
            error = self.trial.error(decision)
            yield Mixed(decision, tuple(kept), error, first, found, is_reached=error <= wanted, float_share=costs.share(kept))

    def _best_step(self, kept: Mapping[str, str], placed: Placement, found: Sensitivity, costs: _Costs) -> tuple[dict[str, str], Placement] | None:
        """The next nodes to keep: those that take most error away for what they cost."""
        before, cost = found.of_activations(placed), costs.of(kept)
        best: tuple[float, dict[str, str], Placement] | None = None
        for nodes in _regions(self.view, placed, found):
            wider = {**kept, **dict.fromkeys(nodes, REASON)}
            if costs.share(wider) > self.max_float_share:
                continue
            candidate = self.place(wider)
            gain = before - found.of_activations(candidate)
            worth = gain / max(costs.of(wider) - cost, 1.0)
            if gain > 1e-3 * before and (best is None or worth > best[0]):
                best = worth, wider, candidate
        return None if best is None else (best[1], best[2])


class _Costs:
    """What it costs to compute a node in float, in multiply-adds."""

    def __init__(self, proto: onnx.ModelProto, view: View) -> None:
        from edgekit.graph.inspect import layers

        self._view = view
        self._macs = {layer.name: float(layer.macs) for layer in layers(proto)}
        self._total = max(sum(self._macs.values()), 1.0)
        self._nodes = {node.name: node for node in view.nodes}

    def of(self, nodes: Mapping[str, str]) -> float:
        """Cost of these nodes: their products, and every number they read or make."""
        moved = {name for node in nodes for name in [*self._nodes[node].input, *self._nodes[node].output] if name not in self._view.constants}
        return sum(self._macs.get(node, 0.0) for node in nodes) + NUMBER_COST * sum(map(self._view.numbers, moved))

    def share(self, nodes: Mapping[str, str]) -> float:
        """Share of all multiply-adds that these nodes do."""
        return sum(self._macs.get(node, 0.0) for node in nodes) / self._total


CONSIDERED = 24
"""Groups of tensors that are considered at each step, the costliest first."""


def _regions(view: View, placed: Placement, found: Sensitivity) -> Iterator[tuple[str, ...]]:
    """Sets of nodes that together free a group of tensors from rounding."""
    members: dict[str, list[str]] = {}
    for tensor, group in placed.tensors.items():
        members.setdefault(group, []).append(tensor)
    groups = sorted(members, key=lambda group: -found.groups.get(group, 0.0))[:CONSIDERED]
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

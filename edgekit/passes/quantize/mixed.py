"""Mixed precision: the few nodes that are left in float until the outputs are near enough to those of the float graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.graph.view import View
from edgekit.passes.quantize.costs import Costs
from edgekit.passes.quantize.decide import Decision
from edgekit.passes.quantize.place import Placement
from edgekit.passes.quantize.reasons import FOR_BUDGET, NO_SLOWER
from edgekit.passes.quantize.sensitivity import Judged, Sensitivity, Trial, sensitivity

if TYPE_CHECKING:
    import onnx

MARGIN_DB = 1.0
"""Once nodes are kept, so much more than the budget is asked for: the samples that chose them flatter them."""

SAMPLES = 64
"""So many judge a decision; of fewer, one that is answered badly decides what stays in float."""

HELD_BYTES = 64 * 2**20
"""… or as many as fit, but not fewer than :data:`LOOKED_AT`."""

COUNTED, COUNTED_BYTES = 512, 256 * 2**20
"""The same where their classes are counted: of 64, one is 1.6 percentage points."""

LOOKED_AT = 8
"""Of these, so many tell what each rounding costs."""

WORTH = 0.05
"""Share of the error that must go for nodes to be kept in float that cost nothing."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is asked of a quantization, on the samples of a trial; None asks nothing.

    Attributes:
        min_sqnr_db: least SQNR of the outputs.
        min_agreement: least share of the samples whose top-1 class stays the same, 0 to 1.
        max_accuracy_drop: most of the top-1 accuracy that may be lost, 0 to 1.
    """

    min_sqnr_db: float | None
    min_agreement: float | None = None
    max_accuracy_drop: float | None = None

    @property
    def counts_classes(self) -> bool:
        """Whether classes are asked about, which takes more samples than numbers do."""
        return self.min_agreement is not None or self.max_accuracy_drop is not None

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return self.min_sqnr_db is not None or self.counts_classes

    def holds(self, judged: Judged, *, margin_db: float = 0.0) -> bool:
        """Whether all of it is reached, and SQNR by so much more."""
        enough = [
            self.min_sqnr_db is None or judged.error <= 10.0 ** (-(self.min_sqnr_db + margin_db) / 10.0),
            self.min_agreement is None or (judged.agreement is not None and judged.agreement >= self.min_agreement),
            self.max_accuracy_drop is None or (judged.accuracy_drop is not None and judged.accuracy_drop <= self.max_accuracy_drop + 1e-9),
        ]
        return all(enough)


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the search came to.

    Attributes:
        decision: with as few nodes in float as it took.
        kept: these nodes.
        judged: the decision, on the samples of the trial.
        all_integer: the same before any node was kept in float.
        sensitivity: what each rounding costs; None where it was not needed.
        is_reached: whether the aim is.
        float_share: of all multiply-adds, that the kept nodes do, 0 to 1.
    """

    decision: Decision
    kept: tuple[str, ...]
    judged: Judged
    all_integer: Judged
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
        aim: what is asked for.
        max_float_share: most of the multiply-adds that may stay in float though integers are faster, 0 to 1.
        speedup: of integers over float, by kind of node, as the scheme says it.
        float_if_free: whether nodes that it makes no faster stay float where the outputs gain.
        found: what each rounding costs with all integer; None if it is to be measured.
        integers_alone: no node stays float for what the outputs gain, by the scheme; they are judged all the same.
    """

    proto: onnx.ModelProto
    view: View
    trial: Trial
    place: Callable[[Mapping[str, str]], Placement]
    decide: Callable[[Placement], Decision]
    aim: Aim
    max_float_share: float
    speedup: Mapping[str, float]
    float_if_free: bool
    found: Sensitivity | None = None
    integers_alone: bool = False

    def run(self) -> Mixed:
        """Keep nodes in float, the most useful for what they cost first, until the outputs are near enough."""
        return min(self.steps(), key=lambda one: (not one.is_reached, one.judged.error))

    def steps(self) -> Iterator[Mixed]:
        """The search one step after the other, from no node in float to the budget, or to where nothing helps.

        A tensor is stored in float only if all that make it and read it compute so: nodes are therefore kept as regions,
        everything around one group of tensors at a time. First come those that integers make no faster, whatever the
        budget. Which is next is worked out from what each rounding costs alone; what is left of the error is measured.
        """
        kept: dict[str, str] = {}
        decision = self.decide(self.place(kept))
        costs = Costs(self.proto, self.view, decision.placement, self.speedup)
        judged = first = self.trial.judged(decision)
        is_reached = self.aim.holds(judged)
        is_known = is_reached or self.integers_alone
        found = self.found if is_known or self.found else sensitivity(self.trial, decision, weights=False, samples=LOOKED_AT)

        def so_far() -> Mixed:
            return Mixed(decision, tuple(kept), judged, first, found, is_reached=self.aim.holds(judged), float_share=costs.share(kept))

        yield so_far()
        if self.integers_alone:
            return
        no_slower = self._no_slower(decision.placement, costs) if self.float_if_free else {}
        if no_slower:
            other = self.decide(self.place(no_slower))
            judged_other = self.trial.judged(other)
            if judged_other.error < judged.error * (1.0 - WORTH):
                decision, judged, kept = other, judged_other, no_slower
                yield so_far()
        if is_reached or found is None:
            return
        while not self.aim.holds(judged, margin_db=MARGIN_DB):
            step = self._best_step(kept, decision.placement, found, costs)
            if step is None:
                return
            kept, placed = step
            decision = self.decide(placed)
            judged = self.trial.judged(decision)
            yield so_far()

    def _no_slower(self, whole: Placement, costs: Costs) -> dict[str, str]:
        """Nodes that take no more time in float, conversions included: what integers make no faster, and goes on from there.

        Args:
            whole: all that can be integer.
            costs: of nodes in float.
        """
        regions = [nodes for nodes in _regions(self.view, whole, sorted(set(whole.tensors.values()))) if costs.are_no_faster(nodes)]
        kept: dict[str, str] = {}
        while True:
            near = [nodes for nodes in regions if not kept.keys() >= set(nodes) and (not kept or not kept.keys().isdisjoint(nodes))]
            wider = [{**kept, **dict.fromkeys(nodes, NO_SLOWER)} for nodes in near]
            cost = {at: costs.of(self.place(one)) for at, one in enumerate(wider)}
            best = min(cost, key=cost.__getitem__, default=None)
            if best is None or cost[best] >= 0.0:
                return kept
            kept = wider[best]

    def _best_step(self, kept: Mapping[str, str], placed: Placement, found: Sensitivity, costs: Costs) -> tuple[dict[str, str], Placement] | None:
        """The next nodes to keep: those that take most error away for what they cost."""
        before, cost, share = found.of_activations(placed), costs.of(placed), self._share(kept, costs)
        costliest = sorted(set(placed.tensors.values()), key=lambda group: -found.groups.get(group, 0.0))[:CONSIDERED]
        best: tuple[float, dict[str, str], Placement] | None = None
        for nodes in _regions(self.view, placed, costliest):
            wider = {**kept, **dict.fromkeys(nodes, FOR_BUDGET)}
            added = self._share(wider, costs) - share
            if share + added > self.max_float_share:
                continue
            candidate = self.place(wider)
            gain = before - found.of_activations(candidate)
            worth = gain / max(costs.of(candidate) - cost, FREE * added * costs.macs, 1.0)
            if gain > 1e-3 * before and (best is None or worth > best[0]):
                best = worth, wider, candidate
        return None if best is None else (best[1], best[2])

    def _share(self, kept: Mapping[str, str], costs: Costs) -> float:
        """Share of the multiply-adds that are kept for the budget."""
        return costs.share(node for node, reason in kept.items() if reason != NO_SLOWER)


FREE = 0.05
"""A node in float counts for so much of its multiply-adds at least, however cheap: of cheap nodes the fewest are kept."""

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

"""Channels are chosen for a budget and cut, those left having taken over what they can."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.extras import extra
from edgekit.graph.channels import ChannelGroups, channel_groups, cut
from edgekit.graph.edit import Graph
from edgekit.numerics.moments import Moments
from edgekit.passes.compress.prune.choose import Candidate, Kept, cheapest, evenly, sizes
from edgekit.passes.compress.prune.importance import Curve, by_activation, by_error, by_gradient, by_magnitude, moments_seen
from edgekit.passes.compress.prune.repair import taken_over
from edgekit.passes.compress.prune.sensitivity import measured
from edgekit.passes.named import fitting

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.compress.prune import Prune
    from edgekit.passes.streaming import Feed

Gone = dict[int, tuple[int, ...]]
Cost = Callable[[Kept], float]
Moment = Mapping[tuple[str, int], Moments]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What goes of a graph.

    Attributes:
        found: the graph and its channels.
        gone: units that go, by group.
        kept: of each group how many stay.
        seen: moments of what is read, where there are samples.
    """

    found: ChannelGroups
    gone: Gone
    kept: Kept
    seen: Moment | None

    def cut(self, *, repair: bool) -> onnx.ModelProto:
        """The graph without them."""
        if repair and self.seen is not None:
            return cut(channel_groups(taken_over(self.found, self.gone, self.seen)), self.gone)
        return cut(self.found, self.gone)

    def record(self) -> dict[str, Any]:
        """What became of each group, and what was never to be cut, for the step's record."""
        rows = [
            {"node": group.name, "channels": group.units * group.width, "kept": kept * group.width}
            for group, kept in zip(self.found.groups, self.kept, strict=True)
        ]
        fixed = [{"node": one.node, "channels": one.channels, "reason": one.reason} for one in self.found.fixed]
        return {"groups": rows, "fixed": fixed}


def choose(proto: onnx.ModelProto, how: Prune, multiple: int, feeds: Sequence[Feed], budget: Callable[[ChannelGroups], tuple[Cost, float]]) -> Chosen:
    """Which channels go.

    Args:
        proto: the graph.
        how: importance, scope, and nodes that keep their channels.
        multiple: of channels, that kernels like.
        feeds: samples, where they are needed.
        budget: of the channels found, what they cost by what is kept, and what that may come to.

    Raises:
        UsageError: no channel may be cut, or what is never to be cut costs more than the budget.
    """
    found = channel_groups(proto)
    whole = spared(proto, how.keep)
    free = [not _is_kept(group.name, group.places, whole) for group in found.groups]
    if not any(free):
        reasons = dict.fromkeys(one.reason for one in found.fixed)
        raise UsageError(
            f"prune: no channel of this graph may be cut: {'; '.join(list(reasons)[:3])}",
            hint="--set prune.kind=unstructured, or fewer in prune.keep",
        )
    asks_all = how.importance in ("activation", "error")
    looked_at = [group for group, is_free in zip(found.groups, free, strict=True) if is_free or asks_all]
    seen = moments_seen(found, feeds, looked_at) if feeds else None
    candidates = [
        Candidate(order, damage, sizes(group.units, group.width, multiple) if is_free else (group.units,))
        for group, (order, damage), is_free in zip(found.groups, _curves(found, how, feeds, seen), free, strict=True)
    ]
    if how.scope == "sensitivity":
        candidates = measured(found, candidates, feeds)
    cost, most = budget(found)
    kept = evenly(candidates, cost, most) if how.scope == "layer" else cheapest(candidates, cost, most)
    if cost(kept) > most * 1.0001:
        left = cost(kept) / cost([group.units for group in found.groups])
        raise UsageError(f"prune: {left:.0%} of the {how.of} are left where every group is at its smallest", hint="a smaller prune.ratio")
    gone = {number: one.order[: one.sizes[0] - kept[number]] for number, one in enumerate(candidates) if kept[number] < one.sizes[0]}
    return Chosen(found, gone, kept, seen)


def _curves(found: ChannelGroups, how: Prune, feeds: Sequence[Feed], seen: Moment | None) -> list[Curve]:
    if how.importance == "magnitude":
        return by_magnitude(found)
    if how.importance == "taylor":
        with extra("torch"):
            from edgekit.passes.compress.prune.taylor import first_order
        return by_gradient(found, first_order(found, feeds))
    assert seen is not None, "needs samples"
    return by_activation(found, seen) if how.importance == "activation" else by_error(found, seen)


def spared(proto: onnx.ModelProto, patterns: tuple[str, ...]) -> frozenset[str]:
    """Names of the nodes that ``keep`` names; of those without a name, of what they make.

    Raises:
        UsageError: no node fits a pattern.
    """
    return frozenset(fitting([(node.name or node.outputs[0], node.op) for node in Graph(proto).nodes], patterns, "prune: keep"))


def _is_kept(name: str, places: Sequence[Any], whole: frozenset[str]) -> bool:
    return not whole.isdisjoint({place.node for place in places if place.role == "makes"} | {name})


def scheduled(ratio: float, step: int, steps: int) -> float:
    """The share that is gone after so many of the steps: much at first, little at last.

    Source:
        Zhu and Gupta, "To prune, or not to prune", 2017, eq. 1, from 0 on.
    """
    return ratio * (1.0 - math.pow(1.0 - step / steps, 3))

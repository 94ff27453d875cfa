"""How many units each group keeps, so that a budget is met for the least damage; numbers only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

Kept = list[int]
"""Of each group how many units stay."""

_FEWEST_SIZES = 2
"""A group has at least so many sizes to choose from, or the multiple of channels is halved for it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One group as the choice sees it.

    Attributes:
        order: its units, those that go first in front.
        damage: what it costs to lose the first 0, 1, … of them; never falls. Shape (units + 1,); inf for what may not go.
        sizes: how many units may stay, falling from all of them.
    """

    order: tuple[int, ...]
    damage: F64
    sizes: tuple[int, ...]


def sizes(units: int, width: int, multiple: int) -> tuple[int, ...]:
    """How many units of a group may stay: all, or so many that their channels are a multiple that kernels like.

    Args:
        units: in the group.
        width: channels of a unit.
        multiple: of channels; halved for groups of so few that it would leave hardly a choice.
    """
    step = max(1, multiple // math.gcd(multiple, width)) if width < multiple else 1
    while step > 1 and step * _FEWEST_SIZES > units:
        step = -(-step // 2)
    return (units, *range((units - 1) // step * step, 0, -step))


def retained(scores: F64, weight: float = 1.0) -> tuple[tuple[int, ...], F64]:
    """Units in the order of their scores, and what it costs to lose them: the logarithm of what is left of the sum.

    The logarithm keeps the choice from emptying one group: the last of its units cost ever more.

    Args:
        scores: of each unit, 0 or more.
        weight: of the group beside others.
    """
    values = np.asarray(scores, np.float64)
    order = np.argsort(values, kind="stable")
    total = float(values.sum())
    lost = np.concatenate([[0.0], np.cumsum(values[order])]) / total if total > 0 else np.linspace(0.0, 1.0, len(values) + 1)
    with np.errstate(divide="ignore"):
        damage = -weight * np.log(np.maximum(1.0 - lost, 0.0))
    damage[-1] = math.inf
    return tuple(order.tolist()), np.maximum.accumulate(damage)


def cheapest(candidates: Sequence[Candidate], cost: Callable[[Kept], float], budget: float) -> Kept:
    """Shrink, again and again, the group that saves most for the damage, until the budget is met.

    Args:
        candidates: the groups.
        cost: of what is left.
        budget: to come down to; where every group is at its smallest before, that is what is returned.
    """
    at = [0] * len(candidates)
    kept = [one.sizes[0] for one in candidates]
    now = cost(kept)
    while now > budget:
        best, gain, place = -1, 0.0, 0
        for number, one in enumerate(candidates):
            found = _best_step(one, at[number], now, partial(_cost_with, cost, kept, number))
            if found is not None and (best < 0 or found[0] > gain):
                best, (gain, place) = number, found
        if best < 0:
            break
        at[best], kept[best] = place, candidates[best].sizes[place]
        now = cost(kept)
    kept = _exchanged(candidates, given_back(candidates, kept, cost, budget), cost, budget)
    return kept if cost(kept) >= _FILLED * budget else _nearest(candidates, kept, cost, budget)


_FILLED, _FEW = 0.75, 4096
"""Share of a budget that is to be used, and how many choices are all tried for it: with few groups of coarse sizes, what does the least
damage may lie far below, and a network that loses much more than was asked for has less left to learn with."""


def _nearest(candidates: Sequence[Candidate], kept: Kept, cost: Callable[[Kept], float], budget: float) -> Kept:
    """Of all choices that use the budget the one of least damage; what is kept already where there is none, or there are too many."""
    if math.prod(len(one.sizes) for one in candidates) > _FEW:
        return kept
    every = (list(sizes) for sizes in itertools.product(*(one.sizes for one in candidates)))
    near = [each for each in every if _FILLED * budget <= cost(each) <= budget]
    return min(near, key=lambda each: sum(map(_damage, candidates, each)), default=kept)


def evenly(candidates: Sequence[Candidate], cost: Callable[[Kept], float], budget: float) -> Kept:
    """Every group loses the same share, no more than the budget asks for."""

    def at(share: float) -> Kept:
        return [min(one.sizes, key=lambda size, one=one: (abs(size - (1.0 - share) * one.sizes[0]), size)) for one in candidates]  # type: ignore[misc]

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(at(middle)) <= budget else (middle, high)
    return given_back(candidates, at(high), cost, budget)


def _cost_with(cost: Callable[[Kept], float], kept: Kept, number: int, size: int) -> float:
    return cost(_with(kept, number, size))


def _best_step(one: Candidate, at: int, now: float, cost: Callable[[int], float]) -> tuple[float, int] | None:
    """The next size of a group, and what it saves for the damage; a further one where that is better: damage need not be convex."""
    best: tuple[float, int] | None = None
    units = one.sizes[0]
    for place in range(at + 1, min(at + 3, len(one.sizes))):
        more = float(one.damage[units - one.sizes[place]] - one.damage[units - one.sizes[at]])
        saving = now - cost(one.sizes[place])
        if math.isfinite(more) and saving > 0:
            gain = saving / max(more, 1e-12)
            if best is None or gain > best[0]:
                best = (gain, place)
    return best


def given_back(candidates: Sequence[Candidate], kept: Kept, cost: Callable[[Kept], float], budget: float) -> Kept:
    """The last step may have gone far below the budget: groups get back what fits, the most damage undone first."""
    kept = list(kept)
    while True:
        found = []
        for number, one in enumerate(candidates):
            larger = [size for size in one.sizes if size > kept[number]]
            if larger and cost(_with(kept, number, min(larger))) <= budget:
                undone = float(one.damage[one.sizes[0] - kept[number]] - one.damage[one.sizes[0] - min(larger)])
                found.append((undone, number, min(larger)))
        if not found:
            return kept
        _, number, size = max(found)
        kept[number] = size


def _exchanged(candidates: Sequence[Candidate], kept: Kept, cost: Callable[[Kept], float], budget: float) -> Kept:
    """One group larger and another smaller, as long as that does less damage within the budget: what steps alone do not find."""
    for _ in range(_EXCHANGES):
        best, gain = None, 1e-12
        for grows, shrinks in itertools.permutations(range(len(candidates)), 2):
            one, other = candidates[grows], candidates[shrinks]
            larger = [size for size in one.sizes if size > kept[grows]][-_REACH:]
            smaller = [size for size in other.sizes if size < kept[shrinks]][:_REACH]
            for more, fewer in itertools.product(larger, smaller):
                undone = _damage(one, kept[grows]) - _damage(one, more)
                less = undone - (_damage(other, fewer) - _damage(other, kept[shrinks]))
                if less > gain and cost(made := _with(_with(kept, grows, more), shrinks, fewer)) <= budget:
                    best, gain = made, less
        if best is None:
            return kept
        kept = given_back(candidates, best, cost, budget)
    return kept


_REACH = 3
"""Sizes that an exchange goes at most: with few sizes to a group, one up and one down often fit no budget."""
_EXCHANGES = 50


def _damage(one: Candidate, size: int) -> float:
    return float(one.damage[one.sizes[0] - size])


def _with(kept: Kept, number: int, size: int) -> Kept:
    return [*kept[:number], size, *kept[number + 1 :]]

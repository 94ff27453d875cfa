"""Which form and rank each layer takes, so that all together fit and lose least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Choice:
    """One way a layer can be.

    Attributes:
        form: how it is taken apart; "" as it is.
        rank: of that; 0 as it is.
        cost: what is left of it, in what is counted.
        loss: share of its outputs' variance that is lost, 0 to 1.
    """

    form: str
    rank: int
    cost: int
    loss: float


def within(layers: Sequence[Sequence[Choice]], budget: float) -> list[Choice] | None:
    """A choice for each layer, together no dearer than a budget; the product of what layers keep is made large.

    A price is put on the cost and moved until the budget is met: what is chosen is best for all budgets that some price
    leads to (Everett, "Generalized Lagrange Multiplier Method", Operations Research 11, 1963).

    Args:
        layers: of each layer its choices, as it is included.
        budget: in what costs are counted.

    Returns:
        None if the cheapest of all are too dear.
    """
    cheapest = [min(choices, key=lambda one: (one.cost, one.loss)) for choices in layers]
    if sum(one.cost for one in cheapest) > budget:
        return None
    low, high, best = -60.0, 60.0, cheapest
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        found = [min(choices, key=lambda one: (_lost(one) + math.exp(middle) * one.cost, one.cost)) for choices in layers]
        if sum(one.cost for one in found) <= budget:
            high, best = middle, found
        else:
            low = middle
    return best


def cheapest_within(choices: Sequence[Choice], most: float) -> Choice:
    """The cheapest of a layer's choices that loses no more; it stays as it is if none does."""
    return min((one for one in choices if one.loss <= most), key=lambda one: (one.cost, one.loss))


def _lost(one: Choice) -> float:
    return -math.log(max(1.0 - one.loss, 1e-12))

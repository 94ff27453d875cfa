"""How many units groups keep: worked by hand."""

import itertools
import math

import numpy as np
import pytest

from edgekit.passes.compress.prune.choose import Candidate, cheapest, evenly, retained, sizes


@pytest.mark.parametrize(
    ("units", "width", "multiple", "wanted"),
    [
        (64, 1, 16, (64, 48, 32, 16)),
        (40, 1, 8, (40, 32, 24, 16, 8)),
        (12, 1, 16, (12, 8, 4)),  # 16, halved until two of it fit: 4
        (6, 64, 16, (6, 5, 4, 3, 2, 1)),  # a head has 64 channels: any number of them is a multiple of 16
        (16, 4, 8, (16, 14, 12, 10, 8, 6, 4, 2)),  # two units are 8 channels
        (3, 1, 1, (3, 2, 1)),
        (32, 1, 16, (32, 16)),
    ],
)
def test_sizes_are_multiples_that_leave_a_choice(units, width, multiple, wanted):
    assert sizes(units, width, multiple) == wanted


def test_units_go_in_the_order_of_their_scores_and_the_last_ones_cost_ever_more():
    order, damage = retained(np.array([4.0, 1.0, 3.0]))

    assert order == (1, 2, 0)
    np.testing.assert_allclose(damage[:3], [0.0, -math.log(7 / 8), -math.log(4 / 8)])
    assert damage[3] == math.inf


def candidate(*damage: float) -> Candidate:
    units = len(damage) - 1
    return Candidate(tuple(range(units)), np.array(damage), tuple(range(units, 0, -1)))


def test_the_group_that_saves_most_for_the_damage_shrinks_first():
    # the first group's channels cost 10 each, the second's 1: of equal damage the first goes
    cheap = cheapest([candidate(0, 1, 3, math.inf), candidate(0, 1, 3, math.inf)], lambda kept: 10 * kept[0] + kept[1], 23)
    # the same, but the second group's do no damage
    free = cheapest([candidate(0, 1, 3, math.inf), candidate(0, 0, 0, math.inf)], lambda kept: 10 * kept[0] + kept[1], 31)

    assert cheap == [2, 3]
    assert free == [3, 1]


def test_what_the_last_step_took_too_much_is_given_back():
    # the second group goes first, as it does less damage for what it saves; then the first must, and the second fits again
    kept = cheapest([candidate(0, 8, math.inf), candidate(0, 1, 2, math.inf)], lambda kept: 10 * kept[0] + 2 * kept[1], 16)

    assert kept == [1, 3]


def test_the_choice_is_mostly_the_best_there_is_and_never_far_from_it():
    """Of all that use three quarters of the budget, by trying them: three groups of four sizes, costs as of layers in a row."""
    ratios = []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        groups = [candidate(0.0, *np.cumsum(np.sort(draw.exponential(size=3))) * draw.uniform(0.3, 3.0), math.inf) for _ in range(3)]
        first, second, third, last = draw.uniform(0.2, 2.0, 4)

        def cost(kept, first=first, second=second, third=third, last=last):
            return first * kept[0] + second * kept[0] * kept[1] + third * kept[1] * kept[2] + last * kept[2]

        def damage(kept, groups=groups):
            return sum(float(one.damage[one.sizes[0] - size]) for one, size in zip(groups, kept, strict=True))

        budget = 0.5 * cost([4, 4, 4])
        every = itertools.product(*(one.sizes for one in groups))
        best = min(damage(kept) for kept in every if 0.75 * budget <= cost(kept) <= budget)
        ratios.append(damage(cheapest(groups, cost, budget)) / best)

    assert np.mean(np.array(ratios) < 1.0 + 1e-9) > 0.93  # stepping one size up and one down alone: 0.90
    assert max(ratios) < 1.5


def test_a_budget_is_used_where_one_choice_of_a_little_more_damage_uses_it():
    # four and one do 2.5 of damage and leave 4 of a budget of 9; two and four do 2.6 and use 8; four and two would cost 12
    first, second = candidate(0, 1, 2.6, 4, math.inf), candidate(0, 0.5, 1, 2.5, math.inf)
    groups = [Candidate(one.order, one.damage, (4, 2, 1)) for one in (first, second)]

    assert cheapest(groups, lambda kept: {(4, 2): 12.0}.get(tuple(kept), float(kept[0] * kept[1])), 9.0) == [2, 4]


def test_evenly_every_group_loses_the_same_share():
    whole = [candidate(*range(8), math.inf), candidate(*range(4), math.inf)]

    assert evenly(whole, lambda kept: kept[0] * kept[1], 8) == [4, 2]


def test_an_unreachable_budget_leaves_every_group_at_its_smallest():
    assert cheapest([candidate(0, 1, math.inf)], lambda kept: float(kept[0]), 0.5) == [1]

import itertools

import numpy as np
import pytest

from edgekit.numerics.affine import INT2_SYMMETRIC, INT4_SYMMETRIC, INT8_REDUCED, INT8_SYMMETRIC, UINT2, UINT4, UINT8, Affine, dequantized
from edgekit.numerics.scales import round_rows

GRIDS = {
    "int8": (INT8_SYMMETRIC, True),
    "int8 reduced": (INT8_REDUCED, True),
    "uint8": (UINT8, False),
    "int4": (INT4_SYMMETRIC, True),
    "uint4": (UINT4, False),
    "int2": (INT2_SYMMETRIC, True),
    "uint2": (UINT2, False),
}


def squared_error(rows, integers, affine):
    return np.square(dequantized(integers, affine, axis=0).astype(np.float64) - rows).sum(axis=1)


def test_the_scale_of_three_levels_is_the_mean_size_of_what_is_not_0_by_hand():
    """0.9, 1.1, -1 and 0 at -1, 0, 1 times s: the sum of squared errors is least at s = (0.9 + 1.1 + 1) / 3 = 1."""
    integers, affine = round_rows(np.float32([[0.9, 1.1, -1.0, 0.0]]), INT2_SYMMETRIC, symmetric=True)

    assert integers.tolist() == [[1, 1, -1, 0]]
    assert affine.scale == pytest.approx([1.0])
    assert affine.zero_point.tolist() == [0]


def test_a_zero_point_moves_four_levels_to_where_the_numbers_are_by_hand():
    """0, 1, 2 and 3 take the numbers 0 to 3 themselves; -3 to 0 have their 0 at 3."""
    integers, affine = round_rows(np.float32([[0, 1, 2, 3], [-3, -2, -1, 0]]), UINT2, symmetric=False)

    assert integers.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert affine.zero_point.tolist() == [0, 3]
    assert affine.scale == pytest.approx([1.0, 1.0])


def test_an_outlier_is_cut_off_where_that_costs_less_by_hand():
    """90 ones and one 3, at three levels: at 3 the ones become 0, which costs 90; at 1 the 3 becomes 1, which costs 4."""
    integers, affine = round_rows(np.float32([[1.0] * 90 + [3.0]]), INT2_SYMMETRIC, symmetric=True)

    assert integers.tolist() == [[1] * 91]
    assert affine.scale == pytest.approx([93 / 91])


@pytest.mark.parametrize(("grid", "wanted"), [(INT2_SYMMETRIC, 0.1902), (UINT4, 0.01154)])
def test_normal_numbers_lose_what_the_best_equidistant_levels_lose(grid, wanted):
    """Max, "Quantizing for minimum distortion", IRE Transactions on Information Theory 6, 1960, table II: 3 and 16 levels."""
    rows = np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32)

    integers, affine = round_rows(rows, grid, symmetric=grid is INT2_SYMMETRIC)

    assert squared_error(rows, integers, affine).sum() / rows.size == pytest.approx(wanted, rel=0.04)  # levels lie on a whole zero point


@pytest.mark.parametrize("kind", ["int4", "int2"])
def test_the_scale_is_nearly_the_best_of_thousands(kind):
    grid, symmetric = GRIDS[kind]
    rows = np.random.default_rng(1).laplace(size=(20, 48)).astype(np.float32)
    found = squared_error(rows, *round_rows(rows, grid, symmetric=symmetric))

    for row, error in zip(rows, found, strict=True):
        scales = np.linspace(0.01, 1.0, 4000)[:, None] * np.abs(row).max()
        steps = np.clip(np.rint(row / scales), grid.low, grid.high)
        best = np.square(steps * scales - row).sum(axis=1).min()
        assert error <= 1.03 * best


@pytest.mark.parametrize(("kind", "shape"), list(itertools.product(GRIDS, [(1, 1), (1, 7), (5, 1), (3, 64), (300, 33), (2, 70000)])))
def test_no_row_is_farther_from_its_integers_than_at_the_scale_of_its_range(kind, shape):
    grid, symmetric = GRIDS[kind]
    rows = np.random.default_rng(2).standard_normal(shape).astype(np.float32) * np.float32(0.03)

    integers, affine = round_rows(rows, grid, symmetric=symmetric)

    low, high = np.minimum(rows.min(axis=1), 0), np.maximum(rows.max(axis=1), 0)
    scale = (np.maximum(-low, high) / grid.high if symmetric else (high - low) / grid.high).astype(np.float32)
    zero_point = np.zeros(len(rows)) if symmetric else np.rint(-low / scale)
    plain = np.clip(np.rint(rows / scale[:, None]) + zero_point[:, None], grid.low, grid.high)
    of_range = squared_error(rows, plain.astype(np.int64), Affine(scale, zero_point.astype(grid.dtype), grid))
    assert integers.dtype == grid.dtype
    assert integers.min() >= grid.low
    assert integers.max() <= grid.high
    assert np.all(affine.scale > 0.0)
    assert np.all(squared_error(rows, integers, affine) <= of_range * (1 + 1e-5) + 1e-12)


def test_a_row_of_zeros_is_stored_exactly():
    integers, affine = round_rows(np.zeros((2, 5), np.float32), UINT4, symmetric=False)

    assert not dequantized(integers, affine, axis=0).any()
    assert affine.scale.tolist() == [1.0, 1.0]


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="infinite or not a number"):
        round_rows(np.float32([[1.0, np.inf]]), INT4_SYMMETRIC, symmetric=True)

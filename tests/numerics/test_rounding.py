import numpy as np
import pytest

from edgekit.numerics.affine import INT8_REDUCED, INT8_SYMMETRIC, IntGrid
from edgekit.numerics.rounding import added_variance, compensated, rounded


def drawn(seed, groups=2, rows=5, inputs=12):
    """Weights, their scales and a covariance of inputs that resemble one another."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(groups, rows, inputs))
    mixing = generator.normal(size=(groups, inputs, 3))
    covariance = mixing @ mixing.transpose(0, 2, 1) + 0.1 * np.eye(inputs)
    return weights, np.abs(weights).max(axis=2) / 7, covariance


def textbook(weights, scale, covariance, grid):
    """Optimal brain quantization in a given order: after each column the best change of all that are left is solved for anew."""
    found = np.empty_like(weights)
    for group, rows in enumerate(weights):
        order = sorted(range(rows.shape[1]), key=lambda at: -covariance[group, at, at])
        left = rows.copy()
        for place, at in enumerate(order):
            found[group, :, at] = np.clip(np.rint(left[:, at] / scale[group]), grid.low, grid.high)
            error = left[:, at] - found[group, :, at] * scale[group]
            after = order[place + 1 :]
            if after:
                pull = np.linalg.solve(covariance[group][np.ix_(after, after)], covariance[group][after, at])
                left[:, after] += error[:, None] * pull
    return found


def test_the_nearest_integers_stay_on_the_grid():
    weights = np.array([[-9.0, -1.4, 0.6, 2.4, 9.0], [-9.0, -1.4, 0.6, 2.4, 9.0]])

    assert rounded(weights, np.array([1.0, 2.0]), IntGrid("int8", -3, 3)).tolist() == [[-3, -1, 1, 2, 3], [-3, -1, 0, 1, 3]]


def test_the_second_weight_makes_up_for_the_error_of_the_first():
    """Inputs that are alike by 0.9: 0.4 becomes 0, and 0.4 + 0.9 * 0.4 = 0.76 becomes 1, where the nearest are 0 and 0."""
    covariance = np.array([[[1.0, 0.9], [0.9, 1.0]]])
    weights, scale = np.array([[[0.4, 0.4]]]), np.array([[1.0]])

    assert rounded(weights, scale, INT8_SYMMETRIC).tolist() == [[[0, 0]]]
    assert compensated(weights, scale, covariance, INT8_SYMMETRIC).tolist() == [[[0, 1]]]


def test_it_makes_up_the_other_way_where_inputs_are_opposite():
    """-0.9: 0.4 becomes 0, and 0.6 - 0.9 * 0.4 = 0.24 becomes 0, where the nearest are 0 and 1."""
    covariance = np.array([[[1.0, -0.9], [-0.9, 1.0]]])

    assert compensated(np.array([[[0.4, 0.6]]]), np.array([[1.0]]), covariance, INT8_SYMMETRIC).tolist() == [[[0, 0]]]


def test_the_input_that_varies_most_is_rounded_first():
    """Of the second, which varies by 4, 0.4 becomes 0; to the first goes 0.4 * 1.8 / 1, and 0.4 + 0.72 becomes 1."""
    covariance = np.array([[[1.0, 1.8], [1.8, 4.0]]])

    assert compensated(np.array([[[0.4, 0.4]]]), np.array([[1.0]]), covariance, INT8_SYMMETRIC).tolist() == [[[1, 0]]]


def test_the_added_variance_is_that_of_the_error_times_the_inputs():
    """Errors 0.4 and -0.6, correlation 0.9: 0.16 + 0.36 - 2 * 0.9 * 0.24 = 0.088."""
    covariance = np.array([[[1.0, 0.9], [0.9, 1.0]]])
    found = added_variance(np.array([[[0.4, 0.4]]]), np.array([[[0.0, 1.0]]]), np.array([[1.0]]), covariance)

    np.testing.assert_allclose(found, [[0.088]])


def test_on_average_it_adds_much_less_variance_than_rounding_to_the_nearest():
    added = np.zeros(2)
    for seed in range(30):
        weights, scale, covariance = drawn(seed)
        for at, integers in enumerate((compensated(weights, scale, covariance, INT8_SYMMETRIC), rounded(weights, scale, INT8_SYMMETRIC))):
            added[at] += added_variance(weights, integers, scale, covariance).sum()

    assert added[0] < 0.5 * added[1]


def test_where_inputs_do_not_resemble_one_another_it_rounds_to_the_nearest():
    weights, scale, _ = drawn(0)
    variances = np.random.default_rng(1).uniform(0.1, 9.0, (2, 12))

    found = compensated(weights, scale, np.stack([np.diag(one) for one in variances]), INT8_SYMMETRIC)
    np.testing.assert_array_equal(found, rounded(weights, scale, INT8_SYMMETRIC))


def test_groups_at_once_are_the_groups_one_by_one():
    weights, scale, covariance = drawn(2, groups=4)
    alone = [compensated(weights[at : at + 1], scale[at : at + 1], covariance[at : at + 1], INT8_SYMMETRIC)[0] for at in range(4)]

    np.testing.assert_array_equal(compensated(weights, scale, covariance, INT8_SYMMETRIC), alone)


@pytest.mark.parametrize("inputs", [1, 12, 63, 64, 65, 128, 150])
def test_columns_in_blocks_are_rounded_as_one_by_one(inputs):
    weights, scale, covariance = drawn(3, inputs=inputs)

    np.testing.assert_array_equal(compensated(weights, scale, covariance, INT8_SYMMETRIC), textbook(weights, scale, covariance, INT8_SYMMETRIC))


def test_integers_stay_on_the_grid_however_much_is_to_be_made_up_for():
    weights, scale, covariance = drawn(4)
    found = compensated(weights, scale / 20, covariance, INT8_REDUCED)

    assert (found.min(), found.max()) == (-64, 64)
    np.testing.assert_array_equal(found, np.rint(found))


def test_its_arguments_are_left_alone():
    weights, scale, covariance = drawn(5)
    before = [array.copy() for array in (weights, scale, covariance)]
    compensated(weights, scale, covariance, INT8_SYMMETRIC)

    for array, same in zip((weights, scale, covariance), before, strict=True):
        np.testing.assert_array_equal(array, same)

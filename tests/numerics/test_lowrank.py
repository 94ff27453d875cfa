import numpy as np
import pytest

from edgekit.numerics import lowrank


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_without_inputs_known_the_best_factors_are_those_of_the_singular_values():
    weight = normal(7, 9)

    left, right = lowrank.truncated(weight, np.eye(9), 3)

    u, s, v = np.linalg.svd(weight)
    np.testing.assert_allclose(left @ right, (u[:, :3] * s[:3]) @ v[:3], atol=1e-12)
    np.testing.assert_allclose(lowrank.output_directions(weight, np.eye(9))[0], s**2, rtol=1e-9)


def test_inputs_that_never_move_cost_nothing():
    """Inputs lie in a plane: two directions hold all outputs, whatever the weights are elsewhere."""
    weight, plane = normal(6, 8), normal(8, 2, seed=1)
    inputs = normal(50, 2, seed=2) @ plane.T

    left, right = lowrank.truncated(weight, inputs.T @ inputs, 2)

    np.testing.assert_allclose(inputs @ (left @ right).T, inputs @ weight.T, atol=1e-9)


def test_no_factors_of_that_rank_change_outputs_less():
    """In the coordinates in which inputs are white, Eckart and Young's theorem says what is best."""
    weight, mixing = normal(6, 8), normal(8, 8, seed=1)
    covariance = mixing @ mixing.T

    left, right = lowrank.truncated(weight, covariance, 2)

    singular = np.linalg.svd(weight @ np.linalg.cholesky(covariance), compute_uv=False)
    assert lowrank.variance_of(weight - left @ right, covariance) == pytest.approx(np.square(singular[2:]).sum(), rel=1e-9)


def test_variances_alone_are_a_diagonal():
    weight, variances = normal(5, 4), np.array([1.0, 2.0, 3.0, 4.0])

    assert lowrank.variance_of(weight, variances) == pytest.approx(lowrank.variance_of(weight, np.diag(variances)))
    np.testing.assert_allclose(
        lowrank.refitted(weight, normal(2, 4, seed=1), variances), lowrank.refitted(weight, normal(2, 4, seed=1), np.diag(variances))
    )


def test_a_last_factor_is_fitted_as_by_least_squares():
    weight, first, inputs = normal(5, 8), normal(3, 8, seed=1), normal(40, 8, seed=2)

    found = lowrank.refitted(weight, first, inputs.T @ inputs)

    np.testing.assert_allclose(found.T, np.linalg.lstsq(inputs @ first.T, inputs @ weight.T)[0], atol=1e-6)


def test_elimination_is_exact_at_the_rank_of_the_matrix():
    weight = normal(6, 3) @ normal(3, 8, seed=1)

    lower, upper = lowrank.eliminated(weight, 3)

    np.testing.assert_allclose(lower @ upper, weight, atol=1e-12)


def test_one_step_of_elimination_by_hand():
    """The largest number is 4: its column over it, times its row."""
    lower, upper = lowrank.eliminated(np.array([[1.0, 2.0], [3.0, 4.0]]), 1)

    assert (lower @ upper).tolist() == [[1.5, 2.0], [3.0, 4.0]]


def test_columns_and_rows_make_the_kernel_that_they_were_taken_from():
    columns, rows = normal(3, 4, 5, 1), normal(6, 3, 1, 5, seed=1)
    kernel = np.einsum("rihx,orxw->oihw", columns, rows)

    found = lowrank.spatial(kernel, 3)

    assert [one.shape for one in found] == [(3, 4, 5, 1), (6, 3, 1, 5)]
    np.testing.assert_allclose(np.einsum("rihx,orxw->oihw", *found), kernel, atol=1e-10)


def test_a_kernel_of_few_inputs_and_outputs_between_matrices_is_found_again():
    kernel = np.einsum("rshw,or,si->oihw", normal(3, 2, 3, 3), normal(8, 3, seed=1), normal(2, 6, seed=2))

    before, middle, behind = lowrank.tucker(kernel, 3, 2)

    assert (before.shape, middle.shape, behind.shape) == ((2, 6), (3, 2, 3, 3), (8, 3))
    np.testing.assert_allclose(np.einsum("rshw,or,si->oihw", middle, behind, before), kernel, atol=1e-10)


# tensorly 0.10.0: partial_tucker(kernel, rank=[3, 2], modes=[0, 1], init="svd", n_iter_max=200, tol=1e-12) and
# parafac(kernel, rank=4, init="svd", n_iter_max=2000, tol=1e-12), each the squared norm of what is left of normal(8, 6, 3, 3).
TENSORLY_TUCKER, TENSORLY_PARAFAC = 300.22750247201895, 298.81938503796744


def test_iteration_reaches_what_tensorly_does():
    kernel = normal(8, 6, 3, 3)

    before, middle, behind = lowrank.tucker(kernel, 3, 2)
    vectors = lowrank.canonical(kernel, 4)

    left = np.square(kernel - np.einsum("rshw,or,si->oihw", middle, behind, before)).sum()
    assert left == pytest.approx(TENSORLY_TUCKER, rel=1e-3)
    left = np.square(kernel - np.einsum("or,ir,hr,wr->oihw", *vectors)).sum()
    assert left == pytest.approx(TENSORLY_PARAFAC, rel=0.02)


def test_products_of_four_vectors_are_found_again():
    kernel = np.einsum("or,ir,hr,wr->oihw", *(normal(size, 3, seed=size) for size in (8, 6, 5, 4)))

    vectors = lowrank.canonical(kernel, 3)

    np.testing.assert_allclose(np.einsum("or,ir,hr,wr->oihw", *vectors), kernel, atol=1e-3 * np.abs(kernel).max())
    np.testing.assert_allclose(np.linalg.norm(vectors[1], axis=0), 1.0)


def test_filters_of_each_input_are_found_again():
    """Each input has two filters, and outputs are sums of what they make."""
    filters, points = normal(4, 2, 3, 3), normal(7, 4, 2, seed=1)
    kernel = np.einsum("imhw,oim->oihw", filters, points)

    found = lowrank.by_input(kernel, 2)

    assert found.shape == (8, 1, 3, 3)
    for channel in range(4):
        span = found[2 * channel : 2 * channel + 2].reshape(2, 9)
        np.testing.assert_allclose(kernel[:, channel].reshape(7, 9) @ span.T @ span, kernel[:, channel].reshape(7, 9), atol=1e-10)

import numpy as np
import pytest

from edgekit.numerics.moments import Moments


def of(batches):
    """Moments of batches of rows, one group."""
    first, *others = (Moments.of(np.asarray(batch, np.float32)[None]) for batch in batches)
    for other in others:
        first.add(other)
    return first


def beside(covariance):
    """Root mean square of what is not on the diagonal."""
    return float(np.sqrt(np.square(covariance[~np.eye(len(covariance), dtype=bool)]).mean()))


def correlated(generator, count, inputs=6):
    mixed = np.exp(-0.3 * np.abs(np.subtract.outer(np.arange(inputs), np.arange(inputs))))
    return generator.normal(size=(count, inputs)) @ np.linalg.cholesky(mixed).T


def test_identical_batches_leave_nothing_in_doubt():
    batch = np.add(correlated(np.random.default_rng(0), 50), [1.0, -2.0, 0.0, 0.5, 0.0, 3.0])
    moments = of([batch] * 40)
    expected = np.cov(batch.T, bias=True)

    np.testing.assert_allclose(moments.mean[0], batch.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(moments.covariance()[0], expected, atol=2e-4 * expected.diagonal().mean())
    assert (moments.rows, moments.batches) == (2000, 40)


def test_many_batches_of_independent_rows_shrink_little_and_few_shrink_much():
    generator = np.random.default_rng(1)
    batches = [correlated(generator, 8) for _ in range(400)]
    few, many = batches[:3], batches

    def kept(batches):
        return beside(of(batches).covariance()[0]) / beside(np.cov(np.concatenate(batches).T, bias=True))

    assert kept(many) > 0.97
    assert kept(few) < 0.85


def test_rows_of_one_batch_prove_no_more_than_one_sample():
    """Each row a thousand times in its batch: as unsure as with the row alone."""
    rows = correlated(np.random.default_rng(2), 12)
    once, often = of([row[None] for row in rows]), of([np.repeat(row[None], 1000, axis=0) for row in rows])

    np.testing.assert_allclose(often.covariance(), once.covariance(), rtol=1e-3, atol=1e-4)


def test_one_batch_alone_says_nothing_about_how_inputs_go_together():
    batch = correlated(np.random.default_rng(3), 100)
    found = of([batch]).covariance()[0]

    np.testing.assert_array_equal(found, np.diag(found.diagonal()))
    np.testing.assert_allclose(found.diagonal(), batch.var(axis=0), rtol=1e-3)


def test_the_share_of_chance_is_that_worked_out_by_hand():
    """Three batches of one row: x xT is [[1, 1], [1, 1]], [[1, -1], [-1, 1]] and [[4, 4], [4, 4]].

    Their mean is [[2, 4/3], [4/3, 2]], of squared norm 104/9; their squared norms are 4, 4 and 64, 24 on average. The
    mean of one batch is off by 24 - 104/9 = 112/9, that of three (of which one is free no more) by half of it, 56/9.
    The mean row is (4/3, 2/3), so what is found is [[2/9, 4/9], [4/9, 14/9]], beside the diagonal 2 * (4/9)^2 = 32/81.
    """
    moments = of([[[1.0, 1.0]], [[1.0, -1.0]], [[2.0, 2.0]]])
    chance, found = 56 / 9, 32 / 81
    covariance = moments.covariance()[0]

    np.testing.assert_allclose(covariance[0, 1], 4 / 9 * (1 - chance / (chance + found)), rtol=1e-5)
    np.testing.assert_allclose(covariance.diagonal(), [2 / 9 + 8e-5 * 10 / 9, 14 / 9 + 8e-5 * 10 / 9], atol=1e-4)


def test_shrinking_brings_the_covariance_closer_to_the_truth():
    truth = 0.6 ** np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    generator = np.random.default_rng(4)
    shrunk, plain = 0.0, 0.0
    for _ in range(20):
        batches = generator.normal(size=(15, 1, 30)) @ np.linalg.cholesky(truth).T
        shrunk += np.square(of(batches).covariance()[0] - truth).sum()
        plain += np.square(np.cov(np.concatenate(batches).T, bias=True) - truth).sum()

    assert shrunk < 0.8 * plain


def test_inputs_that_are_constant_or_copies_leave_it_positive_definite():
    generator = np.random.default_rng(5)
    batches = []
    for _ in range(20):
        rows = correlated(generator, 30, 5)
        batches.append(np.concatenate([rows, rows[:, :2], -2.0 * rows[:, :1], np.full((30, 1), 7.0), np.zeros((30, 1))], axis=1))

    np.linalg.cholesky(of(batches).covariance())


@pytest.mark.parametrize("value", [0.0, 1e-6, 1.0, 1000.0])
def test_inputs_that_are_all_constant_leave_it_positive_definite(value):
    np.linalg.cholesky(of([np.full((20, 9), value)] * 10).covariance())


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("deviation", [1e-5, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("batches", [2, 5, 100])
def test_inputs_far_from_zero_that_hardly_vary_leave_it_positive_definite(batches, deviation, copied):
    """Squares of 1000 kept as float32 are only known to 0.06: what they differ by is not a covariance."""
    generator = np.random.default_rng(6)
    rows = 1000.0 + deviation * generator.normal(size=(batches, 64, 1 if copied else 27))

    np.linalg.cholesky(of(np.broadcast_to(rows, (batches, 64, 27))).covariance())


def test_groups_are_kept_apart():
    generator = np.random.default_rng(7)
    batches = [np.stack([correlated(generator, 10), 5.0 + 3.0 * correlated(generator, 10)]) for _ in range(30)]
    both = Moments.of(batches[0])
    for batch in batches[1:]:
        both.add(Moments.of(batch))
    alone = [of([batch[group] for batch in batches]) for group in range(2)]

    np.testing.assert_allclose(both.mean, [one.mean[0] for one in alone])
    np.testing.assert_allclose(both.covariance(), [one.covariance()[0] for one in alone], rtol=1e-4, atol=1e-5)

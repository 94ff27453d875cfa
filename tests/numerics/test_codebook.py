import itertools

import numpy as np
import pytest

from edgekit.numerics.codebook import BINS, codebook, codebooks, nearest


def by_trying_all(points, mass, entries):
    """Least squared distance over all ways to cut sorted points into intervals."""
    order = np.argsort(points)
    points, mass = points[order], mass[order]
    best = np.inf
    for cuts in itertools.combinations(range(1, len(points)), entries - 1):
        parts = [slice(begin, end) for begin, end in itertools.pairwise((0, *cuts, len(points)))]
        means = [np.average(points[part], weights=mass[part]) for part in parts]
        best = min(best, sum((mass[part] * (points[part] - mean) ** 2).sum() for part, mean in zip(parts, means, strict=True)))
    return best


def distance(points, mass, book):
    return (mass * np.square(points[:, None] - book).min(axis=1)).sum()


@pytest.mark.parametrize("entries", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_of_the_line_lies_nearer(entries, seed):
    generator = np.random.default_rng(seed)
    points, mass = generator.normal(size=13) ** 3, generator.uniform(0.1, 3.0, 13)

    book = codebook(points, entries, weights=mass)

    assert len(book) == entries
    assert distance(points, mass, book) == pytest.approx(by_trying_all(points, mass, entries), rel=1e-9)


def test_three_heaps_give_their_means():
    np.testing.assert_allclose(codebook([5.0, 0.0, 1.0, 9.0, 9.5, 5.5, 10.0], 3), [0.5, 5.25, 9.5])


def test_a_heavier_number_draws_its_entry_nearer():
    np.testing.assert_allclose(codebook([0.0, 1.0, 10.0], 2, weights=[1.0, 3.0, 1.0]), [0.75, 10.0])


def test_numbers_without_weight_do_not_count():
    assert codebook([0.0, 1.0, 7.0], 4, weights=[1.0, 1.0, 0.0]).tolist() == [0.0, 1.0]


def test_fewer_different_numbers_than_entries_are_all_kept():
    assert codebook([2.0, -1.0, 2.0], 16).tolist() == [-1.0, 2.0]


def test_of_more_numbers_than_bins_each_entry_is_the_mean_of_what_is_nearest():
    numbers = np.random.default_rng(0).standard_t(4, size=10 * BINS)

    book = codebook(numbers, 16)

    codes = nearest(numbers, book)
    np.testing.assert_allclose(book, [numbers[codes == code].mean() for code in range(16)], rtol=1e-9)


def test_sixteen_entries_leave_of_a_normal_distribution_what_the_table_says():
    """Max, "Quantizing for Minimum Distortion", IRE Transactions on Information Theory 6, 1960, table I: 0.009497."""
    normal = np.random.default_rng(1).normal(size=200_000)
    book = codebook(normal, 16)

    assert np.square(normal - book[nearest(normal, book)]).mean() == pytest.approx(0.009497, rel=0.02)


def test_the_nearest_entry_is_found():
    assert nearest([-5.0, 0.4, 0.6, 3.0], np.array([0.0, 1.0, 2.0])).tolist() == [0, 0, 1, 2]


def test_codebooks_of_many_rows_are_almost_the_best_of_each():
    rows, mass = np.random.default_rng(0).normal(size=(20, 300)), np.random.default_rng(1).uniform(0.5, 2.0, (20, 300))

    books = codebooks(rows, 8, weights=mass)

    assert books.shape == (20, 8)
    found = [distance(row, one, book) for row, one, book in zip(rows, mass, books, strict=True)]
    best = [distance(row, one, codebook(row, 8, weights=one)) for row, one in zip(rows, mass, strict=True)]
    assert np.sum(found) <= 1.1 * np.sum(best)


def test_rows_of_fewer_numbers_than_entries_are_kept():
    np.testing.assert_allclose(np.unique(codebooks(np.array([[3.0, -1.0, 2.0]]), 8)), [-1.0, 2.0, 3.0])

import numpy as np
import pytest

from edgekit.numerics.affine import INT8_SYMMETRIC, UINT8, affine_from_range, dequantized, quantized
from edgekit.numerics.observers import BINS, Histogram, range_of_least_error, range_seen


def seen(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.observe(np.asarray(batch, np.float32))
    return histogram


def error_of(values, low, high, grid, *, symmetric):
    affine = affine_from_range(low, high, grid, symmetric=symmetric)
    return float(np.square(dequantized(quantized(values, affine), affine) - values).mean())


def test_every_value_is_counted_however_often_the_range_grows():
    generator = np.random.default_rng(0)
    batches = [generator.normal(scale=scale, size=1000) for scale in (0.001, 1.0, 1000.0, 0.01)]
    histogram = seen(*batches)

    assert histogram.counts.sum() == 4000
    assert len(histogram.counts) <= BINS
    assert histogram.low == np.float32(min(batch.min() for batch in batches))
    assert histogram.high == np.float32(max(batch.max() for batch in batches))


def test_bins_hold_what_lies_between_their_edges_after_they_were_joined():
    values = np.array([-0.5, -0.25, 0.0, 0.25, 0.75, 3.5, 900.0], np.float32)
    histogram = seen(*[[value] for value in values])
    edges = (histogram.first + np.arange(len(histogram.counts) + 1)) * histogram.width

    assert histogram.counts.tolist() == np.histogram(values, edges)[0].tolist()


def test_the_order_of_samples_does_not_matter():
    generator = np.random.default_rng(1)
    batches = [generator.normal(loc=loc, scale=scale, size=500) for loc, scale in ((0.0, 1.0), (5.0, 0.1), (-40.0, 3.0))]
    forwards, backwards = seen(*batches), seen(*batches[::-1])

    assert forwards.width == backwards.width
    assert forwards.first == backwards.first
    assert np.array_equal(forwards.counts, backwards.counts)


def test_two_histograms_joined_are_that_of_both():
    generator = np.random.default_rng(2)
    small, large = generator.normal(size=500), generator.normal(loc=90.0, scale=20.0, size=700)
    joined, at_once = seen(small).joined(seen(large)), seen(small, large)

    assert (joined.low, joined.high, joined.width, joined.first) == (at_once.low, at_once.high, at_once.width, at_once.first)
    assert np.array_equal(joined.counts, at_once.counts)


def test_joining_with_nothing_changes_nothing():
    one = seen([1.0, 2.0])

    assert np.array_equal(one.joined(Histogram()).counts, one.counts)
    assert Histogram().joined(one).counts.sum() == 2


def test_zeros_alone_are_counted_and_kept_when_other_values_come():
    histogram = seen(np.zeros(10), [4.0])

    assert histogram.counts[0] == 10
    assert histogram.counts.sum() == 11
    assert range_seen(seen(np.zeros(10))) == (0.0, 0.0)
    assert range_of_least_error(seen(np.zeros(10)), UINT8, symmetric=False) == (0.0, 0.0)


def test_a_range_seen_holds_zero():
    assert range_seen(seen([2.0, 5.0])) == (0.0, 5.0)
    assert range_seen(seen([-3.0, -1.0])) == (-3.0, 0.0)


@pytest.mark.parametrize("size", [1e-44, 1e-38, 3e38])
def test_the_smallest_and_the_largest_numbers_are_counted(size):
    assert seen([-size, 0.0, size]).counts.sum() == 3


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        seen([1.0, bad])


def test_nothing_is_clipped_where_values_fill_the_range_evenly():
    values = np.linspace(0.0, 1.0, 100_000, dtype=np.float32)
    low, high = range_of_least_error(seen(values), UINT8, symmetric=False)

    assert low == 0.0
    assert high > 0.98


def test_a_far_outlier_among_many_values_is_clipped_and_the_error_becomes_less():
    values = np.append(np.random.default_rng(3).normal(size=1_000_000), 40.0).astype(np.float32)
    low, high = range_of_least_error(seen(values), UINT8, symmetric=False)

    assert high < 20.0
    assert error_of(values, low, high, UINT8, symmetric=False) < 0.5 * error_of(values, values.min(), 40.0, UINT8, symmetric=False)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_range_is_close_to_the_best_that_trying_all_finds(symmetric):
    values = np.random.default_rng(4).laplace(size=200_000).astype(np.float32)
    grid = INT8_SYMMETRIC if symmetric else UINT8
    found = error_of(values, *range_of_least_error(seen(*np.split(values, 4)), grid, symmetric=symmetric), grid, symmetric=symmetric)
    shares = np.linspace(0.2, 1.0, 81)
    tried = [error_of(values, values.min() * a, values.max() * b, grid, symmetric=symmetric) for a in shares[::4] for b in shares[::4]]

    assert found < 1.03 * min(tried)

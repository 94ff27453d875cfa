import math

import numpy as np
import pytest

from edgekit.numerics.affine import INT8_SYMMETRIC, UINT8, affine_from_range, dequantized, quantized
from edgekit.numerics.observers import (
    BINS,
    COUNTED,
    Histogram,
    range_of_average_extremes,
    range_of_least_divergence,
    range_of_least_error,
    range_of_percentile,
    range_seen,
)


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


def divergence_of(values, low, high, grid, *, symmetric):
    """KL(P || Q) of the bins of a histogram as Migacz has it, bin by bin in plain loops."""
    histogram = seen(values)
    affine = affine_from_range(low, high, grid, symmetric=symmetric)
    bins = [(centre, count) for centre, count in zip(histogram.centres().tolist(), histogram.counts.tolist(), strict=True) if count]
    steps = [round(centre / float(affine.scale)) + int(affine.zero_point) for centre, _ in bins]
    inside = [at for at, step in enumerate(steps) if grid.low <= step <= grid.high]
    p = [float(bins[at][1]) for at in inside]
    p[0] += sum(count for (_, count), step in zip(bins, steps, strict=True) if step < grid.low)
    p[-1] += sum(count for (_, count), step in zip(bins, steps, strict=True) if step > grid.high)
    q = []
    for at in inside:
        alike = [bins[other][1] for other in inside if steps[other] == steps[at]]
        q.append(sum(alike) / len(alike))
    return sum(one / sum(p) * math.log((one / sum(p)) / (other / sum(q))) for one, other in zip(p, q, strict=True))


def test_average_extremes_are_the_means_of_each_samples_extremes():
    histogram = seen([-1.0, 2.0, 0.5], [-3.0, 8.0], [-2.0, -0.5, 5.0])

    assert range_of_average_extremes(histogram) == (-2.0, 5.0)
    assert range_of_average_extremes(seen([-1.0, 2.0]).joined(seen([-3.0, 8.0]))) == (-2.0, 5.0)


def test_average_extremes_hold_zero_and_are_zero_where_nothing_was_seen():
    assert range_of_average_extremes(seen([2.0, 4.0], [3.0, 6.0])) == (0.0, 5.0)
    assert range_of_average_extremes(seen([-4.0, -2.0], [-6.0, -3.0])) == (-5.0, 0.0)
    assert range_of_average_extremes(Histogram()) == (0.0, 0.0)


THOUSAND = np.arange(1, 1001)
"""1000 values in bins that are a quarter wide, each in one of its own."""


@pytest.mark.parametrize(("percentile", "highest"), [(100.0, 1000), (99.0, 995), (98.0, 990), (90.0, 950)])
def test_a_percentile_leaves_out_half_of_the_rest_above(percentile, highest):
    low, high = range_of_percentile(seen(THOUSAND), percentile, symmetric=False)

    assert low == 0.0
    assert highest <= high <= highest + 0.25


def test_a_percentile_leaves_out_as_much_below_as_above():
    values = np.concatenate([-THOUSAND[:500] * 2, THOUSAND[:500]])  # of 2 percent, the 10 lowest and the 10 highest go
    low, high = range_of_percentile(seen(values), 98.0, symmetric=False)

    assert -980.5 <= low <= -980.0
    assert 490.0 <= high <= 490.5


def test_a_symmetric_percentile_leaves_out_the_largest_sizes_wherever_they_are():
    values = np.concatenate([-THOUSAND[:500] * 2, THOUSAND[:500]])
    low, high = range_of_percentile(seen(values), 98.0, symmetric=True)  # the 20 largest sizes are all below zero

    assert -961.0 <= low <= -960.0
    assert high == 500.0


def test_a_percentile_of_a_few_outliers_leaves_them_out():
    values = np.append(np.linspace(0.0, 1.0, 99_990), np.full(5, 1000.0))

    assert range_of_percentile(seen(values), 99.98, symmetric=False)[1] < 1.5
    assert range_of_percentile(seen(values), 99.999, symmetric=False)[1] == 1000.0


def test_a_percentile_of_values_on_one_side_ends_at_zero():
    assert range_of_percentile(seen(THOUSAND + 5000), 50.0, symmetric=False)[0] == 0.0
    assert range_of_percentile(seen(-THOUSAND - 5000), 50.0, symmetric=False)[1] == 0.0
    assert range_of_percentile(seen(np.zeros(10)), 99.0, symmetric=False) == (0.0, 0.0)


SHARES = np.linspace(0.25, 1.0, 48)


@pytest.mark.parametrize("name", ["laplace", "normal", "outlier"])
def test_the_symmetric_range_of_least_divergence_is_the_best_of_all_candidates(name):
    generator = np.random.default_rng(5)
    values = generator.normal(size=3000) if name != "laplace" else generator.laplace(size=3000)
    values = (np.append(values, 15.0) if name == "outlier" else values).astype(np.float32)
    candidates = [(float(values.min()) * share, float(values.max()) * share) for share in SHARES]
    divergences = [divergence_of(values, *ends, INT8_SYMMETRIC, symmetric=True) for ends in candidates]
    found = range_of_least_divergence(seen(values), INT8_SYMMETRIC, symmetric=True)

    assert divergence_of(values, *found, INT8_SYMMETRIC, symmetric=True) == pytest.approx(min(divergences), rel=1e-9)
    assert found == pytest.approx(candidates[int(np.argmin(divergences))])


def test_the_range_of_least_divergence_of_what_is_never_negative_is_the_best_of_all_candidates():
    values = np.abs(np.random.default_rng(6).laplace(size=3000)).astype(np.float32)
    divergences = [divergence_of(values, 0.0, float(values.max()) * share, UINT8, symmetric=False) for share in SHARES]
    low, high = range_of_least_divergence(seen(values), UINT8, symmetric=False)

    assert low == 0.0
    assert high == pytest.approx(float(values.max()) * SHARES[int(np.argmin(divergences))])


def test_the_range_of_least_divergence_is_close_to_the_best_pair_of_ends():
    generator = np.random.default_rng(7)
    values = np.append(generator.normal(size=3000), [-6.0, 25.0]).astype(np.float32)
    pairs = [(values.min() * a, values.max() * b) for a in SHARES[::6] for b in SHARES[::6]]
    best = min(divergence_of(values, *ends, UINT8, symmetric=False) for ends in pairs)
    low, high = range_of_least_divergence(seen(values), UINT8, symmetric=False)

    assert divergence_of(values, low, high, UINT8, symmetric=False) < 1.05 * best
    assert high < 15.0


def test_the_extremes_of_a_large_sample_are_exact_though_only_a_part_is_counted():
    values = np.random.default_rng(8).normal(size=(64, 100, 100)).astype(np.float32)
    values[17, 41, 3], values[63, 99, 99] = -50.0, 70.0
    histogram = seen(values)

    assert (histogram.low, histogram.high) == (-50.0, 70.0)
    assert (histogram.lows, histogram.highs, histogram.samples) == (-50.0, 70.0, 1)
    assert 0.5 * COUNTED < histogram.counts.sum() < 2 * COUNTED


def test_all_values_of_a_small_sample_are_counted():
    values = np.random.default_rng(9).normal(size=2 * COUNTED - 1)

    assert seen(values).counts.sum() == values.size


@pytest.mark.parametrize("shape", [(1, 64, 112, 112), (1, 56, 56, 256), (8, 128, 1024), (1, 3, 640, 640), (700_000,)])
def test_the_part_of_a_large_sample_that_is_counted_is_like_the_whole(shape):
    """Channels, rows and columns differ in size: a step in time with one of them would see some of them alone."""
    generator = np.random.default_rng(10)
    scale = np.ones(shape)
    for axis, size in enumerate(shape):
        scale = scale * np.exp(generator.normal(size=size) * 0.5).reshape([-1 if at == axis else 1 for at in range(len(shape))])
    values = (generator.normal(size=shape) * scale).astype(np.float32)
    histogram = seen(values)
    edges = (histogram.first + np.arange(len(histogram.counts) + 1)) * histogram.width
    whole = np.cumsum(np.histogram(values, edges)[0]) / values.size
    part = np.cumsum(histogram.counts) / histogram.counts.sum()

    assert histogram.counts.sum() < 2 * COUNTED
    assert np.abs(whole - part).max() < 0.01

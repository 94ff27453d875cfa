import numpy as np
import pytest

from edgekit.numerics.statistics import drift, fewest_queries, mean_interval, median_interval, median_ratio_interval, percentile


def correlated(count, strength, seed=0):
    """A first-order autoregressive series around 100, standard deviation 1."""
    noise = np.random.default_rng(seed).normal(size=count)
    series = np.empty(count)
    series[0] = noise[0]
    for index in range(1, count):
        series[index] = strength * series[index - 1] + np.sqrt(1 - strength**2) * noise[index]
    return 100 + series


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.05, 15), (0.3, 20), (0.4, 20), (0.5, 35), (0.6, 35), (0.61, 40), (0.9, 50), (1.0, 50)],
)
def test_percentiles_by_nearest_rank_are_values_that_were_seen(share, value):
    assert percentile([50, 15, 40, 20, 35], share) == value


def test_a_percentile_that_falls_on_a_rank_takes_that_rank():
    # 0.07 * 100 is 7.000000000000001 in floating point.
    assert percentile(range(1, 101), 0.07) == 7
    assert percentile(range(1, 101), 0.99) == 99


def test_percentiles_are_those_of_numpy():
    values = np.random.default_rng(1).integers(1, 10**9, 997)
    for share in (0.01, 0.25, 0.5, 0.9, 0.99):
        assert percentile(values, share) == np.quantile(values, share, method="inverted_cdf")


def test_as_many_queries_are_asked_for_as_mlperf_asks_for():
    assert fewest_queries(0.9) == 64
    assert fewest_queries(0.99) == 662


def test_a_median_needs_eleven_queries():
    # (1 + n) / 2^n <= 0.01 first holds for n = 11: 12 / 2048 = 0.0059; 11 / 1024 = 0.0107.
    assert fewest_queries(0.5) == 11


def test_the_mean_of_two_batches_has_the_interval_of_students_t():
    # Batches [1, 3] and [5, 7]: means 2 and 6, deviation 2 sqrt(2), t(1) = 12.706: 4 +- 12.706 * 2.8284 / sqrt(2).
    low, high = mean_interval([1, 3, 5, 7])

    assert (low, high) == pytest.approx((4 - 25.412, 4 + 25.412))


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([7] * 100) == (7, 7)
    assert median_interval([7] * 100) == (7, 7)


def test_correlation_widens_the_interval_of_the_mean():
    independent = np.subtract(*mean_interval(correlated(4000, 0.0)))
    sticky = np.subtract(*mean_interval(correlated(4000, 0.9)))

    # In theory by sqrt((1 + 0.9) / (1 - 0.9)) = 4.4.
    assert 2.5 < sticky / independent < 7


@pytest.mark.parametrize("strength", [0.0, 0.8])
def test_intervals_hold_the_truth_about_95_times_in_a_hundred(strength):
    hits = {"mean": 0, "median": 0}
    for seed in range(100):
        series = correlated(1000, strength, seed)
        hits["mean"] += mean_interval(series)[0] <= 100 <= mean_interval(series)[1]
        low, high = median_interval(series, resamples=200)
        hits["median"] += low <= 100 <= high

    # Independent formulas would hold it in fewer than half of the correlated series.
    assert hits["mean"] >= 88
    assert hits["median"] >= 82


def test_a_ratio_of_medians_is_held_by_its_interval():
    low, high = median_ratio_interval(correlated(1000, 0.5, seed=1) * 1.1, correlated(1000, 0.5, seed=2))

    assert low < 1.1 < high
    assert high - low < 0.01


def test_the_bootstrap_is_the_same_every_time():
    series = correlated(500, 0.5)

    assert median_interval(series) == median_interval(series)
    assert median_interval(series, seed=1) != median_interval(series, seed=2)


def test_a_straight_rise_is_a_certain_drift_of_its_size():
    # 400 values from 100 to 200: batches of 20, whose medians rise by 95/100 of the whole; median 150.
    trend = drift(np.linspace(100, 200, 400))

    assert trend.is_certain
    assert trend.change == pytest.approx(95.2 / 150, abs=0.002)
    # All 190 pairs rise: z = 189 / sqrt(20 * 19 * 45 / 18) = 6.13.
    assert trend.z == pytest.approx(6.132, abs=0.001)


def test_a_fall_has_a_negative_sign():
    assert drift(np.linspace(200, 100, 400)).change < -0.5


def test_noise_without_trend_is_no_drift():
    certain = sum(drift(correlated(1000, 0.3, seed)).is_certain for seed in range(100))

    assert certain <= 6


def test_one_outlier_is_no_drift():
    series = np.full(400, 100.0)
    series[-1] = 10_000

    assert drift(series).change == 0

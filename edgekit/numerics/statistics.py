"""What a series of timings says, and how sure: percentiles, intervals and drift of values that are not independent.

Queries that follow one another meet the same clock, heat and neighbours, so their times are correlated, and formulas for
independent values promise too much. Intervals of means come from batch means here, those of medians from blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]

BATCHES = 20
# Two-sided 95 % quantiles of Student's t for 1 to 19 degrees of freedom. Source: any table; NIST/SEMATECH e-Handbook 1.3.6.7.2.
T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093),
)


def percentile(values: ArrayLike, share: float) -> float:
    """The smallest value that at least ``share`` of all values do not exceed (nearest rank: a value that was seen).

    Args:
        values: shape (n,), n >= 1.
        share: 0 < share <= 1, such as 0.5.
    """
    series = np.asarray(values, np.float64)
    rank = max(1, math.ceil(round(share * series.size, 9)))
    return float(np.partition(series, rank - 1)[rank - 1])


def fewest_queries(share: float, confidence: float = 0.99) -> int:
    """How many queries must stand behind a percentile before it may be stated.

    The second largest value must lie above the true percentile with this confidence: fewer than two of n values beyond it
    must be that unlikely, ``P(Binomial(n, 1 - share) <= 1) <= 1 - confidence``. 11 for the median, 64 for p90, 662 for p99.

    Source:
        MLPerf Inference rules, appendix "Early stopping": 64 queries for the 90th percentile, 662 for the 99th.
    """
    count = 2
    while share**count + count * (1 - share) * share ** (count - 1) > 1 - confidence:
        count += 1
    return count


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """95 % confidence interval of the mean of correlated values, by batch means.

    The series is cut into 20 batches (fewer if there are fewer than 40 values); the batches' means are nearly independent if a
    batch is longer than the correlation lasts, and their spread gives the interval.

    Args:
        values: shape (n,), n >= 2.

    Source:
        Schmeiser, "Batch Size Effects in the Analysis of Simulation Output", Operations Research 30 (1982): 10 to 30 batches.
    """
    means = np.array([part.mean() for part in np.array_split(np.asarray(values, np.float64), _batches(values))])
    half = T_95[means.size - 2] * float(means.std(ddof=1)) / math.sqrt(means.size)
    middle = float(np.mean(np.asarray(values, np.float64)))
    return middle - half, middle + half


def _batches(values: ArrayLike) -> int:
    return max(2, min(BATCHES, np.size(values) // 2))


def median_interval(values: ArrayLike, *, resamples: int = 500, seed: int = 0) -> tuple[float, float]:
    """95 % confidence interval of the median of correlated values, by block bootstrap (deterministic for a seed)."""
    medians = _resampled_medians(np.asarray(values, np.float64), resamples, np.random.default_rng(seed))
    return _middle_95(medians)


def median_ratio_interval(values: ArrayLike, base: ArrayLike, *, resamples: int = 500, seed: int = 0) -> tuple[float, float]:
    """95 % confidence interval of ``median(values) / median(base)``, two series taken apart; by block bootstrap."""
    generator = np.random.default_rng(seed)
    above = _resampled_medians(np.asarray(values, np.float64), resamples, generator)
    below = _resampled_medians(np.asarray(base, np.float64), resamples, generator)
    return _middle_95(above / below)


def _resampled_medians(series: F64, resamples: int, generator: np.random.Generator) -> F64:
    """Medians of series put together from random stretches of the real one, each about sqrt(n) long, going round its end.

    Source:
        Politis and Romano, "A circular block-resampling procedure for stationary data", 1992; length sqrt(n) as in Flegal and
        Jones, "Batch means and spectral variance estimators in Markov chain Monte Carlo", Annals of Statistics 38 (2010).
    """
    length = math.ceil(math.sqrt(series.size))
    stretches = math.ceil(series.size / length)
    around = np.concatenate([series, series[: length - 1]])
    windows = np.lib.stride_tricks.sliding_window_view(around, length)
    medians = np.empty(resamples)
    for index in range(resamples):
        starts = generator.integers(0, series.size, size=stretches)
        medians[index] = np.median(windows[starts].reshape(-1)[: series.size])
    return medians


def _middle_95(values: F64) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether a series rose or fell from its beginning to its end.

    Attributes:
        change: from beginning to end, as a share of the median: 0.1 is 10 % slower at the end.
        z: standard normal score of the trend; beyond ±2.58 chance alone would give it once in a hundred series.
    """

    change: float
    z: float

    @property
    def is_certain(self) -> bool:
        """Whether chance is no explanation (1 % level)."""
        return abs(self.z) > 2.576


def drift(values: ArrayLike) -> Drift:
    """The trend over the medians of 20 batches (fewer if there are fewer than 40 values).

    Args:
        values: shape (n,), n >= 2.

    Source:
        Mann-Kendall test without correction for ties, and Sen's slope: Mann, Econometrica 13 (1945); Sen, JASA 63 (1968).
    """
    series = np.asarray(values, np.float64)
    medians = np.array([np.median(part) for part in np.array_split(series, _batches(values))])
    count = medians.size
    early, late = np.triu_indices(count, k=1)
    rises = medians[late] - medians[early]
    score = float(np.sign(rises).sum())
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    slope = float(np.median(rises / (late - early)))
    z = (score - np.sign(score)) / spread
    return Drift(change=slope * (count - 1) / float(np.median(series)), z=float(z))

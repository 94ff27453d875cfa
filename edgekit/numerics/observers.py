"""What was seen of a tensor, sample after sample in bounded memory, and the range to store it in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.numerics.affine import SMALLEST_SCALE, Affine, IntGrid, affine_from_range

BINS = 4096
"""At most so many bins; at least half as many cover what was seen, 8 or more for each of 256 levels."""

COUNTED = 65_536
"""Of a sample's values about so many are counted, evenly spread, if there are more; its extremes are those of all values."""

_CLIPS = 48
"""Candidate ends of a clipped range: from all that was seen down to a quarter of it, or to a twentieth where a function
makes nothing of what is clipped."""

Counts = NDArray[np.int64]


@dataclass(slots=True)
class Histogram:
    """Counts of the values seen, in bins ``[k * width, (k + 1) * width)``.

    The width is a power of two and every bin edge a multiple of it. A value outside makes the width double and joins
    bins in pairs: no count is lost or moved to a place where it was not, and the order of samples does not matter.

    Attributes:
        low: smallest value seen; +inf before any.
        high: largest value seen; -inf before any.
        width: of a bin; 0.0 while nothing but 0.0 was seen.
        first: ``k`` of the first bin.
        counts: of each bin, shape (bins,).
        lows: sum of each sample's smallest value.
        highs: sum of each sample's largest value.
        samples: how many were seen.
    """

    low: float = math.inf
    high: float = -math.inf
    width: float = 0.0
    first: int = 0
    counts: Counts = field(default_factory=lambda: np.zeros(1, np.int64))
    lows: float = 0.0
    highs: float = 0.0
    samples: int = 0

    def observe(self, values: NDArray[Any]) -> None:
        """Count the values of a sample.

        Raises:
            ValueError: one of them is infinite or no number.
        """
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("values are not finite")
        self._cover(low, high)
        self.lows, self.highs, self.samples = self.lows + low, self.highs + high, self.samples + 1
        counted = _evenly(values)
        if self.width == 0.0:
            self.counts[0] += counted.size
            return
        places = np.multiply(counted, np.float32(1.0 / self.width), dtype=np.float32)
        if self.first < 0:
            np.floor(places, out=places)
            places -= np.float32(self.first)
        self.counts += np.bincount(places.astype(np.intp), minlength=len(self.counts))

    def joined(self, other: Histogram) -> Histogram:
        """The histogram of all that either has seen."""
        samples, lows, highs = self.samples + other.samples, self.lows + other.lows, self.highs + other.highs
        result = Histogram(self.low, self.high, self.width, self.first, self.counts.copy(), lows, highs, samples)
        if other.low > other.high:
            return result
        result._cover(min(self.low, other.low), max(self.high, other.high), at_least=other.width)
        right = Histogram(other.low, other.high, other.width, other.first, other.counts.copy())
        right._cover(result.low, result.high, at_least=result.width)
        result.counts += right.counts
        return result

    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        return np.asarray((self.first + np.arange(len(self.counts)) + 0.5) * self.width, np.float64)

    def _cover(self, low: float, high: float, *, at_least: float = 0.0) -> None:
        """Make room for [low, high] and 0.0, in bins of ``at_least`` that width (0.0 or a power of two)."""
        self.low, self.high = min(self.low, low), max(self.high, high)
        below, above = min(self.low, 0.0), max(self.high, 0.0)
        if below == above == 0.0:
            return
        width = max(self.width, at_least, SMALLEST_SCALE, 2.0 ** math.ceil(math.log2((above - below) / (BINS - 2))))
        first, last = math.floor(below / width), math.floor(above / width)
        if width == self.width and first == self.first and last - first + 1 == len(self.counts):
            return
        counts = np.zeros(last - first + 1, np.int64)
        if self.width == 0.0:
            counts[-first] = self.counts.sum()
        else:
            times = round(width / self.width)
            offset = self.first // times - first
            padded = np.pad(self.counts, (self.first % times, -(self.first + len(self.counts)) % times))
            joined = padded.reshape(-1, times).sum(axis=1)
            counts[offset : offset + len(joined)] = joined
        self.width, self.first, self.counts = width, first, counts


def _evenly(values: NDArray[Any]) -> NDArray[Any]:
    """About :data:`COUNTED` of the values, flat, no axis preferred; all of them where there are not many more."""
    flat, step = values.reshape(-1), values.size // COUNTED
    if step < 2:
        return flat
    while any(math.gcd(step, size) > 1 for size in values.shape if size > 1):
        step += 1
    return flat[::step]


def range_seen(histogram: Histogram) -> tuple[float, float]:
    """All that was seen, and 0.0."""
    return min(histogram.low, 0.0), max(histogram.high, 0.0)


def range_of_average_extremes(histogram: Histogram) -> tuple[float, float]:
    """The means over samples of their smallest and largest values, and 0.0: a moving average in which all samples weigh the same."""
    count = max(histogram.samples, 1)
    return min(histogram.lows / count, 0.0), max(histogram.highs / count, 0.0)


def range_of_percentile(histogram: Histogram, percentile: float, *, symmetric: bool) -> tuple[float, float]:
    """The range that holds a share of the values, as much being left out below as above; and 0.0.

    Args:
        histogram: what was seen.
        percentile: the share, more than 0, up to 100.
        symmetric: leave the largest sizes out instead.

    Source:
        McKinstry et al., "Discovering Low-Precision Networks Close to Full-Precision Networks for Efficient Embedded
        Inference", 2018, section 3.1.
    """
    low, high = range_seen(histogram)
    if histogram.width == 0.0:
        return low, high
    edges = (histogram.first + np.arange(len(histogram.counts) + 1)) * histogram.width
    if symmetric:
        sizes = np.maximum(np.abs(edges[:-1]), np.abs(edges[1:]))
        order = np.argsort(sizes, kind="stable")
        reached = np.cumsum(histogram.counts[order])
        end = float(sizes[order][np.searchsorted(reached, percentile / 100 * reached[-1])])
        return max(low, -end), min(high, end)
    reached = np.cumsum(histogram.counts)
    left_out = (1.0 - percentile / 100) / 2 * reached[-1]
    above = np.searchsorted(reached, reached[-1] - left_out)
    below = np.searchsorted(reached, left_out, side="right")
    return min(max(low, float(edges[below])), 0.0), max(min(high, float(edges[above + 1])), 0.0)


def range_of_least_divergence(histogram: Histogram, grid: IntGrid, *, symmetric: bool) -> tuple[float, float]:
    """The range whose integers tell least less than what was seen: least Kullback-Leibler divergence.

    Args:
        histogram: what was seen.
        grid: integers to store as.
        symmetric: whether the range must be.

    Source:
        Migacz, "8-bit Inference with TensorRT", GTC 2017, entropy calibration; also for ranges that are not symmetric,
        whose two ends are moved in turn.
    """
    return _searched(histogram, _divergence, grid, symmetric=symmetric)


def range_of_least_error(
    histogram: Histogram, grid: IntGrid, *, symmetric: bool, respond: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
) -> tuple[float, float]:
    """The range whose integers lie closest to what was seen: least mean squared error of rounding and clipping.

    Args:
        histogram: what was seen.
        grid: integers to store as.
        symmetric: whether the range must be.
        respond: the function of each value that alone is made of the values; the error is that of its results.

    Returns:
        Low and high end: all that was seen, or less.

    Source:
        The search over clipped ranges is that of Choukroun et al., "Low-bit Quantization of Neural Networks for
        Efficient Inference", 2019, section 3.
    """
    if respond is None:
        return _searched(histogram, _error, grid, symmetric=symmetric)

    def judge(values: NDArray[np.float64], counts: NDArray[np.float64], affine: Affine) -> float:
        return float(np.dot(counts, np.square(respond(_stored(values, affine)) - respond(values))))

    return _searched(histogram, judge, grid, symmetric=symmetric, least=0.05)


Judge = Callable[[NDArray[np.float64], NDArray[np.float64], Affine], float]
"""How bad a way to store is, for values and their counts."""


def _searched(histogram: Histogram, judge: Judge, grid: IntGrid, *, symmetric: bool, least: float = 0.25) -> tuple[float, float]:
    """The best of many clipped ranges: both ends by the same share if symmetric, otherwise one after the other, twice."""
    low, high = range_seen(histogram)
    if histogram.width == 0.0:
        return low, high
    kept = np.flatnonzero(histogram.counts)
    values, counts = histogram.centres()[kept], histogram.counts[kept].astype(np.float64)
    shares = np.linspace(least, 1.0, _CLIPS)[::-1]

    def best(ranges: list[tuple[float, float]]) -> tuple[float, float]:
        errors = [judge(values, counts, affine_from_range(*ends, grid, symmetric=symmetric)) for ends in ranges]
        return ranges[int(np.argmin(errors))]

    if symmetric:
        return best([(low * share, high * share) for share in shares])
    for _ in range(2):
        if high > 0.0:
            _, high = best([(low, range_seen(histogram)[1] * share) for share in shares])
        if low < 0.0:
            low, _ = best([(range_seen(histogram)[0] * share, high) for share in shares])
        if low == 0.0 or high == 0.0:
            break
    return low, high


def _divergence(values: NDArray[np.float64], counts: NDArray[np.float64], affine: Affine) -> float:
    """KL(P || Q): P is what was seen, values outside counted at the ends; Q has one level for all bins of an integer."""
    scale, zero_point = float(affine.scale), float(affine.zero_point)
    steps = np.rint(values / scale) + zero_point
    inside = (steps >= affine.grid.low) & (steps <= affine.grid.high)
    levels = np.clip(steps, affine.grid.low, affine.grid.high).astype(np.intp) - affine.grid.low
    if not inside.any():
        return math.inf
    seen, stored = counts[inside].copy(), np.bincount(levels[inside], counts[inside], affine.grid.high - affine.grid.low + 1)
    seen[0] += counts[~inside & (steps < affine.grid.low)].sum()
    seen[-1] += counts[~inside & (steps > affine.grid.high)].sum()
    bins = np.bincount(levels[inside], minlength=len(stored))
    told = (stored / np.maximum(bins, 1))[levels[inside]]
    p, q = seen / seen.sum(), told / told.sum()
    return float(np.dot(p, np.log(p / q)))


def _error(values: NDArray[np.float64], counts: NDArray[np.float64], affine: Affine) -> float:
    return float(np.dot(counts, np.square(_stored(values, affine) - values)))


def _stored(values: NDArray[np.float64], affine: Affine) -> NDArray[np.float64]:
    scale, zero_point = float(affine.scale), float(affine.zero_point)
    steps = np.clip(np.rint(values / scale) + zero_point, affine.grid.low, affine.grid.high)
    return np.asarray((steps - zero_point) * scale)

"""What was seen of a tensor, sample after sample in bounded memory, and the range to store it in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.numerics.affine import SMALLEST_SCALE, Affine, IntGrid, affine_from_range

BINS = 4096
"""At most so many bins; at least half as many cover what was seen, 8 or more for each of 256 levels."""

_CLIPS = 48
"""Candidate ends of a clipped range: from all that was seen down to a quarter of it."""

Counts = NDArray[np.int64]


@dataclass(slots=True)
class Histogram:
    """Counts of all values seen, in bins ``[k * width, (k + 1) * width)``.

    The width is a power of two and every bin edge a multiple of it. A value outside makes the width double and joins
    bins in pairs: no count is lost or moved to a place where it was not, and the order of samples does not matter.

    Attributes:
        low: smallest value seen; +inf before any.
        high: largest value seen; -inf before any.
        width: of a bin; 0.0 while nothing but 0.0 was seen.
        first: ``k`` of the first bin.
        counts: of each bin, shape (bins,).
    """

    low: float = math.inf
    high: float = -math.inf
    width: float = 0.0
    first: int = 0
    counts: Counts = field(default_factory=lambda: np.zeros(1, np.int64))

    def observe(self, values: NDArray[Any]) -> None:
        """Count values.

        Raises:
            ValueError: one of them is infinite or no number.
        """
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("values are not finite")
        self._cover(low, high)
        if self.width == 0.0:
            self.counts[0] += values.size
            return
        places = np.multiply(values.reshape(-1), np.float32(1.0 / self.width), dtype=np.float32)
        if self.first < 0:
            np.floor(places, out=places)
            places -= np.float32(self.first)
        self.counts += np.bincount(places.astype(np.intp), minlength=len(self.counts))

    def joined(self, other: Histogram) -> Histogram:
        """The histogram of all that either has seen."""
        result = Histogram(self.low, self.high, self.width, self.first, self.counts.copy())
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
            places = np.floor_divide(self.first + np.arange(len(self.counts)), times) - first
            np.add.at(counts, places, self.counts)
        self.width, self.first, self.counts = width, first, counts


def range_seen(histogram: Histogram) -> tuple[float, float]:
    """All that was seen, and 0.0."""
    return min(histogram.low, 0.0), max(histogram.high, 0.0)


def range_of_least_error(histogram: Histogram, grid: IntGrid, *, symmetric: bool) -> tuple[float, float]:
    """The range whose integers lie closest to what was seen: least mean squared error of rounding and clipping.

    Args:
        histogram: what was seen.
        grid: integers to store as.
        symmetric: whether the range must be.

    Returns:
        Low and high end: all that was seen, or less.

    Source:
        The search over clipped ranges is that of Choukroun et al., "Low-bit Quantization of Neural Networks for
        Efficient Inference", 2019, section 3.
    """
    low, high = range_seen(histogram)
    if histogram.width == 0.0:
        return low, high
    kept = np.flatnonzero(histogram.counts)
    values, counts = histogram.centres()[kept], histogram.counts[kept].astype(np.float64)
    shares = np.linspace(0.25, 1.0, _CLIPS)[::-1]

    def best(ranges: list[tuple[float, float]]) -> tuple[float, float]:
        errors = [_error(values, counts, affine_from_range(*ends, grid, symmetric=symmetric)) for ends in ranges]
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


def _error(values: NDArray[np.float64], counts: NDArray[np.float64], affine: Affine) -> float:
    scale, zero_point = float(affine.scale), float(affine.zero_point)
    steps = np.clip(np.rint(values / scale) + zero_point, affine.grid.low, affine.grid.high)
    return float(np.dot(counts, np.square((steps - zero_point) * scale - values)))

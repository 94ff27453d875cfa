"""Few values for many numbers: the k-means of a line, found exactly, and which of them is nearest to each number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

BINS = 4096
"""More different numbers are first counted in so many bins of equal width; Lloyd's steps then go on with the numbers themselves."""

_STEPS = 100


def codebook(values: NDArray[Any], entries: int, *, weights: NDArray[Any] | None = None, begun: F64 | None = None) -> F64:
    """The values whose squared distance to the numbers, each to its nearest, is least.

    On a line the clusters are intervals, so that dynamic programming finds the best of all; where there are more than
    :data:`BINS` different numbers that holds for the bins, and a local optimum of the numbers is reached from there.

    Args:
        values: finite numbers.
        entries: how many values at most; > 0.
        weights: how much each number's squared distance counts, >= 0, shape of ``values``; 1 if None.
        begun: a codebook of so many entries for almost the same numbers: the next local optimum from there is enough.

    Returns:
        Sorted, no more than there are different numbers that count.

    Source:
        Wang and Song, "Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic Programming", The R Journal
        3(2), 2011; divide and conquer as in Grønlund et al., "Fast Exact k-Means, k-Medians and Bregman Divergence
        Clustering in 1D", arXiv:1701.07204, section 2.2; Lloyd, "Least squares quantization in PCM", IEEE Transactions on
        Information Theory 28, 1982.
    """
    numbers = np.asarray(values, np.float64).reshape(-1)
    masses = np.ones_like(numbers) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    counted = masses > 0.0
    points, place = np.unique(numbers[counted], return_inverse=True)
    mass = np.asarray(np.bincount(place, masses[counted], len(points)), np.float64)
    if len(points) <= entries:
        return points
    if begun is not None:
        return _lloyd(points, mass, begun)
    if len(points) <= BINS:
        return _best(points, mass, entries)
    binned = np.minimum((points - points[0]) / (points[-1] - points[0]) * BINS, BINS - 1).astype(np.intp)
    in_bin = np.asarray(np.bincount(binned, mass, BINS), np.float64)
    centers = np.bincount(binned, mass * points, BINS)[in_bin > 0] / in_bin[in_bin > 0]
    return _lloyd(points, mass, _best(centers, in_bin[in_bin > 0], entries))


def nearest(values: NDArray[Any], book: F64) -> NDArray[np.intp]:
    """Which entry of a sorted codebook is nearest to each number; of two as near, the larger."""
    return np.searchsorted((book[1:] + book[:-1]) / 2.0, values, side="right")


def _best(points: F64, mass: F64, entries: int) -> F64:
    """The means of the best intervals of sorted points."""
    if len(points) <= entries:
        return points
    cost = _Intervals(points, mass)
    ends = np.arange(len(points) + 1)
    least = cost(np.zeros_like(ends), ends)
    begins = np.zeros((entries, len(ends)), np.intp)
    for cluster in range(1, entries):
        least, begins[cluster] = _one_more(least, cost, cluster)
    means, end = np.empty(entries), len(points)
    for cluster in range(entries - 1, -1, -1):
        begin = int(begins[cluster, end])
        means[cluster] = np.average(points[begin:end], weights=mass[begin:end])
        end = begin
    return means


class _Intervals:
    """Squared distances of the points from begin to end (left out) to their mean, by sums over all points before."""

    def __init__(self, points: F64, mass: F64) -> None:
        centred = points - np.average(points, weights=mass)
        self._sums = [np.concatenate([[0.0], np.cumsum(mass * centred**power)]) for power in range(3)]

    def __call__(self, begin: NDArray[np.intp], end: NDArray[np.intp]) -> F64:
        total, first, second = (sums[end] - sums[begin] for sums in self._sums)
        return np.asarray(second - np.divide(first * first, total, out=np.zeros_like(total), where=total > 0.0))


def _one_more(before: F64, cost: _Intervals, cluster: int) -> tuple[F64, NDArray[np.intp]]:
    """The least cost of the points before each end with one cluster more, and where that begins.

    Where it begins never moves back as the end moves on: ends in the middle of others are bounded by these.
    """
    last = len(before) - 1
    least, begins = np.full(last + 1, np.inf), np.full(last + 1, last, np.intp)
    begins[:cluster] = 0
    step = 1 << max(last.bit_length() - 1, 0)
    while step:
        ends = np.arange(step, last + 1, 2 * step)
        ends = ends[ends > cluster]
        low = np.maximum(np.where(ends - step > cluster, begins[ends - step], cluster), cluster)
        high = np.minimum(np.where(ends + step <= last, begins[np.minimum(ends + step, last)], last), ends - 1)
        least[ends], begins[ends] = _searched(before, cost, ends, low, high)
        step //= 2
    return least, begins


def _searched(before: F64, cost: _Intervals, ends: NDArray[np.intp], low: NDArray[np.intp], high: NDArray[np.intp]) -> tuple[F64, NDArray[np.intp]]:
    """Of each end the best begin from ``low`` to ``high``, all of them tried."""
    if not len(ends):
        return np.empty(0), np.empty(0, np.intp)
    counts = high - low + 1
    starts = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(ends)), counts)
    begins = np.arange(counts.sum()) - starts[owner] + low[owner]
    total = before[begins] + cost(begins, ends[owner])
    least = np.minimum.reduceat(total, starts)
    return least, np.minimum.reduceat(np.where(total == least[owner], begins, len(before)), starts)


def _lloyd(points: F64, mass: F64, book: F64) -> F64:
    """Means of what is nearest, again and again, until they stay."""
    total, first = (np.concatenate([[0.0], np.cumsum(mass * one)]) for one in (np.ones_like(points), points))
    for _ in range(_STEPS):
        cuts = np.concatenate([[0], np.searchsorted(points, (book[1:] + book[:-1]) / 2.0), [len(points)]])
        counted = total[cuts[1:]] - total[cuts[:-1]]
        moved = np.divide(first[cuts[1:]] - first[cuts[:-1]], counted, out=book.copy(), where=counted > 0.0)
        if np.array_equal(moved, book):
            break
        book = moved
    return np.sort(book)


def codebooks(rows: NDArray[Any], entries: int, *, weights: NDArray[Any] | None = None) -> F64:
    """A codebook for each row, by Lloyd's steps on all rows at once: a local optimum, in a fraction of the time of the best.

    It begins with equal shares of what counts, each row cut where the third root of its density is (the values that are
    best where there are many of them).

    Args:
        rows: finite numbers, shape (rows, numbers).
        entries: of each codebook.
        weights: as :func:`codebook`.

    Returns:
        Sorted, shape (rows, entries); values may be equal.

    Source:
        Lloyd, 1982; Panter and Dite, "Quantization distortion in pulse-count modulation with nonuniform spacing of
        levels", Proceedings of the IRE 39, 1951, for the density.
    """
    values = np.asarray(rows, np.float64)
    masses = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(values, axis=1, kind="stable")
    points, mass = np.take_along_axis(values, order, 1), np.take_along_axis(masses, order, 1)
    count = points.shape[1]
    gaps = np.diff(points, axis=1, prepend=points[:, :1])
    share = np.cumsum(np.cbrt(mass * gaps**2), axis=1)  # the third root of mass / gap, over the gap
    share /= np.maximum(share[:, -1:], 1e-300)
    middles = (np.arange(entries) + 0.5) / entries
    book = np.take_along_axis(points, np.minimum((share[:, :, None] < middles).sum(axis=1), count - 1), 1)
    size = np.maximum(np.abs(points).max(axis=1, keepdims=True), 1e-300)
    own = 4.0 * np.arange(len(points))[:, None]  # rows as stretches of one line, so that one search serves all
    line = (points / size + own).reshape(-1)
    starts = count * np.arange(len(points))[:, None]
    total, first = (np.concatenate([[0.0], np.cumsum(one)]) for one in (mass, mass * points))
    for _ in range(_STEPS):
        inner = np.searchsorted(line, (book[:, 1:] + book[:, :-1]) / 2.0 / size + own)
        cuts = np.concatenate([starts, inner, starts + count], axis=1)
        counted = total[cuts[:, 1:]] - total[cuts[:, :-1]]
        moved = np.divide(first[cuts[:, 1:]] - first[cuts[:, :-1]], counted, out=book.copy(), where=counted > 1e-9 * total[-1] / len(line))
        moved = np.sort(moved, axis=1)
        if np.allclose(moved, book, rtol=1e-6, atol=0.0):
            break
        book = moved
    return book

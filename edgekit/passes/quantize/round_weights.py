"""Which integers weights become: to the nearest, or on what they are multiplied with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.numerics.affine import INT8_REDUCED, IntGrid
from edgekit.numerics.moments import Moments
from edgekit.numerics.rounding import added_variance, compensated, rounded
from edgekit.numerics.scales import round_rows
from edgekit.passes.quantize.observations import Rounded
from edgekit.passes.quantize.patches import block_sizes, from_blocks, in_blocks

F64 = NDArray[np.float64]

SMALLEST_CHANNEL = 2.0**-24
"""A channel's scale is at least this share of the largest: a dead one must not make its integer bias overflow."""


def row_scales(
    rows: F64,
    channels: int,
    grid: IntGrid,
    *,
    per_channel: bool,
    at_least: F64 | None = None,
    found: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The scale of each row of weights: just large enough for its largest weight, or with few bits that of least squared error.

    Args:
        rows: shape (rows, inputs).
        channels: rows that share a channel of the stored weight (groups of a transposed convolution do) share a scale.
        grid: integers to use.
        per_channel: False gives all of them one scale.
        at_least: scales must not be smaller, shape (rows,).
        found: the scales without ``at_least``, where they are known.
    """
    if found is not None:
        least = found.astype(np.float64)
    elif grid.high < INT8_REDUCED.high:
        least = _of_least_error(rows, channels, grid, per_channel=per_channel)
    else:
        least = np.abs(rows).max(axis=1, initial=0.0) / grid.high
    least = np.maximum(least, max(least.max(), 2.0**-64) * SMALLEST_CHANNEL)
    if at_least is not None:
        least = np.maximum(least, at_least)
    shared = least.reshape(-1, channels).max(axis=0)
    if not per_channel:
        shared = np.broadcast_to(shared.max(), shared.shape)
    return np.tile(shared.astype(np.float32), len(rows) // channels)


def _of_least_error(rows: F64, channels: int, grid: IntGrid, *, per_channel: bool) -> F64:
    """The scale of each row, shared as :func:`row_scales` says; 0 for zeros alone."""
    grouped = rows.reshape(-1, channels, rows.shape[1]).transpose(1, 0, 2).reshape(channels, -1)
    shared = grouped if per_channel else grouped.reshape(1, -1)
    scale = np.where(shared.any(axis=1), round_rows(shared, grid, symmetric=True)[1].scale, 0.0)
    return np.tile(np.broadcast_to(scale, channels), len(rows) // channels)


def round_weights(
    view: View, weighted: Mapping[str, Weighted], moments: Mapping[str, Moments], grids: Mapping[str, IntGrid], *, per_channel: bool
) -> dict[str, Rounded]:
    """Weights of every node whose inputs were seen, rounded to its operator's grid so that its outputs change least.

    Where that would be worse than rounding to the nearest, it is not done: decided node by node by what it adds to the
    variance of the outputs. It is not done either where equal weights have to stay equal; pruned ones stay 0.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        free = {name: one for name, one in moments.items() if not _has_few_values(view, weighted[name])}
        return {name: _round(view, weighted[name], one, grids[weighted[name].op], per_channel=per_channel) for name, one in free.items()}


def _has_few_values(view: View, one: Weighted) -> bool:
    return one.weight in view.structures and view.structures[one.weight].has_few_values


SCALES = (1.0, 0.85, 1.15, 0.7, 1.3)
"""Multiples of a scale that are tried with few bits, whose least error on the samples is not that of the weights alone.

Measured with int4 matrices (a vision transformer of 6 blocks): 11.8 dB with the first, 12.4 with all, 12.5 with nine.
"""


def _round(view: View, one: Weighted, moments: Moments, grid: IntGrid, *, per_channel: bool) -> Rounded:
    weight = view.value(one.weight)
    rows, channels = one.by_channel(weight), weight.shape[one.axis]
    scale = row_scales(rows, channels, grid, per_channel=per_channel)
    is_sparse = one.weight in view.structures
    if grid.high >= INT8_REDUCED.high:
        return _round_at(scale, rows, one, moments, grid, is_sparse=is_sparse)
    tried = [_round_at((scale * factor).astype(np.float32), rows, one, moments, grid, is_sparse=is_sparse) for factor in SCALES]
    return _best(tried, channels, per_channel=per_channel)


def _best(tried: Sequence[Rounded], channels: int, *, per_channel: bool) -> Rounded:
    """Of each channel the rounding that adds least; of all the same where they share a scale."""
    added = np.stack([one.added.reshape(-1, channels).sum(axis=0) for one in tried])
    chosen = added.argmin(axis=0) if per_channel else np.full(channels, added.sum(axis=1).argmin())
    of_row = np.tile(chosen, len(tried[0].added) // channels)
    parts = [np.stack([getattr(one, part) for one in tried])[of_row, np.arange(len(of_row))] for part in Rounded.__slots__]
    return Rounded(*parts)


def _round_at(scale: NDArray[np.float32], rows: F64, one: Weighted, moments: Moments, grid: IntGrid, *, is_sparse: bool) -> Rounded:
    blocks, _ = block_sizes(rows.shape[1])
    parts = in_blocks(rows.reshape(one.groups, -1, rows.shape[1]))
    scales = np.repeat(scale.reshape(one.groups, 1, -1), blocks, axis=1).reshape(len(parts), -1)
    covariance = moments.covariance()
    nearest = rounded(parts, scales, grid)
    best = compensated(parts, scales, covariance, grid, zeros=parts == 0.0 if is_sparse else None)
    added, of_nearest = (_by_row(added_variance(parts, found, scales, covariance), one.groups, blocks) for found in (best, nearest))
    if added.sum() >= of_nearest.sum():
        best, added = nearest, of_nearest
    return Rounded(from_blocks(best, one.groups, rows.shape[1]).reshape(rows.shape).astype(np.int8), scale, added, of_nearest)


def _by_row(values: F64, groups: int, blocks: int) -> F64:
    return np.asarray(values.reshape(groups, blocks, -1).sum(axis=1).reshape(-1))

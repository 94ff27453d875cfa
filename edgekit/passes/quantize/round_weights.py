"""Which integers weights become: to the nearest, or on what they are multiplied with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.numerics.affine import IntGrid
from edgekit.numerics.moments import Moments
from edgekit.numerics.rounding import added_variance, compensated, rounded
from edgekit.passes.quantize.observations import Rounded
from edgekit.passes.quantize.patches import block_sizes, from_blocks, in_blocks

F64 = NDArray[np.float64]

SMALLEST_CHANNEL = 2.0**-24
"""A channel's scale is at least this share of the largest: a dead one must not make its integer bias overflow."""


def row_scales(rows: F64, channels: int, grid: IntGrid, *, per_channel: bool, at_least: F64 | None = None) -> NDArray[np.float32]:
    """The scale of each row of weights: just large enough for its largest weight.

    Args:
        rows: shape (rows, inputs).
        channels: rows that share a channel of the stored weight (groups of a transposed convolution do) share a scale.
        grid: integers to use.
        per_channel: False gives all of them one scale.
        at_least: scales must not be smaller, shape (rows,).
    """
    least = np.abs(rows).max(axis=1, initial=0.0) / grid.high
    least = np.maximum(least, max(least.max(), 2.0**-64) * SMALLEST_CHANNEL)
    if at_least is not None:
        least = np.maximum(least, at_least)
    shared = least.reshape(-1, channels).max(axis=0)
    if not per_channel:
        shared = np.broadcast_to(shared.max(), shared.shape)
    return np.tile(shared.astype(np.float32), len(rows) // channels)


def round_weights(
    view: View, weighted: Mapping[str, Weighted], moments: Mapping[str, Moments], grid: IntGrid, *, per_channel: bool
) -> dict[str, Rounded]:
    """Weights of every node whose inputs were seen, rounded so that its outputs change least.

    Where that would be worse than rounding to the nearest, it is not done: decided node by node by what it adds to the
    variance of the outputs.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return {name: _round(view, weighted[name], one, grid, per_channel=per_channel) for name, one in moments.items()}


def _round(view: View, one: Weighted, moments: Moments, grid: IntGrid, *, per_channel: bool) -> Rounded:
    weight = view.value(one.weight)
    rows = one.by_channel(weight)
    scale = row_scales(rows, weight.shape[one.axis], grid, per_channel=per_channel)
    blocks, _ = block_sizes(rows.shape[1])
    parts = in_blocks(rows.reshape(one.groups, -1, rows.shape[1]))
    scales = np.repeat(scale.reshape(one.groups, 1, -1), blocks, axis=1).reshape(len(parts), -1)
    covariance = moments.covariance()
    nearest = rounded(parts, scales, grid)
    best = compensated(parts, scales, covariance, grid)
    added, of_nearest = (_by_row(added_variance(parts, found, scales, covariance), one.groups, blocks) for found in (best, nearest))
    if added.sum() >= of_nearest.sum():
        best, added = nearest, of_nearest
    return Rounded(from_blocks(best, one.groups, rows.shape[1]).reshape(rows.shape).astype(np.int8), scale, added, of_nearest)


def _by_row(values: F64, groups: int, blocks: int) -> F64:
    return np.asarray(values.reshape(groups, blocks, -1).sum(axis=1).reshape(-1))

"""Scales of weights: those at which rows of few bits lie nearest to the real numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.numerics.affine import SMALLEST_SCALE, Affine, Integers, IntGrid, affine_from_range, quantized

F32 = NDArray[np.float32]

SHARES = np.linspace(1.0, 0.2, 41)
"""Of a row's range, those that are tried. Four levels lie best over about a third of a long normal row's range."""

_PORTION = 2**16
"""Numbers searched at once: they stay in the processor's cache."""


def round_rows(rows: NDArray[Any], grid: IntGrid, *, symmetric: bool) -> tuple[Integers, Affine]:
    """Each row as integers at its own scale, that of least squared error among a few.

    Shares of the row's range are tried, the numbers beyond saturate. Then the scale is fitted to the integers found
    (least squares) and the row rounded once more, neither of which can make the error larger.

    Args:
        rows: real, finite, shape (rows, numbers).
        grid: integers to store as; symmetric ones must lie on both sides of 0.
        symmetric: the zero point is 0; otherwise it is a number of the grid.

    Returns:
        The integers, shape (rows, numbers), and how they are stored, shape (rows,). A row of zeros alone has the scale 1.

    Raises:
        ValueError: a number is not finite.

    Source:
        Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient Inference", ICCV Workshops 2019,
        section 3.1 (scales of least squared error); the fit is one step of Lloyd, "Least squares quantization in PCM",
        IEEE Transactions on Information Theory 28, 1982, on equidistant levels.
    """
    values = np.ascontiguousarray(rows, np.float32)
    if not np.all(np.isfinite(values)):
        raise ValueError("a weight is infinite or not a number")
    scale = np.ones(len(values), np.float32)
    zero_point = np.zeros(len(values), grid.dtype)
    at_once = max(1, _PORTION // max(1, values.shape[1]))
    for start in range(0, len(values), at_once):
        portion = slice(start, start + at_once)
        scale[portion], zero_point[portion] = _fitted(values[portion], *_searched(values[portion], grid, symmetric=symmetric), grid)
    affine = Affine(scale, zero_point, grid)
    return quantized(values, affine, axis=0), affine


def _searched(rows: F32, grid: IntGrid, *, symmetric: bool) -> tuple[F32, Integers]:
    """Scale and zero point of each row, over the share of its range with the least squared error."""
    low, high = rows.min(axis=1, initial=0.0), rows.max(axis=1, initial=0.0)
    best = np.full(len(rows), np.inf)
    scale, zero_point = np.ones(len(rows), np.float32), np.zeros(len(rows), grid.dtype)
    for share in SHARES:
        tried = _covering(low * share, high * share, grid, symmetric=symmetric)
        error = _squared_error(rows, tried)
        is_better = error < best
        best = np.where(is_better, error, best)
        scale, zero_point = np.where(is_better, tried.scale, scale), np.where(is_better, tried.zero_point, zero_point)
    return scale, zero_point


def _covering(low: F32, high: F32, grid: IntGrid, *, symmetric: bool) -> Affine:
    """The finest steps that reach both ends."""
    if not symmetric:
        return affine_from_range(low, high, grid, symmetric=False)
    step = np.maximum(low / grid.low, high / grid.high)
    scale = np.where(step > 0.0, np.maximum(step, SMALLEST_SCALE), 1.0).astype(np.float32)
    return Affine(scale, np.zeros(len(scale), grid.dtype), grid)


def _squared_error(rows: F32, affine: Affine) -> NDArray[np.float64]:
    scale, zero_point = affine.scale[:, None], affine.zero_point[:, None].astype(np.float32)
    steps = np.rint(rows / scale)
    np.clip(steps, affine.grid.low - zero_point, affine.grid.high - zero_point, out=steps)
    steps *= scale
    steps -= rows
    return np.asarray(np.einsum("ij,ij->i", steps, steps, dtype=np.float64))


def _fitted(rows: F32, scale: F32, zero_point: Integers, grid: IntGrid) -> tuple[F32, Integers]:
    """The scale of least squared error for the integers that a scale gives."""
    steps = quantized(rows, Affine(scale, zero_point, grid), axis=0).astype(np.float32) - zero_point[:, None].astype(np.float32)
    product = np.einsum("ij,ij->i", rows, steps, dtype=np.float64)
    square = np.einsum("ij,ij->i", steps, steps, dtype=np.float64)
    fitted = np.divide(product, square, out=scale.astype(np.float64), where=(square > 0.0) & (product > 0.0))
    return np.maximum(fitted, SMALLEST_SCALE).astype(np.float32), zero_point

"""Weights that are 0, +a or -a, or +a or -a, with an a for each channel. Numpy in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.numerics.rounding import compensated_by
from edgekit.passes.compress.rows import Rows, by_channel, changed, importance, times
from edgekit.passes.quantize.patches import from_blocks, in_blocks

F64 = NDArray[np.float64]
Kind = Literal["ternary", "binary"]

_MULTIPLES = (0.85, 1.0, 1.15, 1.3)
"""Of a channel's a, which are tried where errors are made up for: columns grow by what those before them lost."""


@dataclass(frozen=True, slots=True)
class Signs:
    """Weights of few magnitudes.

    Attributes:
        codes: -1, 0 or 1, shape (rows, inputs).
        scale: of each row, shape (rows,); >= 0.
    """

    codes: F64
    scale: F64

    @property
    def values(self) -> F64:
        """The weights, shape (rows, inputs)."""
        return np.asarray(self.codes * self.scale[:, None], np.float64)


def signed(rows: Rows, kind: Kind) -> Signs:
    """Weights of one magnitude a channel that are nearest to the given ones, or whose outputs are where inputs were seen.

    Source:
        Li, Zhang, Liu, "Ternary Weight Networks", arXiv:1605.04711, section 2.2, with the best threshold instead of their
        approximation of it; Rastegari et al., "XNOR-Net", ECCV 2016, section 3.1, for two values.
    """
    weights = importance(rows)
    scale = _scales(rows, weights, kind)[rows.channel]
    nearest = Signs(_codes(rows.values, scale, kind, rows.zeros), scale)
    if rows.covariance is None:
        return nearest
    tried = [nearest, *(_compensated(rows, scale * one, kind) for one in _MULTIPLES)]
    return min((_refitted(rows, one) for one in tried), key=lambda one: changed(rows, one.values))


def _scales(rows: Rows, weights: F64, kind: Kind) -> F64:
    """Of each channel the best a: with two values the mean magnitude, with three that of the largest so many."""
    count = rows.channel.max() + 1
    order = np.argsort(rows.channel, kind="stable")
    sizes, mass = (one[order].reshape(count, -1) for one in (np.abs(rows.values), weights))
    if kind == "binary":
        return np.asarray((sizes * mass).sum(axis=1) / np.maximum(mass.sum(axis=1), 1e-300), np.float64)
    falling = np.argsort(-sizes, axis=1, kind="stable")
    sizes, mass = np.take_along_axis(sizes, falling, 1), np.take_along_axis(mass, falling, 1)
    total, held = np.cumsum(sizes * mass, axis=1), np.maximum(np.cumsum(mass, axis=1), 1e-300)
    best = (total**2 / held).argmax(axis=1)[:, None]  # what a saves of the squared error: its square times what it stands for
    return np.asarray(np.take_along_axis(total / held, best, 1)[:, 0], np.float64)


def _codes(values: F64, scale: F64, kind: Kind, zeros: NDArray[np.bool_] | None) -> F64:
    codes = np.where(values < 0.0, -1.0, 1.0)
    if kind == "ternary":
        codes[np.abs(values) <= scale[:, None] / 2.0] = 0.0
    return codes if zeros is None else codes * ~zeros


def _compensated(rows: Rows, scale: F64, kind: Kind) -> Signs:
    assert rows.covariance is not None, "only what was seen can be made up for"
    inputs = rows.values.shape[1]
    blocks = len(rows.covariance) // rows.groups
    step = np.repeat(scale.reshape(rows.groups, -1), blocks, axis=0)

    def of_column(left: F64) -> tuple[F64, F64]:
        codes = np.where(left < 0.0, -1.0, 1.0)
        if kind == "ternary":
            codes = codes * (np.abs(left) > step / 2.0)
        return codes, codes * step

    parts, held = (None if one is None else in_blocks(one.reshape(rows.groups, -1, inputs)) for one in (rows.values, rows.zeros))
    assert parts is not None
    found = compensated_by(parts, rows.covariance, of_column, zeros=held)
    return Signs(from_blocks(found, rows.groups, inputs).reshape(rows.values.shape), scale)


def _refitted(rows: Rows, signs: Signs) -> Signs:
    """The same signs with the a of each channel that changes outputs least."""
    seen = times(rows, signs.codes)
    product, square = by_channel(rows, seen * rows.values), by_channel(rows, seen * signs.codes)
    is_good = (square > 0.0) & (product > 0.0)
    before = np.zeros(len(product))
    before[rows.channel] = signs.scale
    return Signs(signs.codes, np.where(is_good, product / np.maximum(square, 1e-300), before)[rows.channel])

"""Integers, or values of another kind, for weights: the nearest, or so that each rounding makes up for those before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.numerics.affine import IntGrid

F64 = NDArray[np.float64]

_COLUMNS_AT_ONCE = 64


def rounded(weights: F64, scale: NDArray[Any], grid: IntGrid) -> F64:
    """The nearest integers.

    Args:
        weights: shape (…, inputs).
        scale: of each row, shape (…); > 0.
        grid: integers to use.
    """
    return np.asarray(np.clip(np.rint(weights / np.asarray(scale, np.float64)[..., None]), grid.low, grid.high))


def compensated(weights: F64, scale: NDArray[Any], covariance: F64, grid: IntGrid, zeros: NDArray[np.bool_] | None = None) -> F64:
    """Integers whose products with the inputs lie close to those of the weights: each rounding error is made up for by the columns that follow.

    Args:
        weights: rows of each group, shape (groups, rows, inputs).
        scale: of each row, shape (groups, rows).
        covariance: of the inputs of each group, positive definite, shape (groups, inputs, inputs).
        grid: integers to use.
        zeros: weights that stay 0, shape of ``weights``.

    Returns:
        Integers as floats, shape of ``weights``; see :func:`compensated_by`.
    """
    step = np.asarray(scale, np.float64)

    def nearest(left: F64) -> tuple[F64, F64]:
        integers = np.clip(np.rint(left / step), grid.low, grid.high)
        return integers, integers * step

    return compensated_by(weights, covariance, nearest, zeros=zeros, zero=0.0)


def compensated_by(
    weights: F64, covariance: F64, nearest: Callable[[F64], tuple[F64, F64]], *, zeros: NDArray[np.bool_] | None = None, zero: float = 0.0
) -> F64:
    """Codes of weights that can only take some values, column by column, the error of each made up for by those that follow.

    Minimises, greedily, the sum over rows of e C eᵀ with e = weights - values: the variance that rounding adds to the
    output, whose mean belongs into the bias.

    Args:
        weights: rows of each group, shape (groups, rows, inputs).
        covariance: C, of the inputs of each group, positive definite, shape (groups, inputs, inputs).
        nearest: called with a column, shape (groups, rows); returns the codes of the nearest values, and the values.
        zeros: weights that are 0 whatever came before, shape of ``weights``.
        zero: the code of that.

    Returns:
        Codes, shape of ``weights``.

    Source:
        Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023,
        algorithm 1, with the columns in the order of falling variance.
    """
    order = np.argsort(-np.einsum("gii->gi", covariance), axis=1, kind="stable")
    sorted_covariance = np.take_along_axis(np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2)
    left = np.take_along_axis(np.asarray(weights, np.float64), order[:, None, :], 2)
    held = None if zeros is None else np.take_along_axis(zeros, order[:, None, :], 2)
    factor = np.linalg.cholesky(np.linalg.inv(sorted_covariance)).transpose(0, 2, 1)
    codes = np.empty_like(left)
    for begin in range(0, left.shape[2], _COLUMNS_AT_ONCE):
        end = min(begin + _COLUMNS_AT_ONCE, left.shape[2])
        errors = np.empty((*left.shape[:2], end - begin))
        for at in range(begin, end):
            codes[:, :, at], values = nearest(left[:, :, at])
            if held is not None:
                codes[:, :, at], values = np.where(held[:, :, at], zero, codes[:, :, at]), np.where(held[:, :, at], 0.0, values)
            error = (left[:, :, at] - values) / factor[:, None, at, at]
            left[:, :, at + 1 : end] -= error[:, :, None] * factor[:, None, at, at + 1 : end]
            errors[:, :, at - begin] = error
        left[:, :, end:] -= errors @ factor[:, begin:end, end:]
    result = np.empty_like(codes)
    np.put_along_axis(result, np.broadcast_to(order[:, None, :], result.shape), codes, 2)
    return result


def added_variance(weights: F64, integers: F64, scale: NDArray[Any], covariance: F64) -> F64:
    """What rounding adds to the variance of each row's output: e C eᵀ, shape (groups, rows). Arguments as :func:`compensated`."""
    error = weights - integers * np.asarray(scale, np.float64)[..., None]
    return np.asarray(np.einsum("gri,gij,grj->gr", error, covariance, error, optimize=True))

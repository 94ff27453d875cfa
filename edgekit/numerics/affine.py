"""Affine integer storage: ``real = scale * (integer - zero_point)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

SMALLEST_SCALE = 2.0**-100
"""A scale stays above this, so that products of two scales are normal float32 numbers (runtimes refuse others)."""


@dataclass(frozen=True, slots=True)
class IntGrid:
    """The integers a number may be stored as.

    Attributes:
        dtype: numpy's name of the type that holds them.
        low: smallest integer used.
        high: largest integer used.
    """

    dtype: str
    low: int
    high: int


UINT8 = IntGrid("uint8", 0, 255)
INT8 = IntGrid("int8", -128, 127)
INT8_SYMMETRIC = IntGrid("int8", -127, 127)
INT8_REDUCED = IntGrid("int8", -64, 64)
"""Two products with uint8 add up to at most 2 * 255 * 64 = 32640: they fit the int16 sums of x86 without VNNI."""
INT16_SYMMETRIC = IntGrid("int16", -32767, 32767)
INT4_SYMMETRIC = IntGrid("int8", -7, 7)
INT2_SYMMETRIC = IntGrid("int8", -1, 1)
UINT4 = IntGrid("uint8", 0, 15)
UINT2 = IntGrid("uint8", 0, 3)
"""Numpy has no type below 8 bits: numbers of these grids are kept in bytes until they are written.

The symmetric ones leave out the lowest integer although it costs error: with it, all that saturates does so on one side,
and the mean of the weights moves. Measured on classifiers with their matrices so (blocks of 32): 2 bits 0.3 dB with it and 5.4
without (EfficientNet-Lite0), 0.9 and 7.9 (MobileNetV2); 4 bits 20.3 and 20.5, 19.3 and 20.1 (MobileNetV3).
"""


@dataclass(frozen=True, slots=True)
class Affine:
    """How a tensor is stored as integers.

    Attributes:
        scale: real value of one integer step, > 0. Shape (channels,), or () for the whole tensor.
        zero_point: the integer that stands for 0.0, same shape.
        grid: the integers used.
    """

    scale: F32
    zero_point: Integers
    grid: IntGrid


def affine_from_range(low: ArrayLike, high: ArrayLike, grid: IntGrid, *, symmetric: bool) -> Affine:
    """Scale and zero point that cover [low, high] and store 0.0 exactly.

    Args:
        low: smallest real values. Shape (channels,), or () for the whole tensor.
        high: largest real values, same shape as ``low``.
        grid: integers to store as.
        symmetric: put the zero point at 0; the grid must reach as far below it as above, or farther.

    Returns:
        ``scale`` in the unit of ``low``, same shape; 1 step for 1.0 where the range is 0.0 alone.

    Raises:
        ValueError: a range is empty or not finite.

    Source:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
        CVPR 2018, eq. 1 and section 3.
    """
    lows, highs = np.minimum(np.asarray(low, np.float64), 0.0), np.maximum(np.asarray(high, np.float64), 0.0)
    if np.any(np.asarray(low) > np.asarray(high)) or not (np.all(np.isfinite(lows)) and np.all(np.isfinite(highs))):
        raise ValueError(f"not a range: [{low!r}, {high!r}]")
    span = np.maximum(-lows, highs) / grid.high if symmetric else (highs - lows) / (grid.high - grid.low)
    scale = np.where(span > 0.0, np.maximum(span, SMALLEST_SCALE), 1.0).astype(np.float32)
    zero_point = np.zeros(scale.shape) if symmetric else np.clip(np.rint(grid.low - lows / scale), grid.low, grid.high)
    return Affine(scale=scale, zero_point=zero_point.astype(grid.dtype), grid=grid)


def quantized(values: NDArray[Any], affine: Affine, *, axis: int | None = None) -> Integers:
    """The nearest integers, halves to even, saturated: ONNX's QuantizeLinear.

    Args:
        values: real values.
        affine: with scales of shape (channels,) if ``axis`` is given, else ().
        axis: of ``values``, along which each channel has its own scale.
    """
    scale, zero_point = _broadcast(affine, values.ndim, axis)
    steps = np.rint(np.asarray(values, np.float32) / scale) + zero_point.astype(np.float32)
    return np.asarray(np.clip(steps, affine.grid.low, affine.grid.high), affine.grid.dtype)


def dequantized(integers: Integers, affine: Affine, *, axis: int | None = None) -> F32:
    """The real values that integers stand for: ONNX's DequantizeLinear. Arguments as :func:`quantized`."""
    scale, zero_point = _broadcast(affine, integers.ndim, axis)
    return np.asarray((integers.astype(np.int64) - zero_point) * scale, np.float32)


def _broadcast(affine: Affine, ndim: int, axis: int | None) -> tuple[F32, NDArray[np.int64]]:
    zero_point = affine.zero_point.astype(np.int64)
    if axis is None:
        return affine.scale, zero_point
    shape = [1] * ndim
    shape[axis] = -1
    return affine.scale.reshape(shape), zero_point.reshape(shape)

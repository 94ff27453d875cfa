"""In which numbers: scales, zero points, integer weights and corrected biases. Numpy in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.numerics.affine import (
    INT8,
    INT8_REDUCED,
    INT8_SYMMETRIC,
    UINT8,
    Affine,
    IntGrid,
    affine_from_range,
    dequantized,
    quantized,
)
from edgekit.numerics.observers import Histogram, range_of_least_error, range_seen
from edgekit.passes.quantize.calibrate import Observations
from edgekit.passes.quantize.place import Placement
from edgekit.passes.quantize.view import View
from edgekit.passes.quantize.weighted import Weighted
from edgekit.target import Scheme

Observer = Literal["minmax", "mse"]
F64 = NDArray[np.float64]

BIAS_LIMIT = 2.0**30
"""Integer biases stay below it: half of int32 is left to the sum of products."""

SMALLEST_CHANNEL = 2.0**-24
"""A channel's scale is at least this share of the largest: a dead one must not make its integer bias overflow."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A node's weights and bias as they will be stored.

    Attributes:
        integers: in the shape of the node's weight.
        affine: scale and zero point, shape (channels,), or () if the scheme is per tensor.
        axis: of the channels; None per tensor.
        bias: int32 if the scheme wants it so, else float32; shape (output channels,). None if there is none.
        bias_scale: of an int32 bias, shape (output channels,).
    """

    integers: NDArray[Any]
    affine: Affine
    axis: int | None
    bias: NDArray[Any] | None
    bias_scale: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Decision:
    """All numbers of a quantized graph.

    Attributes:
        placement: where they belong.
        groups: scale and zero point by group.
        weights: by node.
    """

    placement: Placement
    groups: dict[str, Affine]
    weights: dict[str, Weights]

    def affine_of(self, tensor: str) -> Affine:
        """How a tensor is stored."""
        return self.groups[self.placement.tensors[tensor]]


def activation_grid(scheme: Scheme) -> tuple[IntGrid, bool]:
    """The integers of activations, and whether 0.0 must be the integer 0."""
    if scheme.activations == "int8 symmetric":
        return INT8_SYMMETRIC, True
    return (UINT8 if scheme.activations == "uint8" else INT8), False


def decide(view: View, placement: Placement, seen: Observations, scheme: Scheme, observer: Observer, *, correct_bias: bool) -> Decision:
    """Choose all numbers.

    Args:
        view: the float graph.
        placement: where integers go.
        seen: what flowed through the float graph.
        scheme: the integers that the runtime wants.
        observer: all that was seen, or the range of least mean squared error.
        correct_bias: take the average error that rounded weights make out of the bias.
    """
    groups = {group: _group_affine(view, placement, group, seen, scheme, observer) for group in sorted(set(placement.tensors.values()))}
    weights = {}
    for name, one in placement.weighted.items():
        input_affine = groups[placement.converted.get((name, 0), placement.tensors[one.input])]
        average = seen.averages[name] if correct_bias and one.takes_bias else None
        weights[name] = quantize_weights(one, view, input_affine, scheme, average)
    return Decision(placement=placement, groups=groups, weights=weights)


def _group_affine(view: View, placement: Placement, group: str, seen: Observations, scheme: Scheme, observer: Observer) -> Affine:
    grid, symmetric = activation_grid(scheme)
    if group in placement.fixed:
        scale, zero_point = placement.fixed[group]
        return Affine(np.array(scale, np.float32), np.array(zero_point, grid.dtype), grid)
    histogram = reduce(Histogram.joined, (_histogram(view, tensor, seen) for tensor in placement.sources[group]))
    low, high = range_seen(histogram) if observer == "minmax" else range_of_least_error(histogram, grid, symmetric=symmetric)
    return affine_from_range(low, high, grid, symmetric=symmetric)


def _histogram(view: View, tensor: str, seen: Observations) -> Histogram:
    if tensor not in view.constants:
        return seen.histograms[tensor]
    histogram = Histogram()
    histogram.observe(view.value(tensor))
    return histogram


def quantize_weights(one: Weighted, view: View, input_affine: Affine, scheme: Scheme, average: F64 | None) -> Weights:
    """Integers for a node's weights and bias.

    Args:
        one: the node.
        view: its graph.
        input_affine: how its input is stored.
        scheme: the integers that the runtime wants.
        average: what its weights are multiplied with on average; None leaves the bias uncorrected.
    """
    weight = view.value(one.weight)
    rows = one.by_channel(weight)
    bias = None if one.bias is None else np.broadcast_to(view.value(one.bias).reshape(-1) * one.bias_factor, len(rows)).astype(np.float64)
    affine, row_scale = _weight_scales(rows, weight.shape[one.axis], bias, float(input_affine.scale), scheme)
    by_row = Affine(row_scale, np.zeros(len(rows), np.int8), affine.grid)
    integers = quantized(rows, by_row, axis=0)
    if average is not None:
        error = dequantized(integers, by_row, axis=0) - rows
        shift = np.einsum("gci,gi->gc", error.reshape(one.groups, -1, error.shape[1]), average.reshape(one.groups, -1)).reshape(-1)
        bias = (0.0 if bias is None else bias) - shift
    bias_scale = (row_scale * input_affine.scale).astype(np.float32)
    axis = one.axis if affine.scale.ndim else None
    return Weights(one.from_channels(integers, weight.shape), affine, axis, _stored_bias(bias, bias_scale, scheme), bias_scale)


def _weight_scales(rows: F64, channels: int, bias: F64 | None, input_scale: float, scheme: Scheme) -> tuple[Affine, NDArray[np.float32]]:
    """The scales of a weight, and the one of each of its rows: groups of a transposed convolution share theirs."""
    grid = INT8_REDUCED if scheme.reduce_range else INT8_SYMMETRIC
    least = np.abs(rows).max(axis=1, initial=0.0) / grid.high
    least = np.maximum(least, max(least.max(), 2.0**-64) * SMALLEST_CHANNEL)
    if bias is not None and scheme.bias == "int32":
        least = np.maximum(least, np.abs(bias) / (input_scale * BIAS_LIMIT))
    shared = least.reshape(-1, channels).max(axis=0)
    if scheme.weights == "int8 symmetric per-tensor":
        shared = np.asarray(shared.max())
    scale = shared.astype(np.float32)
    affine = Affine(scale, np.zeros(scale.shape, np.int8), grid)
    return affine, np.broadcast_to(np.tile(scale, len(rows) // channels) if scale.ndim else scale, len(rows)).copy()


def _stored_bias(bias: F64 | None, scale: NDArray[np.float32], scheme: Scheme) -> NDArray[Any] | None:
    if bias is None or scheme.bias == "float32":
        return None if bias is None else bias.astype(np.float32)
    limits = np.iinfo(np.int32)
    return np.clip(np.rint(bias / scale.astype(np.float64)), limits.min, limits.max).astype(np.int32)

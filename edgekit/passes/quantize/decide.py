"""In which numbers: scales, zero points, integer weights and corrected biases. Numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.numerics.affine import (
    INT4_SYMMETRIC,
    INT8,
    INT8_REDUCED,
    INT8_SYMMETRIC,
    INT16_SYMMETRIC,
    UINT8,
    Affine,
    IntGrid,
    affine_from_range,
)
from edgekit.numerics.observers import (
    Histogram,
    range_of_average_extremes,
    range_of_least_divergence,
    range_of_least_error,
    range_of_percentile,
    range_seen,
)
from edgekit.numerics.rounding import rounded
from edgekit.passes.quantize.observations import Observations, Rounded
from edgekit.passes.quantize.place import Placement
from edgekit.passes.quantize.response import Response, response
from edgekit.passes.quantize.round_weights import row_scales
from edgekit.target import Scheme

Observer = Literal["minmax", "moving_average", "percentile", "entropy", "mse"]
Ranging = Callable[[Histogram, IntGrid, bool, Response | None], tuple[float, float]]
"""Low and high end for a histogram, the integers to store as, whether 0.0 must be the integer 0, and what is made of the values."""

F64 = NDArray[np.float64]

BIAS_LIMIT = 2.0**30
"""Integer biases stay below it: half of int32 is left to the sum of products."""


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

    @property
    def narrow(self) -> frozenset[str]:
        """Nodes whose weights are stored in 4 bits."""
        return frozenset(name for name, one in self.weights.items() if one.affine.grid == INT4_SYMMETRIC)

    def affine_of(self, tensor: str) -> Affine:
        """How a tensor is stored."""
        return self.groups[self.placement.tensors[tensor]]


def activation_grid(scheme: Scheme) -> tuple[IntGrid, bool]:
    """The integers of activations, and whether 0.0 must be the integer 0."""
    if scheme.activations == "int8 symmetric":
        return INT8_SYMMETRIC, True
    if scheme.activations == "int16 symmetric":
        return INT16_SYMMETRIC, True
    return (UINT8 if scheme.activations == "uint8" else INT8), False


def weight_grid(scheme: Scheme, op: str) -> IntGrid:
    """The integers of an operator's weights."""
    if op in scheme.low_bit_static_ops:
        return INT4_SYMMETRIC
    return INT8_REDUCED if scheme.reduce_range else INT8_SYMMETRIC


def is_per_channel(scheme: Scheme) -> bool:
    """Whether each output channel's weights have a scale of their own."""
    return scheme.weights == "int8 symmetric per-channel"


def ranging(observer: Observer, percentile: float) -> Ranging:
    """How a range is chosen from what was seen."""
    if observer == "minmax":
        return lambda histogram, grid, symmetric, respond: range_seen(histogram)
    if observer == "moving_average":
        return lambda histogram, grid, symmetric, respond: range_of_average_extremes(histogram)
    if observer == "percentile":
        return lambda histogram, grid, symmetric, respond: range_of_percentile(histogram, percentile, symmetric=symmetric)
    if observer == "entropy":
        return lambda histogram, grid, symmetric, respond: range_of_least_divergence(histogram, grid, symmetric=symmetric)
    return lambda histogram, grid, symmetric, respond: range_of_least_error(histogram, grid, symmetric=symmetric, respond=respond)


def decide(  # noqa: PLR0913 - all that decides
    view: View,
    placement: Placement,
    seen: Observations,
    scheme: Scheme,
    ranging: Ranging,
    *,
    correct_bias: bool,
    wide: Mapping[str, Rounded | None] = MappingProxyType({}),
) -> Decision:
    """Choose all numbers.

    Args:
        view: the float graph.
        placement: where integers go.
        seen: what flowed through the float graph.
        scheme: the integers that the runtime wants.
        ranging: how ranges are chosen from what was seen.
        correct_bias: take the average error that rounded weights make out of the bias.
        wide: nodes whose weights have 8 bits though the scheme has fewer for their operator, and these as rounded on samples.
    """
    groups = {group: _group_affine(view, placement, group, seen, scheme, ranging) for group in sorted(set(placement.tensors.values()))}
    weights = {}
    for name, one in placement.weighted.items():
        input_affine = groups[placement.converted.get((name, 0), placement.tensors[one.input])]
        average = seen.averages[name] if correct_bias and one.takes_bias else None
        followed, on_samples = (scheme.in_eight_bits, wide[name]) if name in wide else (scheme, seen.weights.get(name))
        weights[name] = quantize_weights(one, view, input_affine, followed, average, on_samples)
    return Decision(placement=placement, groups=groups, weights=weights)


def _group_affine(view: View, placement: Placement, group: str, seen: Observations, scheme: Scheme, ranging: Ranging) -> Affine:
    grid, symmetric = activation_grid(scheme)
    if group in placement.fixed:
        scale, zero_point = placement.fixed[group]
        return Affine(np.array(scale, np.float32), np.array(zero_point, grid.dtype), grid)
    histogram = reduce(Histogram.joined, (_histogram(view, tensor, seen) for tensor in placement.sources[group]))
    members = [tensor for tensor, name in placement.tensors.items() if name == group]
    low, high = ranging(histogram, grid, symmetric, response(view, members[0]) if len(members) == 1 else None)
    return affine_from_range(low, high, grid, symmetric=symmetric)


def _histogram(view: View, tensor: str, seen: Observations) -> Histogram:
    if tensor not in view.constants:
        return seen.histograms[tensor]
    histogram = Histogram()
    histogram.observe(view.value(tensor))
    return histogram


def quantize_weights(
    one: Weighted, view: View, input_affine: Affine, scheme: Scheme, average: F64 | None, on_samples: Rounded | None = None
) -> Weights:
    """Integers for a node's weights and bias.

    Args:
        one: the node.
        view: its graph.
        input_affine: how its input is stored.
        scheme: the integers that the runtime wants.
        average: what its weights are multiplied with on average, shape (groups, inputs); None leaves the bias uncorrected.
        on_samples: its weights as rounded on samples; None rounds to the nearest.
    """
    weight = view.value(one.weight)
    rows = one.by_channel(weight)
    bias = None if one.bias is None else np.broadcast_to(view.value(one.bias).reshape(-1) * one.bias_factor, len(rows)).astype(np.float64)
    grid = weight_grid(scheme, one.op)
    held = None if bias is None or scheme.bias != "int32" else np.abs(bias) / (float(input_affine.scale) * BIAS_LIMIT)
    found = None if on_samples is None else on_samples.scale
    structure = view.structures.get(one.weight)
    per_channel = is_per_channel(scheme) and not (structure is not None and structure.is_of_one_scale)
    row_scale = row_scales(rows, weight.shape[one.axis], grid, per_channel=per_channel, at_least=held, found=found)
    integers = rounded(rows, row_scale, grid)
    if on_samples is not None:
        as_then = row_scale == on_samples.scale
        integers[as_then] = on_samples.integers[as_then]
    if average is not None:
        error = integers * row_scale.astype(np.float64)[:, None] - rows
        shift = np.einsum("gci,gi->gc", error.reshape(one.groups, -1, error.shape[1]), average).reshape(-1)
        bias = (0.0 if bias is None else bias) - shift
    bias_scale = (row_scale * input_affine.scale).astype(np.float32)
    scale = row_scale[: weight.shape[one.axis]] if is_per_channel(scheme) else row_scale[0]
    affine = Affine(scale, np.zeros(scale.shape, np.int8), grid)
    stored = one.from_channels(integers.astype(np.int8), weight.shape)
    return Weights(stored, affine, one.axis if scale.ndim else None, _stored_bias(bias, bias_scale, scheme), bias_scale)


def _stored_bias(bias: F64 | None, scale: NDArray[np.float32], scheme: Scheme) -> NDArray[Any] | None:
    if bias is None or scheme.bias == "float32":
        return None if bias is None else bias.astype(np.float32)
    limits = np.iinfo(np.int32)
    return np.clip(np.rint(bias / scale.astype(np.float64)), limits.min, limits.max).astype(np.int32)

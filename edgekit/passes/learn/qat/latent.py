"""Weights before they are rounded: where training starts from, and what of them hangs together. Numpy in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.structure import Structure
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.numerics.affine import IntGrid
from edgekit.passes.quantize.decide import Weights

F64 = NDArray[np.float64]

REACH = 0.25
"""Weights that were rounded on samples begin at most so many steps from their integers, as near to the float ones as that lets them.
Half of them lie nearer to another integer, and would go there with the first update. A small network at 4 bits, 25.3 dB
without training: 26.5 dB so, 26.0 with 0.45; from weights rounded to the nearest, 21.1 dB, it were 25.2 with 0.45 and 24.6 so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """A node's weights before they are rounded.

    Attributes:
        values: in steps of ``scale``; in the shape of the weight, or one for each entry of a codebook.
        index: of each weight, its entry in ``values``; None where each has its own.
        kept: of each weight, whether it may be other than 0; None where all may.
        is_fixed: the integers are what they are, and the scale alone is learned.
        scale: of one step to begin with, shape (channels,), or () for all.
        is_one_scale: all channels have the same scale.
        grid: the integers they become.
        axis: of the channels; None if the scale is one for all.
    """

    values: NDArray[np.float32]
    index: NDArray[np.int64] | None
    kept: NDArray[np.bool_] | None
    is_fixed: bool
    scale: NDArray[np.float32]
    is_one_scale: bool
    grid: IntGrid
    axis: int | None


def latent(one: Weighted, view: View, start: Weights, structure: Structure | None) -> Latent:
    """What a node's weights are learned as.

    Args:
        one: the node.
        view: its float graph.
        start: its weights quantized without training.
        structure: what its weight has to keep. Shared values stay shared within what has one scale: where the codebook is the
            whole tensor's, all channels have the same. A codebook with more entries than there are integers is none.
    """
    weight = view.value(one.weight).astype(np.float64) * one.weight_factor
    is_own = structure is None or structure.kind == "sparse"
    if structure is not None and not is_own:
        if structure.kind != "codebook":
            return _few_magnitudes(weight, start, structure)
        if (shared := _codebook(weight, start, structure)) is not None:
            return shared
    grid = start.affine.grid
    exact = np.clip(weight / spread(start.affine.scale, start.axis, weight.ndim), grid.low, grid.high)
    is_nearest = np.array_equal(np.rint(exact), start.integers)
    return Latent(
        values=np.asarray(exact if is_nearest else np.clip(exact, start.integers - REACH, start.integers + REACH), np.float32),
        index=None,
        kept=weight != 0.0 if structure is not None and structure.kind == "sparse" else None,
        is_fixed=False,
        scale=start.affine.scale,
        is_one_scale=False,
        grid=grid,
        axis=start.axis,
    )


def _few_magnitudes(weight: F64, start: Weights, structure: Structure) -> Latent:
    """0, +a and -a become 0 and the outermost integers: the scale is a, or so much of it as an integer is."""
    grid = start.affine.grid
    of_channel = _by_channel(np.abs(weight), start.axis).max(axis=1, initial=0.0)
    is_one_scale = structure.axis != start.axis
    largest = np.full_like(of_channel, of_channel.max()) if is_one_scale else of_channel
    scale = np.where(largest > 0.0, largest / grid.high, start.affine.scale.reshape(-1)).astype(np.float32).reshape(start.affine.scale.shape)
    integers = np.clip(np.rint(weight / spread(scale, start.axis, weight.ndim)), grid.low, grid.high)
    return Latent(
        values=integers.astype(np.float32),
        index=None,
        kept=None,
        is_fixed=True,
        scale=scale,
        is_one_scale=is_one_scale,
        grid=grid,
        axis=start.axis,
    )


def _codebook(weight: F64, start: Weights, structure: Structure) -> Latent | None:
    """One number for each value that is shared; None if the integers are fewer than these."""
    grid = start.affine.grid
    is_one_scale = structure.axis != start.axis
    scale = np.full_like(start.affine.scale, start.affine.scale.max()) if is_one_scale else start.affine.scale
    steps = weight / spread(scale, start.axis, weight.ndim)
    slices = _by_channel(steps, structure.axis)
    entries: list[F64] = []
    places = np.empty(slices.shape, np.int64)
    for at, row in enumerate(slices):
        values, inverse = np.unique(row, return_inverse=True)
        if len(values) > grid.high - grid.low + 1:
            return None
        places[at] = inverse + sum(map(len, entries))
        entries.append(values)
    return Latent(
        values=np.concatenate(entries).astype(np.float32),
        index=_from_channels(places, weight.shape, structure.axis),
        kept=None,
        is_fixed=False,
        scale=scale,
        is_one_scale=is_one_scale,
        grid=grid,
        axis=start.axis,
    )


def spread(scale: NDArray[Any], axis: int | None, ndim: int) -> F64:
    """Scales in a shape that goes with the weight."""
    values = scale.astype(np.float64)
    return values if axis is None else values.reshape([-1 if at == axis else 1 for at in range(ndim)])


def _by_channel(weight: NDArray[Any], axis: int | None) -> NDArray[Any]:
    return weight.reshape(1, -1) if axis is None else np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def _from_channels(rows: NDArray[Any], shape: tuple[int, ...], axis: int | None) -> NDArray[Any]:
    if axis is None:
        return rows.reshape(shape)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[axis], *shape[:axis], *shape[axis + 1 :]), 0, axis))

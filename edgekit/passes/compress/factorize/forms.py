"""The ways to take a layer apart: what each costs at which rank, what it loses, and the smaller layers themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.numerics import lowrank
from edgekit.passes.compress.factorize.layers import Layer

F64 = NDArray[np.float64]
Cost = Literal["parameters", "macs"]

MOST_RANKS = 24
"""Of one form of a layer that are looked at, evenly spread."""

_CANONICAL_RANKS = 6
"""Alternating least squares takes seconds for each."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the smaller layers.

    Attributes:
        outputs, inputs: of its kernel; inputs are those of a group.
        groups: of channels.
        down, across: whether it takes that axis of the window it comes from: size, stride, padding and dilation.
    """

    outputs: int
    inputs: int
    groups: int = 1
    down: bool = False
    across: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """A way to take a layer apart.

    Attributes:
        name: as the option has it.
        suits: whether it can be done with a layer.
        most: the highest rank of a layer.
        stages: sizes at a rank, in order.
        losses: share of the outputs' variance that is lost at some ranks, before the last stage is fitted.
        split: kernels of the stages at a rank, each (outputs, inputs, height, width), and what all but the last make of the
            inputs that the last stage reads, shape (numbers it reads, inputs of the layer).
    """

    name: str
    suits: Callable[[Layer], bool]
    most: Callable[[Layer], int]
    stages: Callable[[Layer, int], tuple[Stage, ...]]
    losses: Callable[[Layer, F64, Sequence[int]], list[float]]
    split: Callable[[Layer, F64, int], tuple[list[F64], F64]]


def cost(layer: Layer, stages: Sequence[Stage], of: Cost) -> int:
    """Parameters or multiply-accumulates of some stages in the place of a layer."""
    total, sizes = 0, list(layer.before)
    for stage in stages:
        kernel = [layer.kernel.shape[2 + axis] if takes else 1 for axis, takes in enumerate((stage.down, stage.across))]
        sizes = [layer.behind[axis] if takes else sizes[axis] for axis, takes in enumerate((stage.down, stage.across))]
        total += stage.outputs * stage.inputs * math.prod(kernel) * (math.prod(sizes) if of == "macs" else 1)
    return total


def whole(layer: Layer) -> tuple[Stage, ...]:
    """The layer as it is."""
    return (Stage(layer.kernel.shape[0], layer.kernel.shape[1], down=True, across=True),)


def ranks(form: Form, layer: Layer, multiple_of: int) -> list[int]:
    """Ranks worth a look: multiples, at which fewer multiply-accumulates or parameters are left than the layer has."""
    found = []
    for rank in range(multiple_of, form.most(layer) + 1, multiple_of) if form.name != "separable" else range(1, form.most(layer) + 1):
        stages = form.stages(layer, rank)
        if any(cost(layer, stages, of) < cost(layer, whole(layer), of) for of in ("parameters", "macs")):
            found.append(rank)
    most = _CANONICAL_RANKS if form.name == "cp" else MOST_RANKS
    places = np.linspace(0, len(found) - 1, min(len(found), most)).round()
    return [found[int(place)] for place in np.unique(places)]


def _sizes(layer: Layer) -> tuple[int, int, int, int]:
    outputs, inputs, height, width = layer.kernel.shape
    return outputs, inputs, height, width


def _weighed(layer: Layer, covariance: F64) -> tuple[F64, F64]:
    """The kernel times the typical size of each of its inputs, and these sizes."""
    variances = covariance if covariance.ndim == 1 else np.diagonal(covariance)
    power = variances.reshape(layer.kernel.shape[1], -1).mean(axis=1)
    sizes = np.sqrt(np.maximum(power, 1e-6 * max(float(power.mean()), 1e-30)))
    return layer.kernel * sizes[:, None, None], sizes


def _tails(energies: F64, at: Sequence[int]) -> list[float]:
    total = max(float(energies.sum()), 1e-300)
    return [float(energies[rank:].sum()) / total for rank in at]


# --- fewer filters, and a 1 x 1 convolution (a matrix) that makes all outputs of them


def _svd_stages(layer: Layer, rank: int) -> tuple[Stage, ...]:
    outputs, inputs, _, _ = _sizes(layer)
    return Stage(rank, inputs, down=True, across=True), Stage(outputs, rank)


def _svd_losses(layer: Layer, covariance: F64, at: Sequence[int]) -> list[float]:
    return _tails(lowrank.output_directions(layer.matrix, covariance)[0], at)


def _two(layer: Layer, left: F64, right: F64) -> tuple[list[F64], F64]:
    return [right.reshape(len(right), *layer.kernel.shape[1:]), left[:, :, None, None]], right


def _svd_split(layer: Layer, covariance: F64, rank: int) -> tuple[list[F64], F64]:
    return _two(layer, *lowrank.truncated(layer.matrix, covariance, rank))


def _lu_losses(layer: Layer, covariance: F64, at: Sequence[int]) -> list[float]:
    lower, upper = lowrank.eliminated(layer.matrix, max(at))
    total = max(lowrank.variance_of(layer.matrix, covariance), 1e-300)
    return [lowrank.variance_of(layer.matrix - lower[:, :rank] @ upper[:rank], covariance) / total for rank in at]


def _lu_split(layer: Layer, covariance: F64, rank: int) -> tuple[list[F64], F64]:
    return _two(layer, *lowrank.eliminated(layer.matrix, rank))


# --- columns, then rows


def _spatial_stages(layer: Layer, rank: int) -> tuple[Stage, ...]:
    outputs, inputs, _, _ = _sizes(layer)
    return Stage(rank, inputs, down=True), Stage(outputs, rank, across=True)


def _spatial_losses(layer: Layer, covariance: F64, at: Sequence[int]) -> list[float]:
    outputs, inputs, height, width = _sizes(layer)
    unfolded = _weighed(layer, covariance)[0].transpose(1, 2, 0, 3).reshape(inputs * height, outputs * width)
    return _tails(np.square(np.linalg.svd(unfolded, compute_uv=False)), at)


def _spatial_split(layer: Layer, covariance: F64, rank: int) -> tuple[list[F64], F64]:
    kernel, sizes = _weighed(layer, covariance)
    columns, rows = lowrank.spatial(kernel, rank)
    columns = columns / sizes[:, None, None]
    width = layer.kernel.shape[3]
    seen = np.einsum("rih,xy->rxihy", columns[:, :, :, 0], np.eye(width))
    return [columns, rows], seen.reshape(rank * width, -1)


# --- fewer inputs, a kernel between fewer, all outputs


def _tucker_most(layer: Layer) -> int:
    return int(layer.kernel.shape[0])


def _tucker_inputs(layer: Layer, rank: int) -> int:
    outputs, inputs, _, _ = _sizes(layer)
    return max(1, min(inputs, round(inputs * rank / outputs)))


def _tucker_stages(layer: Layer, rank: int) -> tuple[Stage, ...]:
    outputs, inputs, _, _ = _sizes(layer)
    fewer = _tucker_inputs(layer, rank)
    return Stage(fewer, inputs), Stage(rank, fewer, down=True, across=True), Stage(outputs, rank)


def _tucker_losses(layer: Layer, covariance: F64, at: Sequence[int]) -> list[float]:
    """What both cuts lose together: De Lathauwer et al., 2000, property 10."""
    kernel = _weighed(layer, covariance)[0]
    energies = [_energies(kernel, axis) for axis in (0, 1)]
    behind, before = _tails(energies[0], at), _tails(energies[1], [_tucker_inputs(layer, rank) for rank in at])
    return [min(one + other, 1.0) for one, other in zip(behind, before, strict=True)]


def _energies(kernel: F64, axis: int) -> F64:
    rows = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
    return np.asarray(np.maximum(np.linalg.eigvalsh(rows @ rows.T)[::-1], 0.0), np.float64)


def _tucker_split(layer: Layer, covariance: F64, rank: int) -> tuple[list[F64], F64]:
    kernel, sizes = _weighed(layer, covariance)
    before, middle, behind = lowrank.tucker(kernel, rank, _tucker_inputs(layer, rank))
    before = before / sizes
    seen = np.einsum("rshw,si->rihw", middle, before, optimize=True)
    return [before[:, :, None, None], middle, behind[:, :, None, None]], seen.reshape(rank, -1)


# --- a sum of products of four vectors


def _cp_most(layer: Layer) -> int:
    outputs, inputs, height, width = _sizes(layer)
    return min(outputs * inputs, height * width * min(outputs, inputs))


def _cp_stages(layer: Layer, rank: int) -> tuple[Stage, ...]:
    outputs, inputs, _, _ = _sizes(layer)
    return Stage(rank, inputs), Stage(rank, 1, rank, down=True), Stage(rank, 1, rank, across=True), Stage(outputs, rank)


def _cp_losses(layer: Layer, covariance: F64, at: Sequence[int]) -> list[float]:
    kernel = _weighed(layer, covariance)[0]
    total = max(float(np.square(kernel).sum()), 1e-300)
    found = (np.einsum("or,ir,hr,wr->oihw", *lowrank.canonical(kernel, rank), optimize=True) for rank in at)
    return [float(np.square(kernel - one).sum()) / total for one in found]


def _cp_split(layer: Layer, covariance: F64, rank: int) -> tuple[list[F64], F64]:
    kernel, sizes = _weighed(layer, covariance)
    outputs, inputs, height, width = lowrank.canonical(kernel, rank)
    inputs = inputs / sizes[:, None]
    seen = np.einsum("ir,hr,wr->rihw", inputs, height, width, optimize=True).reshape(rank, -1)
    stages = [inputs.T[:, :, None, None], height.T[:, None, :, None], width.T[:, None, None, :], outputs[:, :, None, None]]
    return stages, seen


# --- filters of each input, and a 1 x 1 convolution


def _separable_stages(layer: Layer, rank: int) -> tuple[Stage, ...]:
    outputs, inputs, _, _ = _sizes(layer)
    return Stage(inputs * rank, 1, inputs, down=True, across=True), Stage(outputs, inputs * rank)


def _separable_most(layer: Layer) -> int:
    return int(min(math.prod(layer.kernel.shape[2:]), layer.kernel.shape[0]))


def _separable_losses(layer: Layer, covariance: F64, at: Sequence[int]) -> list[float]:
    outputs, inputs, height, width = _sizes(layer)
    unfolded = _weighed(layer, covariance)[0].transpose(1, 0, 2, 3).reshape(inputs, outputs, height * width)
    return _tails(np.square(np.linalg.svd(unfolded, compute_uv=False)).sum(axis=0), at)


def _separable_split(layer: Layer, covariance: F64, rank: int) -> tuple[list[F64], F64]:
    outputs, inputs, height, width = _sizes(layer)
    filters = lowrank.by_input(layer.kernel, rank)
    seen = np.einsum("irhw,ij->irjhw", filters.reshape(inputs, rank, height, width), np.eye(inputs))
    points = np.einsum("irhw,oihw->oir", filters.reshape(inputs, rank, height, width), layer.kernel, optimize=True)
    return [filters, points.reshape(outputs, inputs * rank, 1, 1)], seen.reshape(inputs * rank, -1)


def _any(layer: Layer) -> bool:
    return True


def _has_kernel(layer: Layer) -> bool:
    return not layer.is_pointwise


def _has_square(layer: Layer) -> bool:
    return bool(min(layer.kernel.shape[2:]) > 1)


def _matrix_rank(layer: Layer) -> int:
    return int(min(layer.matrix.shape))


def _spatial_rank(layer: Layer) -> int:
    outputs, inputs, height, width = _sizes(layer)
    return min(inputs * height, outputs * width)


FORMS = {
    form.name: form
    for form in (
        Form("svd", _any, _matrix_rank, _svd_stages, _svd_losses, _svd_split),
        Form("lu", _any, _matrix_rank, _svd_stages, _lu_losses, _lu_split),
        Form("spatial", _has_square, _spatial_rank, _spatial_stages, _spatial_losses, _spatial_split),
        Form("tucker", _has_kernel, _tucker_most, _tucker_stages, _tucker_losses, _tucker_split),
        Form("cp", _has_square, _cp_most, _cp_stages, _cp_losses, _cp_split),
        Form("separable", _has_kernel, _separable_most, _separable_stages, _separable_losses, _separable_split),
    )
}

AUTOMATIC = ("svd", "spatial", "tucker")


def forms_of(layer: Layer, method: str) -> Iterator[Form]:
    """The forms that a method tries with a layer: what has no kernel to take apart is always two matrices."""
    names = AUTOMATIC if method == "auto" else (method,)
    if layer.is_pointwise:
        names = ("lu",) if method == "lu" else ("svd",)
    yield from (FORMS[name] for name in names if FORMS[name].suits(layer))

"""What earlier steps gave a graph's weights stays while they are trained: zeros, shared values, few magnitudes.

Source:
    Centroids are trained by the sum of their weights' gradients: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from edgekit.graph.structure import Structure
from edgekit.graph.trainable.module import Trainable
from edgekit.passes.learn.technique import Held, Technique, Torch


def keepers(noted: Mapping[str, Structure], graph: Trainable) -> list[Technique]:
    """A technique for each weight of a graph that has something to keep."""
    trained = {name for name, _ in graph.named_parameters(remove_duplicate=False)}
    return [_keeper(name, one) for name, one in sorted(noted.items()) if name in trained]


def _keeper(name: str, one: Structure) -> Technique:
    return Scaled(name, one.axis) if one.is_scaled else _KEEPERS[one.kind](name, one.axis)


class Sparse(Technique):
    """What is zero stays zero.

    Args:
        name: the weight.
        axis: of no account here.
    """

    def __init__(self, name: str, axis: int | None = None) -> None:
        super().__init__()
        self._name = name

    def install(self, graph: Trainable) -> None:
        """Zeros of the start are the mask."""
        self.register_buffer("mask", (graph.constant(self._name) != 0).to(graph.constant(self._name).dtype))

    def instead(self, held: Held) -> Mapping[str, Torch]:
        """The weight where the mask is 1."""
        return {self._name: held(self._name) * self.mask}


class Codebook(Technique):
    """What is equal stays equal: the values that are shared are learned, who shares which is not. A shared 0 stays 0.

    Args:
        name: the weight.
        axis: slices along it have codebooks of their own; None for one of the whole tensor.
    """

    def __init__(self, name: str, axis: int | None = None) -> None:
        super().__init__()
        self._name, self._axis = name, axis

    def install(self, graph: Trainable) -> None:
        """The values of the start are the codebook."""
        weight = graph.constant(self._name)
        values, places, taken = [], [], 0
        for row in _slices(weight.detach(), self._axis):
            own, at = torch.unique(row, return_inverse=True)
            values.append(own)
            places.append(at + taken)
            taken += len(own)
        start = torch.cat(values)
        self.values = nn.Parameter(start)
        self.register_buffer("places", _joined(torch.stack(places), weight, self._axis))
        self.register_buffer("free", (start != 0).to(start.dtype))
        weight.requires_grad_(False)

    def instead(self, held: Held) -> Mapping[str, Torch]:
        """Each number looked up."""
        return {self._name: (self.values * self.free)[self.places]}


class Scaled(Technique):
    """Each slice is a multiple of one codebook: the multiples are learned, and the codebook but for its ends, which are -1 and 1.

    Args:
        name: the weight.
        axis: of the slices.
    """

    def __init__(self, name: str, axis: int | None) -> None:
        super().__init__()
        self._name, self._axis = name, axis

    def install(self, graph: Trainable) -> None:
        """Of each slice the largest magnitude; of all the codebook that they then have in common, up to float32's rounding."""
        weight = graph.constant(self._name)
        rows = _slices(weight.detach(), self._axis)
        sizes = rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        unit = rows / sizes
        values = torch.unique(unit)
        steps = (values[1:] - values[:-1] > _SAME).cumsum(0)
        entry = torch.cat([torch.zeros(1, dtype=torch.long), steps])
        table = torch.zeros(int(entry[-1]) + 1, dtype=rows.dtype).scatter_reduce(0, entry, values, "mean", include_self=False)
        places = entry[torch.searchsorted(values, unit.contiguous())]
        self.table, self.sizes = nn.Parameter(table), nn.Parameter(sizes)
        self.register_buffer("places", places)
        self.register_buffer("free", ((table != 0) & (table.abs() < 1.0 - _SAME)).to(rows.dtype))
        self.register_buffer("fixed", torch.where(self.free > 0, 0.0, table.round()))
        self._like = weight.detach()
        weight.requires_grad_(False)

    def instead(self, held: Held) -> Mapping[str, Torch]:
        """Each number looked up, times that of its slice; entries stay between the ends."""
        table = (self.table * self.free).clamp(-1.0, 1.0) + self.fixed
        return {self._name: _joined(table[self.places] * self.sizes.abs(), self._like, self._axis)}


class Signed(Technique):
    """Each number is 0, +a or -a: signs and zeros stay, a is learned.

    Args:
        name: the weight.
        axis: slices along it have an a of their own; None for one of the whole tensor.
    """

    def __init__(self, name: str, axis: int | None = None) -> None:
        super().__init__()
        self._name, self._axis = name, axis

    def install(self, graph: Trainable) -> None:
        """Signs of the start, and of each slice the largest magnitude."""
        weight = graph.constant(self._name)
        sizes = [-1 if at == self._axis else 1 for at in range(weight.ndim)] if self._axis is not None else [1] * weight.ndim
        self.magnitude = nn.Parameter(_slices(weight.detach(), self._axis).abs().amax(1).reshape(sizes))
        self.register_buffer("signs", torch.sign(weight.detach()))
        weight.requires_grad_(False)

    def instead(self, held: Held) -> Mapping[str, Torch]:
        """Signs times magnitudes."""
        return {self._name: self.signs * self.magnitude}


_SAME = 1e-6
"""Entries of a codebook whose slices have ends of 1 differ by more."""

_KEEPERS = {"sparse": Sparse, "codebook": Codebook, "ternary": Signed, "binary": Signed}


def _slices(weight: Torch, axis: int | None) -> Torch:
    """A row for each slice."""
    return weight.reshape(1, -1) if axis is None else weight.movedim(axis, 0).flatten(1)


def _joined(rows: Torch, weight: Torch, axis: int | None) -> Torch:
    """Rows, as :func:`_slices` makes them, in the weight's shape."""
    if axis is None:
        return rows.reshape(weight.shape)
    return rows.reshape(weight.movedim(axis, 0).shape).movedim(0, axis).contiguous()

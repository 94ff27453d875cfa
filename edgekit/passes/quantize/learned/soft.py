"""Weights of one node that are still between two integers each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.passes.quantize.decide import Weights

F64 = NDArray[np.float64]
Torch = Any
"""A torch tensor; torch is not typed here."""

STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1
"""The sigmoid is stretched beyond 0 and 1 and cut there, so that it reaches both."""

OF_START = 0.6
"""Where weights begin: so much of the way from where they lie between two integers to that which the start took. Beyond a half
all round to the integers of the start."""


class Soft:
    """A node's weights as a function of what is learned: each between the start's integer and its neighbour.

    The neighbour is on the weight's other side, or nearer to it where the start is farther away than 1. Weights are frozen
    to the nearer of both, those first that are nearest, and the others go on learning: they make up for it.

    Source:
        Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, eq. 22 and 23. Their
        regularizer, which pulls all weights to integers, needs thousands of steps. With 250 it was tried on MobileNetV2 at 4
        bits: its first block had 1.6 times the error of the start; freezing, after Zhou et al., "Incremental Network
        Quantization", ICLR 2017, brings 0.7 times.

    Args:
        one: the node.
        view: its graph.
        decided: its weights without learning.
        average: what its weights are multiplied with on average, shape (groups, inputs); None if its bias takes up no error.
    """

    def __init__(self, one: Weighted, view: View, decided: Weights, average: F64 | None) -> None:
        weight = view.value(one.weight)
        rows = one.by_channel(weight)
        plain = dataclasses.replace(one, weight_factor=1.0)
        self._places = torch.from_numpy(plain.from_channels(np.arange(rows.size).reshape(rows.shape), weight.shape))
        self.scale = np.resize(decided.affine.scale, len(rows))
        start = plain.by_channel(decided.integers)
        exact = rows / self.scale.astype(np.float64)[:, None]
        other = np.clip(start + np.where(exact >= start, 1.0, -1.0), decided.affine.grid.low, decided.affine.grid.high)
        lower, upper = np.minimum(start, other), np.maximum(start, other)
        share = (1.0 - OF_START) * np.clip(exact - lower, 0.0, 1.0) + OF_START * (start > lower)
        self.learned = torch.nn.Parameter(_float(_unstretched(share)))
        self._frozen = torch.zeros(rows.shape, dtype=torch.bool)
        self._rows, self._start, self._lower, self._width = map(_float, (rows, start, lower, upper - lower))
        self._step = _float(self.scale[:, None])
        self._average = None if average is None else _float(np.repeat(average, len(rows) // len(average), axis=0))
        bias = 0.0 if one.bias is None else view.value(one.bias).reshape(-1) * one.bias_factor
        self._bias = _float(np.broadcast_to(bias, len(rows)))

    def soft(self) -> tuple[Torch, Torch]:
        """Weight and bias as they are now, differentiable."""
        return self._numbers(self._lower + self._width * self.share())

    def hard(self) -> tuple[Torch, Torch]:
        """Weight and bias with all weights at the nearer integer."""
        return self._numbers(self._integers())

    def start(self) -> tuple[Torch, Torch]:
        """Weight and bias without learning."""
        return self._numbers(self._start)

    def integers(self) -> NDArray[np.int8]:
        """The nearer integers, a row an output channel."""
        return np.asarray(self._integers().numpy(), np.int8)

    def share(self) -> Torch:
        """Of the way from the lower integer to the upper, 0 to 1."""
        free = torch.clamp(torch.sigmoid(self.learned) * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW, 0.0, 1.0)
        return torch.where(self._frozen, (free.detach() >= 0.5).to(free.dtype), free)

    def freeze(self, part: float) -> None:
        """Freeze so much of all weights, 0 to 1, those frozen before included."""
        count = round(part * self._frozen.numel())
        if count:
            distance = 0.5 - (self.share().detach() - 0.5).abs()
            distance[self._frozen] = -1.0
            self._frozen = distance <= distance.reshape(-1).kthvalue(count).values

    def _integers(self) -> Torch:
        return self._lower + self._width * (self.share().detach() >= 0.5)

    def _numbers(self, integers: Torch) -> tuple[Torch, Torch]:
        rows = integers * self._step
        bias = self._bias
        if self._average is not None:
            bias = bias - ((rows - self._rows) * self._average).sum(dim=1)
        return rows.reshape(-1)[self._places], bias


def _unstretched(share: F64) -> F64:
    """What gives these shares; 0 and 1 are left a little, so that gradients come through."""
    sigmoid = (np.clip(share, 0.01, 0.99) - STRETCH_LOW) / (STRETCH_HIGH - STRETCH_LOW)
    return np.asarray(np.log(sigmoid) - np.log1p(-sigmoid))


def _float(values: NDArray[Any]) -> Torch:
    return torch.from_numpy(np.array(values, np.float32, order="C"))

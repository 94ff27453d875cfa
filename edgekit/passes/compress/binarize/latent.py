"""Weights of few magnitudes that are learned: real numbers behind them move until they fall on the other side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from edgekit.graph.trainable.module import Trainable
from edgekit.passes.compress.binarize.signs import Kind
from edgekit.passes.learn.technique import Held, Technique, Torch


class Latent(Technique):
    """A weight of a graph is replaced by signs of it times a magnitude for each channel; both are learned.

    Gradients pass to the real number behind a weight as if it were the weight, as long as it is no larger than the magnitude.

    Args:
        name: the weight.
        axis: of the channels.
        kind: ``ternary``: 0 where the real number is less than half of the magnitude; ``binary``: never.
        scale: magnitudes to begin with, one a channel.

    Source:
        Zhu et al., "Trained Ternary Quantization", ICLR 2017, section 3 (learned magnitudes, here one for both signs);
        Courbariaux et al., "BinaryConnect", NeurIPS 2015, section 2.3 (gradients straight through).
    """

    def __init__(self, name: str, axis: int, kind: Kind, scale: Torch) -> None:
        super().__init__()
        self._name, self._axis, self._kind = name, axis, kind
        self._start = scale

    def install(self, graph: Trainable) -> None:
        """The graph's weights are the real numbers to begin with."""
        sizes = [-1 if at == self._axis else 1 for at in range(graph.constant(self._name).ndim)]
        self.scale = nn.Parameter(self._start.reshape(sizes))

    def instead(self, held: Held) -> Mapping[str, Torch]:
        """Signs times magnitudes."""
        scale = self.scale.abs()
        unit = held(self._name) / scale.detach().clamp_min(1e-12)
        codes = torch.where(unit.detach() < 0.0, -1.0, 1.0)
        if self._kind == "ternary":
            codes = codes * (unit.detach().abs() > 0.5)
        through = unit.clamp(-1.0, 1.0)
        return {self._name: scale * (codes + (through - through.detach()))}  # in brackets exactly 0, so that magnitudes stay equal

"""The module that is trained: a graph, and the techniques that stand between its constants and what is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.errors import SourceError
from edgekit.graph.trainable.module import Trainable, channels_last
from edgekit.passes.learn.technique import Technique, Torch

_ALIKE, _ALIKE_ROUNDED = 1e-4, 1e-2
"""Share of the squared size by which two samples at once may differ from each alone: sums are taken in another order, and in a
quantized graph an integer here and there comes out one higher or lower, and those after it."""


class Student(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A graph with techniques installed.

    Args:
        graph: what is trained.
        techniques: in the order in which they follow one another on a weight.
    """

    def __init__(self, graph: Trainable, techniques: Sequence[Technique]) -> None:
        super().__init__()
        for technique in techniques:
            technique.install(graph)
        self.graph = graph
        self.techniques = nn.ModuleList(techniques)
        self._stacks: bool | None = None

    def forward(self, inputs: Mapping[str, Torch]) -> dict[str, Torch]:
        """Outputs by name.

        Args:
            inputs: by input name, shape (samples, 1, …); they are computed at once where the graph allows it.
        """
        if self._stacks is None:
            self._stacks = self._is_stacking({name: value[:2] for name, value in inputs.items()})
        instead = self.instead()
        return self._at_once(inputs, instead) if self._stacks else self._each(inputs, instead)

    def instead(self) -> dict[str, Torch]:
        """What the techniques put in the place of constants."""
        found: dict[str, Torch] = {}

        def held(name: str) -> Torch:
            return found[name] if name in found else self.graph.constant(name)

        for technique in self.techniques:
            found.update(technique.instead(held))
        return found

    def values(self) -> dict[str, NDArray[Any]]:
        """Every trained constant of the graph as the techniques leave it."""
        with torch.no_grad():
            instead = {name: value.detach().cpu().numpy() for name, value in self.instead().items()}
        return {name: np.array(value) for name, value in (self.graph.values() | instead).items()}

    def _at_once(self, inputs: Mapping[str, Torch], instead: Mapping[str, Torch]) -> dict[str, Torch]:
        made: dict[str, Torch] = self.graph({name: channels_last(value.flatten(0, 1)) for name, value in inputs.items()}, instead)
        return made

    def _each(self, inputs: Mapping[str, Torch], instead: Mapping[str, Torch]) -> dict[str, Torch]:
        count = len(next(iter(inputs.values())))
        made = [self.graph({name: value[at] for name, value in inputs.items()}, instead) for at in range(count)]
        return {name: torch.cat([torch.atleast_1d(one[name]) for one in made]) for name in made[0]}

    def _is_stacking(self, two: Mapping[str, Torch]) -> bool:
        """Whether two samples at once give what they give alone."""
        if any(value.ndim < 2 or value.shape[1] != 1 for value in two.values()):
            return False
        with torch.no_grad():
            instead = self.instead()
            alone = self._each(two, instead)
            try:
                together = self._at_once(two, instead)
            except SourceError:  # a size that is written in the graph
                return False
        most = _ALIKE_ROUNDED if self.graph.is_rounding else _ALIKE
        return all(_is_same(together[name], value, most) for name, value in alone.items())


def _is_same(one: Torch, other: Torch, most: float) -> bool:
    """Whether tensors differ by less than such a share."""
    if one.shape != other.shape:
        return False
    difference, size = (float(value.double().square().sum()) for value in (one - other, other))
    return difference <= most * size

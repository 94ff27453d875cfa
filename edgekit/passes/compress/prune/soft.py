"""Channels that are zeroed while the graph learns, and may come back: which go is settled at the end.

Source:
    He et al., "Soft filter pruning for accelerating deep convolutional neural networks", IJCAI 2018, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from edgekit.graph.channels import ChannelGroups
from edgekit.graph.trainable.module import Trainable
from edgekit.passes.learn.technique import Moment, Technique

if TYPE_CHECKING:
    from numpy.typing import NDArray

Select = Callable[[Mapping[str, "NDArray[Any]"]], Mapping[int, tuple[int, ...]]]
"""Which units go, by the values that the constants have now."""


class Soft(Technique):
    """After every epoch what makes the least important units becomes zero; it goes on learning.

    Args:
        found: the channels of the graph.
        select: which units go.
        epochs: of the training.
    """

    def __init__(self, found: ChannelGroups, select: Select, epochs: int) -> None:
        super().__init__()
        self._found, self._select, self._epochs = found, select, epochs
        self._graph: list[Trainable] = []  # in a list, so that torch does not take it for a part
        for number, group in enumerate(found.groups):
            self.register_buffer(f"gone_{number}", torch.zeros(group.units, dtype=torch.bool))

    def install(self, graph: Trainable) -> None:
        """Take hold of the weights."""
        self._graph = [graph]

    def after_step(self, moment: Moment) -> None:
        """At the end of an epoch, select and zero."""
        if not self.is_settled(moment):
            return
        (graph,) = self._graph
        gone = self._select(graph.values())
        for number, group in enumerate(self._found.groups):
            mask = getattr(self, f"gone_{number}")
            mask.zero_()
            mask[list(gone.get(number, ()))] = True
            for place in group.places:
                if place.role != "reads":
                    self._zero(graph.constant(place.constant), place.axis, torch.from_numpy(place.unit), mask)

    def is_settled(self, moment: Moment) -> bool:
        """Units are gone right after an epoch alone."""
        return moment.step > 0 and moment.step % max(1, moment.steps // self._epochs) == 0

    def gone(self) -> dict[int, tuple[int, ...]]:
        """The units that are zero in the weights that were kept."""
        masks = {number: getattr(self, f"gone_{number}") for number in range(len(self._found.groups))}
        return {number: tuple(torch.nonzero(mask).flatten().tolist()) for number, mask in masks.items() if bool(mask.any())}

    @staticmethod
    def _zero(weight: Any, axis: int, units: Any, mask: Any) -> None:
        inside = (units >= 0) & mask[units.clamp(min=0)]
        weight.data.movedim(axis, 0)[inside] = 0.0

"""A technique is a change to the module that is trained, never a loop of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgekit.graph.trainable.module import Trainable

Torch = Any
"""A torch tensor; torch is not typed here."""

Held = Callable[[str], Torch]
"""What stands for a constant of the graph at the moment: its parameter, or what a technique before this one put in its place."""


@dataclass(frozen=True, slots=True)
class Moment:
    """How far training is: ``step`` updates are done of ``steps``."""

    step: int
    steps: int

    @property
    def share(self) -> float:
        """The same as 0 to 1."""
        return self.step / self.steps if self.steps else 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that the optimizer treats alike.

    Attributes:
        parameters: of torch.
        rate: their learning rate, as a multiple of that of the options.
        weight_decay: their pull towards 0.
    """

    parameters: Sequence[Torch]
    rate: float = 1.0
    weight_decay: float = 0.0


class Technique(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """What a weight has to keep, or how it is computed from what is learned. Every method may be left as it is.

    What it learns are its parameters and what it remembers its buffers, so that checkpoints and averages hold both. What it
    draws at random it draws from torch's global generator, which is seeded anew every step: a training that was
    interrupted then goes on bit for bit.
    """

    def install(self, graph: Trainable) -> None:
        """Take hold of the graph, once, before anything is trained: make parameters, or freeze the graph's with
        ``graph.constant(name).requires_grad_(False)``. What is in the graph is the start of training."""

    def groups(self) -> Sequence[Group]:
        """Own parameters with rates of their own; those that no group names are trained at the rate of the options."""
        return ()

    def instead(self, held: Held) -> Mapping[str, Torch]:
        """Tensors to take in the place of constants of the graph, by name; asked at every forward pass.

        Args:
            held: what stands for a constant by now; techniques are asked in order, so that one may round what another masked.
        """
        return {}

    def penalty(self) -> Torch | None:
        """Something to add to the loss; None for nothing. Asked after the forward pass."""
        return None

    def after_step(self, moment: Moment) -> None:
        """The optimizer has moved the parameters: freeze, prune more, project. Gradients are off."""

    def is_settled(self, moment: Moment) -> bool:
        """Whether weights of this moment may be kept: False while what is asked for does not hold yet, as on a schedule."""
        return True

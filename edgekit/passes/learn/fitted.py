"""What training gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Check:
    """How a training stood after an epoch.

    Attributes:
        step: updates done.
        loss: mean over the steps since the last check; None before the first.
        held_out: loss of the samples held out, with the averaged weights where there are some; None if none are held out.
        accuracy: share of the held-out samples with a label whose class is right, 0 to 1; None if none has one.
    """

    step: int
    loss: float | None
    held_out: float | None
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """The end of a training.

    Attributes:
        values: new values of the graph's constants by name, for :func:`edgekit.graph.trainable.trained`.
        history: one check an epoch, the start first.
        kept_step: after how many updates the weights were as they are here; 0 if the start was never bettered.
        steps: updates done.
        planned: updates that would have been done without an early end.
    """

    values: Mapping[str, NDArray[Any]]
    history: tuple[Check, ...]
    kept_step: int
    steps: int
    planned: int

    def record(self) -> dict[str, Any]:
        """What a step's record says of it: the start, what was kept, and every check, numbers of six digits."""
        curve = [{key: _short(value) for key, value in asdict(one).items() if value is not None} for one in self.history]
        told: dict[str, Any] = {"steps": self.steps, "planned_steps": self.planned, "kept_step": self.kept_step}
        kept = next((one for one in self.history if one.step == self.kept_step), self.history[-1])
        if kept.held_out is not None:
            told |= {"held_out_loss_before": curve[0]["held_out"], "held_out_loss_after": _short(kept.held_out)}
        return {**told, "curve": curve}

    def sentence(self) -> str:
        """The same in a few words."""
        kept = next((one for one in self.history if one.step == self.kept_step), self.history[-1])
        if kept.held_out is None:
            return f"{self.steps} steps"
        start = self.history[0].held_out
        return f"kept step {self.kept_step} of {self.steps}: held-out loss {start:.4g} → {kept.held_out:.4g}"


def _short(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value

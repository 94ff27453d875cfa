"""Distill: a model of another architecture learns to answer as its teachers do, and as labels say where there are some."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgekit.errors import UsageError
from edgekit.model import Model
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.learn.learning import learned, tools_of
from edgekit.passes.learn.options import TrainOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill(TrainOptions):
    """The pass ``distill``, first of all steps; its options are those of the trainer.

    Several teachers answer together: by the mean of their softened probabilities, or of their values. A teacher may take its
    inputs in another order of axes, scale or size. BatchNormalization of the student is folded by then: its weights are best
    those of a network that was trained before, if only a little; drawn ones learn where the network is not deep.
    """

    keeps_nodes: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLES, Need.TEACHERS})

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the trained model into ``out``.

        Raises:
            MissingExtraError: torch is not installed, or the library that changes pictures.
            SamplesError: samples are missing, do not fit the models, or their labels do not.
            TrainingError: the loss is no number any more.
            UnsupportedError: the graph cannot be trained.
            UsageError: there is no teacher, or the teachers' outputs are not the student's.
        """
        if not supplies.teachers:
            raise UsageError("distill: needs a teacher", hint="edgekit distill --teacher FILE --student FILE --samples DIR")
        return learned("distill", self, model, supplies.teachers, supplies, out)

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        return tools_of(self)

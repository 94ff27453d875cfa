"""Finetune: the compressed model learns to answer as the model did before, and as labels say where there are some."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgekit.model import Model
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.learn.learning import learned, tools_of
from edgekit.passes.learn.options import TrainOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune(TrainOptions):
    """The pass ``finetune``; its options are those of the trainer. It expects a simplified and fused graph with float weights.

    What pruning, clustering and the like gave the weights is kept. BatchNormalization is folded into the weights by then, so
    that nothing depends on the other samples of a batch.
    """

    keeps_nodes: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLES, Need.TEACHER})

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the trained model into ``out``.

        Raises:
            MissingExtraError: torch is not installed, or the library that changes pictures.
            SamplesError: samples are missing, do not fit the model, or their labels do not.
            TrainingError: the loss is no number any more.
            UnsupportedError: the graph cannot be trained.
        """
        teachers = [supplies.teacher] if supplies.teacher is not None else []
        return learned("finetune", self, model, teachers, supplies, out)

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        return tools_of(self)

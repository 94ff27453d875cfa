"""Finetune: the compressed model learns to answer as the model did before, and as labels say where there are some."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from edgekit.errors import SamplesError
from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.learn.options import TrainOptions
from edgekit.plugins import version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune(TrainOptions):
    """The pass ``finetune``; its options are those of the trainer. It expects a simplified and fused graph with float weights.

    What pruning, clustering and the like gave the weights is kept. BatchNormalization is folded into the weights by then, so
    that nothing depends on the other samples of a batch.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLES, Need.TEACHER})

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the trained model into ``out``.

        Raises:
            MissingExtraError: torch is not installed, or the library that changes pictures.
            SamplesError: samples are missing, do not fit the model, or their labels do not.
            TrainingError: the loss is no number any more.
            UnsupportedError: the graph cannot be trained.
        """
        from edgekit.graph.onnx_file import load, save
        from edgekit.graph.trainable import trained
        from edgekit.passes.learn import fit, material_of, require, taught_by

        if supplies.samples is None:
            raise SamplesError("finetune: needs samples", hint="--samples DIR")
        require(self)
        teachers = taught_by([supplies.teacher] if supplies.teacher is not None else [], self, supplies.samples)
        proto = load(model.path)
        material = material_of(supplies.samples, model.signature, teachers)
        fitted = fit(proto, material, self, watcher=supplies.watcher, checkpoints=supplies.unfinished, what="finetune")
        save(trained(proto, fitted.values), out)
        did = {"samples": material.count, "labelled": int((material.labels >= 0).sum()), "teachers": len(teachers), **fitted.record()}
        return seal_model(out, model.signature, (*model.history, Step("finetune", options=asdict(self), tools=self.tools(), did=did)))

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        return version_of("edgekit", "numpy", "onnx", "onnxruntime", "torch", *(("kornia",) if self.augments else ()))

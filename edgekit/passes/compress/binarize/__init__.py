"""Binarize: weights become signs, times one magnitude a channel; with or without a zero between them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgekit.errors import SamplesError
from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.learn.options import TrainOptions
from edgekit.plugins import version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Binarize(TrainOptions):
    """The pass ``binarize``; its options besides are those of the trainer. It expects a simplified and fused graph.

    ``equalize`` belongs before it, ``quantize`` behind. A graph that came quantized is left as it is.

    Attributes:
        kind: ``ternary``: weights are 0, +a or -a, with an a for each output channel; ``binary``: +a or -a.
        train: signs and magnitudes are learned, the model as it was being the teacher; without, they are those nearest to the
            weights, or to what the weights make of the samples, and a step ``finetune`` moves magnitudes alone.
        keep_ends: the first and the last product keep their weights, which cost most of the accuracy and have few of the bytes.
        rounding: without ``train``: to the ``nearest`` signs, or ``compensated``: where there are samples, so that each layer's
            outputs change least on them.
        keep: other nodes that are left alone: names, patterns such as ``/head/*``, or operators.
    """

    uses: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLES})
    keeps_nodes: ClassVar[bool] = True
    pays_as: ClassVar[str] = "binary"

    kind: Literal["ternary", "binary"] = "ternary"
    train: bool = False
    keep_ends: bool = True
    rounding: Literal["nearest", "compensated"] = "compensated"
    keep: tuple[str, ...] = ()

    @property
    def needs(self) -> frozenset[Need]:
        """Samples, to learn from."""
        return frozenset({Need.SAMPLES}) if self.train else frozenset()

    def missing(self) -> str:
        """What is not installed and the options ask for; signs that are not learned need nothing."""
        return TrainOptions.missing(self) if self.train else ""

    def misfit(self, model: Model) -> str:
        """What of the options fits nothing in a graph; "" if all does."""
        from edgekit.passes.named import unnamed

        return "; ".join(filter(None, (unnamed(model, self.keep, "keep"), TrainOptions.misfit(self, model) if self.train else "")))

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the binarized model into ``out``.

        Raises:
            MissingExtraError: torch is not installed, and signs are to be learned.
            SamplesError: samples are missing where they are needed, or do not fit the model.
            SourceError: the model cannot be read or run.
            TrainingError: the loss is no number any more.
            UsageError: ``keep`` names what is not there.
        """
        from edgekit.graph.onnx_file import infer_shapes, load, save
        from edgekit.passes.already import left_as_it_is
        from edgekit.passes.compress.binarize.binarizing import binarized
        from edgekit.passes.compress.threads import one_thread

        if self.train and supplies.samples is None:
            raise SamplesError("binarize: train needs samples", hint="--samples DIR, or --set binarize.train=false")
        proto = infer_shapes(load(model.path))
        did = left_as_it_is(proto)
        if did is None:
            with one_thread():
                proto, did = binarized(model, proto, supplies, self)
        save(proto, out)
        step = Step(name="binarize", options=asdict(self), tools=self.tools(), did=did)
        return seal_model(out, model.signature, (*model.history, step))

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        torch = ("torch", *(("kornia",) if self.augments else ())) if self.train else ()
        return version_of("edgekit", "numpy", "onnx", "onnxruntime", *torch)

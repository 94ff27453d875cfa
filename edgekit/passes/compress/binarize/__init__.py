"""Binarize: weights become signs, times one magnitude a channel, with or without a zero between them; if asked, activations, too."""

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
        activations: what these products read becomes signs, too, times the mean magnitude of what an output looks at. Accuracy falls
            far unless ``train`` makes up for it, and no runtime here is faster or smaller by it. Weights are rounded to the
            nearest signs then; in training, gradients pass straight through.
        keep: other nodes that are left alone: names, patterns such as ``/head/*``, or operators.
    """

    uses: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLES})

    kind: Literal["ternary", "binary"] = "ternary"
    train: bool = False
    keep_ends: bool = True
    rounding: Literal["nearest", "compensated"] = "compensated"
    activations: bool = False
    keep: tuple[str, ...] = ()

    @property
    def needs(self) -> frozenset[Need]:
        """Samples, to learn from, and to know what activations are like."""
        return frozenset({Need.SAMPLES}) if self.train or self.activations else frozenset()

    @property
    def keeps_nodes(self) -> bool:
        """Whether no node is new."""
        return not self.activations

    @property
    def pays_as(self) -> tuple[str, ...]:
        """The fields of a runtime's facts that say what comes of it."""
        return ("binary", "binary_activations") if self.activations else ("binary",)

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

        for option, asked in (("train", self.train), ("activations", self.activations)):
            if asked and supplies.samples is None:
                raise SamplesError(f"binarize: {option} needs samples", hint=f"--samples DIR, or --set binarize.{option}=false")
        proto = infer_shapes(load(model.path))
        did = left_as_it_is(proto)
        if did is None:
            with one_thread():
                proto, did = binarized(model, proto, supplies, self)
        save(proto, out)
        step = Step(name="binarize", options=asdict(self), tools=self.tools(), did=did)
        return seal_model(out, model.signature, (*model.history, step))

    def foresee(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write into ``out`` the nodes that the model would have, with made-up numbers; without ``activations`` none is new.

        Raises:
            SourceError: the model cannot be read.
            UsageError: every layer is left alone, or ``keep`` names what is not there.
        """
        if not self.activations:
            return model
        from edgekit.graph.onnx_file import infer_shapes, load, save
        from edgekit.passes.already import left_as_it_is
        from edgekit.passes.compress.binarize.binarizing import foreseen

        proto = infer_shapes(load(model.path))
        save(proto if left_as_it_is(proto) is not None else foreseen(proto, self), out)
        return seal_model(out, model.signature, model.history)

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        torch = ("torch", *(("kornia",) if self.augments else ())) if self.train else ()
        return version_of("edgekit", "numpy", "onnx", "onnxruntime", *torch)

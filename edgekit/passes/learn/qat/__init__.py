"""Quantization-aware training: a quantized graph learns to answer as the float model does, in the integers that its target computes with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import UnsupportedError
from edgekit.extras import extra
from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.learn.options import TrainOptions
from edgekit.passes.quantize import Quantize
from edgekit.target import Scheme

if TYPE_CHECKING:
    import onnx

_OF_QUANTIZE = (
    "weight_bits",
    "max_weight_bytes",
    "activation_bits",
    "observer",
    "percentile",
    "rounding",
    "correct_bias",
    "keep_float",
    "min_sqnr_db",
    "min_agreement",
    "max_accuracy_drop",
    "max_float_share",
    "float_if_free",
)
"""Fields that are those of :class:`~edgekit.passes.quantize.Quantize`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Qat(TrainOptions):
    """Quantize as the step ``quantize`` does in its mode ``static``, and train from there what the integers lost.

    The graph that is trained is the one that is written, Q/DQ included. Weights learn in steps of their scales, biases beside
    them, and scales and zero points of what flows between nodes, as the target's scheme has them: what shares one goes on
    sharing it, what the scheme prescribes stays, weights that are zero, equal or signs by an earlier step stay so. What stays
    float is not trained. The fields of the trainer are :class:`~edgekit.passes.learn.options.TrainOptions`, the first ones
    below those of :class:`~edgekit.passes.quantize.Quantize`; ``min_sqnr_db`` and the other budgets keep nodes in float before
    training, none after it.

    Attributes:
        rate: learning rate of weights at its highest, in steps of their scales.
        bias_rate: learning rate of biases as a multiple of ``rate``; one is what a step of each input makes of the output, were
            their signs drawn at random.
        range_rate: learning rate of scales, in shares of themselves, and of zero points, in shares of all integers, as a
            multiple of ``rate``; 0 leaves them as they were calibrated. Small networks take 0.5; three times as much as here cost
            EfficientNet-Lite0 1.4 dB in the first 20 updates, which it took 60 to make up for.
    """

    weight_bits: Literal[8, 4] = 8
    max_weight_bytes: int | None = None
    activation_bits: Literal[8, 16] = 8
    observer: Literal["minmax", "moving_average", "percentile", "entropy", "mse"] = "mse"
    percentile: float = 99.999
    rounding: Literal["nearest", "compensated", "learned"] = "compensated"
    correct_bias: bool = True
    keep_float: tuple[str, ...] = ()
    min_sqnr_db: float | None = None
    min_agreement: float | None = None
    max_accuracy_drop: float | None = None
    max_float_share: float = 0.25
    float_if_free: bool = True
    rate: float = 3e-3
    bias_rate: float = 1.0
    range_rate: float = 0.1
    weight_decay: float = 0.0
    optimizer: Literal["adamw", "adam", "sgd"] = "adam"
    average: Literal["none", "ema", "swa"] = "ema"

    def __post_init__(self) -> None:
        """Refuse options that no training can follow, or that contradict each other."""
        TrainOptions.__post_init__(self)
        wrong = [f"{name} = {getattr(self, name)!r}: 0 or more" for name in ("bias_rate", "range_rate") if not getattr(self, name) >= 0.0]
        if wrong:
            raise ValueError("; ".join(wrong))
        self._quantize()

    @property
    def needs(self) -> frozenset[Need]:
        """Samples, a scheme, and the model before compression, which is learned from."""
        return frozenset({Need.SAMPLES, Need.SCHEME, Need.TEACHER})

    def lacking(self, scheme: Scheme) -> str:
        """What these options ask for and a scheme has no form for; "" if it has all."""
        return self._quantize().lacking(scheme).replace("--set quantize.", "--set qat.")

    def misfit(self, model: Model) -> str:
        """What of the options fits nothing in a graph; "" if all does."""
        return "; ".join(filter(None, (self._quantize().misfit(model), TrainOptions.misfit(self, model))))

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the quantized and trained model into ``out``. A graph that came quantized is left as it is.

        Raises:
            MissingExtraError: torch is not installed.
            SamplesError: samples are missing or do not fit the model.
            SourceError: the model cannot be run.
            TrainingError: the loss is no number any more.
            UnsupportedError: nodes of the graph cannot be trained through.
            UsageError: the target has no scheme, or none that has what the options ask for.
        """
        from edgekit.graph import onnx_file
        from edgekit.passes.already import left_as_it_is

        proto = onnx_file.infer_shapes(onnx_file.load(model.path))
        did = left_as_it_is(proto)
        if did is None:
            did = self._trained(model, proto, supplies)
        onnx_file.save(onnx_file.infer_shapes(proto), out)
        return seal_model(out, model.signature, (*model.history, Step(name="qat", options=asdict(self), tools=self.tools(), did=did)))

    def foresee(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """As :meth:`Quantize.foresee <edgekit.passes.quantize.Quantize.foresee>`: training changes numbers alone."""
        return self._quantize().foresee(model, supplies, out)

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        from edgekit.plugins import version_of

        return {**self._quantize().tools(), **version_of("torch", *(("kornia",) if self.augments else ()))}

    def _quantize(self) -> Quantize:
        return Quantize(mode="static", **{name: getattr(self, name) for name in _OF_QUANTIZE})

    def _trained(self, model: Model, proto: onnx.ModelProto, supplies: Supplies) -> dict[str, Any]:
        """Quantize ``proto`` in place, and train it."""
        from edgekit.passes.quantize.apply import apply

        _check(proto)
        found = self._quantize().find(model, proto, supplies)
        with extra("torch"):
            from edgekit.passes.learn.qat.training import learned
        found, fitted = learned(model, proto, found, supplies, self)
        did = {**found.did(), **fitted.record()}
        apply(proto, found.decision)
        return did


def _check(proto: onnx.ModelProto) -> None:
    """Refuse what can be refused before anything calibrates."""
    from edgekit.graph.trainable import trainable

    try:
        trainable(proto)
    except UnsupportedError as error:
        raise UnsupportedError("qat: no gradient goes through these nodes:", hint="--recipe static_wi8_ai8", refusals=error.refusals) from error

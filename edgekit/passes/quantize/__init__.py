"""Quantize: float32 to int8 with calibrated or dynamic ranges, to integer weights of 8 to 2 bits, or to float16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import UsageError
from edgekit.model import Model, Step, seal_model
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.quantize.options import contradiction, followed, lacking
from edgekit.plugins import version_of
from edgekit.target import Scheme

if TYPE_CHECKING:
    from edgekit.passes.quantize.diagnosis import Diagnosis
    from edgekit.passes.quantize.static import Found, Static


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize:
    """Store weights and activations as integers, or as float16; the target's scheme says how.

    A graph that came quantized is left as it is, and the step's record says so.

    Attributes:
        mode: ``static`` integers with ranges from samples; ``dynamic`` int8 with ranges as they come at run time;
            ``weight_only``: integer weights, float arithmetic; ``float16``, where a whole graph computes so without the nodes
            that samples, if there are some, show to overflow; ``bfloat16``.
        weight_bits: 4 of ``weight_only`` and ``static``, where operators that the runtime does not compute so keep 8; 2 of
            ``weight_only``.
        max_weight_bytes: of ``static`` with ``weight_bits`` 4: no more nodes' weights have 4 bits than it takes for all
            integer weights to have so many bytes, those that cost the outputs least for what they save; the others' have 8.
        activation_bits: 16 of ``static``, with weights of 8.
        observer: how ranges of activations are chosen: all that was seen (``minmax``), each sample's extremes on average
            (``moving_average``), a ``percentile`` of the values, least divergence (``entropy``) or least squared error (``mse``).
        percentile: of the values that the range holds, if that is the observer.
        rounding: weights to the ``nearest`` integers; ``compensated``: so that each node's outputs change least on the samples;
            ``learned``: from there on, which way each goes is learned block by block, minutes for what the others do in
            seconds, with the extra torch.
        correct_bias: take the average error that rounded weights make out of the biases.
        keep_float: of ``static`` and ``weight_only``: nodes that stay float32: names, patterns such as ``/head/*``, or operators.
        min_sqnr_db: least fidelity to the float graph on the samples; where int8 alone does not reach it, the nodes that
            cost least for what they give stay float32 until it is reached. None keeps none.
        min_agreement: least share of the samples that calibrate whose top-1 class is that of the float graph, 0 to 1.
        max_accuracy_drop: most that their top-1 accuracy may fall below that of the float graph, 0 to 1; needs labels. For
            these two nodes stay float32 as for ``min_sqnr_db``; all that are given hold.
        max_float_share: most of the multiply-adds that may stay float32 for that, 0 to 1.
        float_if_free: nodes that the runtime computes no faster in integers, by its scheme, stay float32 where the outputs
            gain by it.
        block: of ``weight_only``: inputs that share a scale; 0 if all of a channel do.
        symmetric: of ``weight_only``: without zero points.
    """

    mode: Literal["static", "float16", "bfloat16", "dynamic", "weight_only"] = "static"
    weight_bits: Literal[8, 4, 2] = 8
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
    block: Literal[0, 16, 32, 64, 128, 256] = 0
    symmetric: bool = True

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        if fault := contradiction(self):
            raise ValueError(fault)

    @property
    def needs(self) -> frozenset[Need]:
        """Samples and a scheme; only static int8 needs samples."""
        return frozenset({Need.SAMPLES, Need.SCHEME}) if self.mode == "static" else frozenset({Need.SCHEME})

    @property
    def uses(self) -> frozenset[Need]:
        """What it goes by where it is there: float16 sees on samples what would overflow."""
        return frozenset({Need.SAMPLES}) if self.mode == "float16" else frozenset()

    def lacking(self, scheme: Scheme) -> str:
        """What these options ask for and a scheme has no form for; "" if it has all."""
        return lacking(self, scheme)

    def misfit(self, model: Model) -> str:
        """What ``keep_float`` names and a graph has not; "" if it has all."""
        from edgekit.passes.named import unnamed

        return unnamed(model, self.keep_float, "keep_float")

    def __call__(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write the quantized model into ``out``.

        Raises:
            SamplesError: samples are missing or do not fit the model.
            SourceError: the model cannot be run.
            UsageError: the target has no scheme, or none that has what the options ask for.
        """
        return self._written(model, supplies, out, self._static)

    def foresee(self, model: Model, supplies: Supplies, out: Path) -> Model:
        """Write into ``out`` what the quantized model would be, with made-up scales where samples would decide them, and none
        of the nodes in float that a budget would keep so.

        Raises:
            SourceError: the model cannot be read.
            UsageError: the target has no scheme, or none that has what the options ask for.
        """
        return self._written(model, supplies, out, self._static_foreseen)

    def _written(self, model: Model, supplies: Supplies, out: Path, static: Callable[[Model, Any, Supplies], dict[str, Any]]) -> Model:
        scheme = self._scheme(supplies)
        from edgekit.graph import onnx_file
        from edgekit.passes.already import left_as_it_is

        proto = onnx_file.infer_shapes(onnx_file.load(model.path))
        left = left_as_it_is(proto)
        if left is not None:
            did = left
        elif self.mode == "float16":
            did = self._float16(model, proto, scheme, supplies)
        elif self.mode == "bfloat16":
            from edgekit.passes.quantize.float16 import to_bfloat16

            did = to_bfloat16(proto)
        elif self.mode == "dynamic":
            from edgekit.passes.quantize.dynamic import quantize_dynamic

            proto, did = quantize_dynamic(proto, scheme)
        elif self.mode == "weight_only":
            from edgekit.passes.quantize.weight_only import quantize_weights_alone

            bits, block, keep = self.weight_bits, self.block, self.keep_float
            proto, did = quantize_weights_alone(proto, scheme, bits=bits, block=block, symmetric=self.symmetric, keep_float=keep)
        else:
            did = static(model, proto, supplies)
        onnx_file.save(onnx_file.infer_shapes(proto), out)
        step = Step(name="quantize", options=asdict(self), tools=self.tools(), did=did)
        return seal_model(out, model.signature, (*model.history, step))

    def _float16(self, model: Model, proto: Any, scheme: Scheme, supplies: Supplies) -> dict[str, Any]:
        from edgekit.graph.view import View
        from edgekit.passes.quantize.float16 import to_float16
        from edgekit.passes.quantize.magnitudes import largest_seen

        samples, largest = supplies.samples, {}
        if samples is not None and scheme.float16 == "graph":
            feeds = samples.feeds("calibrating", model.signature)
            largest = largest_seen(model.path, View(proto), feeds, supplies.watcher)
        did = to_float16(proto, scheme.float16, largest)
        return {**did, "samples": len(samples.calibrating)} if largest and samples is not None else did

    def find(self, model: Model, proto: Any, supplies: Supplies) -> Found:
        """All numbers of a static quantization, written nowhere yet.

        Args:
            model: to quantize.
            proto: its graph, shapes inferred; it is left alone.
            supplies: as of a call.
        """
        from edgekit.passes.quantize.static import find_static

        return find_static(model, proto, self._followed(supplies), self._how())

    def _static(self, model: Model, proto: Any, supplies: Supplies) -> dict[str, Any]:
        from edgekit.graph import onnx_file
        from edgekit.graph.view import View
        from edgekit.passes.quantize.float16 import rest_to_float16
        from edgekit.passes.quantize.magnitudes import largest_seen
        from edgekit.passes.quantize.static import quantize_static

        did, samples = quantize_static(model, proto, self._followed(supplies), self._how()), supplies.samples
        if supplies.scheme is None or supplies.scheme.float_rest == "float32" or samples is None:
            return did
        float_view = View(onnx_file.load(model.path))
        largest = largest_seen(model.path, float_view, samples.feeds("calibrating", model.signature), supplies.watcher)
        proto.CopyFrom(onnx_file.infer_shapes(proto))
        return {**did, "float_rest": rest_to_float16(proto, largest)}

    def _static_foreseen(self, model: Model, proto: Any, supplies: Supplies) -> dict[str, Any]:
        from edgekit.passes.quantize.foresee import foresee_static

        return foresee_static(proto, followed(self, self._scheme(supplies)), self._how())

    def _scheme(self, supplies: Supplies) -> Scheme:
        """The target's scheme, which has all that the options ask for.

        Raises:
            UsageError: there is none, or not such.
        """
        if supplies.scheme is None:
            raise UsageError("quantize: this target's runtime has no quantization scheme", hint="choose a target or runtime that has one")
        if lack := lacking(self, supplies.scheme):
            raise UsageError(f"quantize: {lack.rpartition(': ')[0]}", hint=lack.rpartition(": ")[2])
        return supplies.scheme

    def _followed(self, supplies: Supplies) -> Supplies:
        """Supplies with what of the target's scheme a static quantization follows."""
        return replace(supplies, scheme=followed(self, self._scheme(supplies)))

    def diagnose(self, model: Model, supplies: Supplies) -> Diagnosis:
        """What a static quantization of a model costs, part by part; nothing is written.

        Raises:
            SamplesError: samples are missing or do not fit the model.
            SourceError: the model cannot be run.
            UsageError: the target has no scheme, or the mode is not ``static``.
        """
        from edgekit.graph import onnx_file
        from edgekit.passes.quantize.static import diagnosed

        if self.mode != "static":
            raise UsageError(f"quantize: mode {self.mode} stores no activations as integers", hint="--recipe static_wi8_ai8")
        return diagnosed(model, onnx_file.infer_shapes(onnx_file.load(model.path)), self._followed(supplies), self._how())

    def sqnr_db(self, model: Model, supplies: Supplies) -> float | None:
        """SQNR of a static quantization's outputs on some of the samples, decibels, no node kept in float for a budget.

        Returns:
            None where nothing changes.
        """
        from edgekit.graph import onnx_file
        from edgekit.passes.quantize.static import sqnr_db

        return sqnr_db(model, onnx_file.infer_shapes(onnx_file.load(model.path)), self._followed(supplies), self._how())

    def _how(self) -> Static:
        from edgekit.passes.quantize.mixed import Aim
        from edgekit.passes.quantize.static import Static

        return Static(
            observer=self.observer,
            percentile=self.percentile,
            rounding=self.rounding,
            correct_bias=self.correct_bias,
            keep_float=self.keep_float,
            aim=Aim(self.min_sqnr_db, self.min_agreement, self.max_accuracy_drop),
            max_float_share=self.max_float_share,
            float_if_free=self.float_if_free,
            max_weight_bytes=self.max_weight_bytes,
        )

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the result."""
        return version_of("edgekit", "numpy", "onnx", "onnxruntime", *(["torch"] if self.rounding == "learned" else []))

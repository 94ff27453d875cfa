"""The numbers of a quantization, learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from edgekit.errors import SamplesError
from edgekit.graph.quantized import FIXED_POINT_SUMS
from edgekit.graph.structure import KEY, structures
from edgekit.model import Model
from edgekit.passes.contract import Supplies
from edgekit.passes.learn import Fitted, fit, material_of, require, taught_by
from edgekit.passes.learn.qat.simulated import FakeQuantization, Rates, Start
from edgekit.passes.quantize.apply import apply
from edgekit.passes.quantize.static import Found
from edgekit.target import Scheme

if TYPE_CHECKING:
    from edgekit.passes.learn.qat import Qat


def learned(model: Model, proto: onnx.ModelProto, found: Found, supplies: Supplies, how: Qat) -> tuple[Found, Fitted]:
    """A quantization with learned numbers in the place of calibrated ones, and how that went.

    Args:
        model: before quantization.
        proto: its graph, shapes inferred; it is left alone.
        found: its quantization without training.
        supplies: samples, and the teacher; without one it is ``model``.
        how: the options.
    """
    if supplies.samples is None:
        raise SamplesError("qat: needs samples", hint="--samples DIR, or --recipe fp16")
    require(how)
    student, technique = simulated(proto, found, supplies.scheme, Rates(biases=how.bias_rate, ranges=how.range_rate))
    material = material_of(supplies.samples, model.signature, taught_by([supplies.teacher or model], how, supplies.samples))
    fitted = fit(student, material, how, techniques=[technique], watcher=supplies.watcher, checkpoints=supplies.unfinished, what="qat")
    return found.with_numbers(technique.decision()), fitted


def simulated(proto: onnx.ModelProto, found: Found, scheme: Scheme | None, rates: Rates) -> tuple[onnx.ModelProto, FakeQuantization]:
    """A graph that computes as the engine of its quantization does, and what makes its numbers learnable.

    Args:
        proto: as quantization found it; it is left alone.
        found: its quantization.
        scheme: of the target.
        rates: of what is learned.
    """
    student = onnx.ModelProto()
    student.CopyFrom(proto)
    start = Start(found.looked_at.view, found.decision, apply(student, found.decision), structures(proto))
    kept = [entry for entry in student.metadata_props if entry.key != KEY]  # what is float is not trained
    del student.metadata_props[:]
    student.metadata_props.extend(kept)
    if scheme is not None and scheme.fixed_point_sums:
        student.metadata_props.add(key=FIXED_POINT_SUMS, value="true")
    return student, FakeQuantization(start, rates)

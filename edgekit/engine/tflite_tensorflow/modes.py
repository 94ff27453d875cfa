"""A recipe's steps as TensorFlow's converter can follow them, or why it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from edgekit.model import Step

Mode = Literal["float32", "float16", "dynamic int8", "int8", "int16"]

NEEDS_SAMPLES = frozenset({"int8", "int16"})
_HINT = "leave it out, or build for tflite"
_PREPARES = frozenset({"equalize"})
"""Steps that ready a graph for edgekit's quantizer and leave what it computes as it was."""
_OWN = ("observer", "rounding", "correct_bias", "min_sqnr_db")
"""Fields of ``quantize`` for which the converter has its own way, or none."""
_BINDING = ("keep_float", "max_weight_bytes", "min_agreement", "max_accuracy_drop")
"""Fields that whoever sets them wants to hold."""


def mode_of(steps: Sequence[Step]) -> Mode:
    """What the converter is asked for; only for steps of which :func:`lacking` says nothing."""
    for step in steps:
        if step.name == "quantize":
            mode = _mode(step.options)
            assert mode is not None, "lacking"
            return mode
    return "float32"


def lacking(steps: Sequence[Step]) -> str:
    """What of a recipe the converter has no form for, in one line with what can be done; "" if it can follow all of it."""
    for step in steps:
        if step.name == "quantize":
            fault = _lacking(step.options)
        else:
            fault = "" if step.name in _PREPARES else f"TensorFlow converts the source as it is, without {step.name}: {_HINT}"
        if fault:
            return fault
    return ""


def left_out(steps: Sequence[Step]) -> tuple[str, ...]:
    """Names of what the recipe asks for that is edgekit's own and the converter has its own way of."""
    found = [step.name for step in steps if step.name in _PREPARES]
    for step in steps:
        if step.name == "quantize" and _mode(step.options) in NEEDS_SAMPLES:
            found += [
                f"{step.name}.{field}" for field in ("observer", "rounding", "correct_bias", "min_sqnr_db") if step.options.get(field) is not None
            ]
    return tuple(found)


def _mode(options: Mapping[str, Any]) -> Mode | None:
    known: dict[tuple[Any, ...], Mode] = {("static", 8, 8): "int8", ("static", 8, 16): "int16", ("dynamic", 8, 8): "dynamic int8"}
    if options["mode"] == "float16":
        return "float16"
    return known.get((options["mode"], options["weight_bits"], options["activation_bits"]))


def _lacking(options: Mapping[str, Any]) -> str:
    if _mode(options) is None:
        bits = f", weights of {options['weight_bits']} bits" if options["weight_bits"] != 8 else ""
        return f"TensorFlow's converter has no form for mode {options['mode']}{bits}: choose another recipe, or build for tflite"
    asked = [name for name in _BINDING if options.get(name) not in (None, ())]
    if asked:
        return f"TensorFlow's converter cannot be asked for quantize.{asked[0]}: {_HINT}"
    return ""

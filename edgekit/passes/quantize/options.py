"""Which options of the pass go together, and which of them a runtime's scheme has a form for; asked before anything runs."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from edgekit.target import Scheme

if TYPE_CHECKING:
    from edgekit.passes.quantize import Quantize


_OF_STATIC = {
    "activation_bits": 8,
    "min_sqnr_db": None,
    "min_agreement": None,
    "max_accuracy_drop": None,
    "max_weight_bytes": None,
}
"""What only static quantization heeds, and the value that asks for nothing."""


def contradiction(given: Quantize) -> str:
    """What of the options contradicts the rest, in one line; "" if they go together."""
    of_static = [f"{name} = {getattr(given, name)}" for name, nothing in _OF_STATIC.items() if getattr(given, name) != nothing]
    if given.rounding == "learned":
        of_static.append("rounding = learned")
    if given.mode not in ("static", "weight_only") and given.keep_float:
        of_static.insert(0, f"keep_float = {given.keep_float}")
    if given.mode != "static" and of_static:
        return f"{', '.join(of_static)}: of mode static alone, mode is {given.mode}"
    if given.mode == "weight_only":
        return ""
    elsewhere = {
        f"weight_bits = {given.weight_bits}": given.weight_bits not in ((8, 4) if given.mode == "static" else (8,)),
        f"block = {given.block}": given.block != 0,
        "symmetric = false": not given.symmetric,
    }
    wrong = [option for option, is_set in elsewhere.items() if is_set]
    if wrong:
        return f"{', '.join(wrong)}: of mode weight_only alone, mode is {given.mode}"
    if given.weight_bits == 4 and given.activation_bits == 16:
        return "weight_bits = 4, activation_bits = 16: no runtime computes both together"
    if given.weight_bits != 4 and given.max_weight_bytes is not None:
        return f"max_weight_bytes = {given.max_weight_bytes}: of weight_bits = 4 alone, which then is for no more nodes than it takes"
    return ""


def lacking(given: Quantize, scheme: Scheme) -> str:
    """What the options ask for and a scheme has no form for, or no package is there for, in one line with what can be done; "" if all is there."""
    if given.rounding == "learned" and importlib.util.find_spec("torch") is None:
        return "rounding = learned needs the package torch, which is not installed: pip install 'edgekit[torch]'"
    if given.mode == "dynamic":
        nothing = "this runtime computes no product of integer weights and float activations: choose another runtime or recipe"
        return "" if scheme.dynamic_ops else nothing
    if given.mode == "static":
        return _lacking_static(given, scheme)
    if given.mode == "bfloat16":
        nothing = scheme.lacks.get("bfloat16", "this runtime computes nothing in bfloat16")
        return "" if scheme.bfloat16 else f"{nothing}: --recipe fp16"
    if given.mode != "weight_only":
        return ""
    bits = given.weight_bits
    faults = {
        "this runtime reads no integer weights for float activations: choose another runtime or recipe": not scheme.weight_only_ops,
        f"this runtime reads no weights of {bits} bits: --set quantize.weight_bits=8": bits < 8 and not scheme.low_bit_ops,
        "this runtime reads one scale for each channel, not for each block of it: --set quantize.block=0": given.block and not scheme.blocked_ops,
    }
    return next((fault for fault, is_so in faults.items() if is_so), "")


def _lacking_static(given: Quantize, scheme: Scheme) -> str:
    if given.activation_bits == 16 and scheme.int16_activations is None:
        nothing = scheme.lacks.get("int16_activations", "this runtime computes nothing with activations of 16 bits")
        return f"{nothing}: --recipe static_wi8_ai8 --set quantize.min_sqnr_db=25"
    if given.weight_bits == 4 and not scheme.low_bit_static_ops:
        nothing = scheme.lacks.get("low_bit_static_ops", "this runtime multiplies no integers by weights of 4 bits")
        alone = "--recipe weight_only_wi4_afp32, or " if scheme.low_bit_ops else ""
        return f"{nothing}: {alone}--set quantize.weight_bits=8"
    return ""


def followed(given: Quantize, scheme: Scheme) -> Scheme:
    """What of a scheme a static quantization with these options follows; the scheme must lack nothing of it."""
    if given.activation_bits == 16:
        assert scheme.int16_activations is not None, "lacking"
        return scheme.int16_activations
    return scheme if given.weight_bits == 4 else scheme.in_eight_bits

"""Which options of the pass go together, and which of them a runtime's scheme has a form for; asked before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.target import Scheme

if TYPE_CHECKING:
    from edgekit.passes.quantize import Quantize


def contradiction(given: Quantize) -> str:
    """What of the options contradicts the rest, in one line; "" if they go together."""
    if given.mode == "weight_only":
        return ""
    elsewhere = {
        f"weight_bits = {given.weight_bits}": given.weight_bits != 8,
        f"block = {given.block}": given.block != 0,
        "symmetric = false": not given.symmetric,
    }
    wrong = [option for option, is_set in elsewhere.items() if is_set]
    return f"{', '.join(wrong)}: of mode weight_only alone, mode is {given.mode}" if wrong else ""


def lacking(given: Quantize, scheme: Scheme) -> str:
    """What the options ask for and a scheme has no form for, in one line with what can be done; "" if it has all."""
    if given.mode == "dynamic":
        nothing = "this runtime computes no product of integer weights and float activations: choose another runtime or recipe"
        return "" if scheme.dynamic_ops else nothing
    if given.mode != "weight_only":
        return ""
    bits = given.weight_bits
    faults = {
        "this runtime reads no integer weights for float activations: choose another runtime or recipe": not scheme.weight_only_ops,
        f"this runtime reads no weights of {bits} bits: --set quantize.weight_bits=8": bits < 8 and not scheme.low_bit_ops,
        "this runtime reads one scale for each channel, not for each block of it: --set quantize.block=0": given.block and not scheme.blocked_ops,
    }
    return next((fault for fault, is_so in faults.items() if is_so), "")

"""Which options of the pass go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.passes.compress.prune import Prune

CUTTING = ("structured", "soft")
"""Kinds after which there are fewer channels."""


def contradiction(given: Prune) -> str:
    """What of the options contradicts the rest, in one line; "" if they go together."""
    faults = {
        f"ratio = {given.ratio}: more than 0 and less than 1": not 0.0 < given.ratio < 1.0,
        f"steps = {given.steps}: at least 1": given.steps < 1,
        f"epochs = {given.epochs}: at least 1": given.epochs < 1,
        f"multiple_of = {given.multiple_of}: 0 or more": given.multiple_of < 0,
        f"samples = {given.samples}: at least 1": given.samples < 1,
        "kind = 2:4: half of all weights go, ratio has no say": given.kind == "2:4" and given.ratio != 0.5,
        f"of = {given.of}: of kind structured and soft; zeros where they are save parameters alone": given.kind not in CUTTING
        and given.of not in ("macs", "parameters"),
        "kind = soft: learns by itself, steps = 1": given.kind == "soft" and given.steps != 1,
        f"importance = {given.importance}: of kind structured": given.kind != "structured" and given.importance in ("taylor", "error"),
        "importance = activation: not of kind soft, which goes by magnitude": given.kind == "soft" and given.importance == "activation",
        "scope = sensitivity: not of kind soft and 2:4": given.scope == "sensitivity" and given.kind in ("soft", "2:4"),
    }
    return next((fault for fault, is_so in faults.items() if is_so), "")

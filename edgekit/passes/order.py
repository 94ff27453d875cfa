"""Which steps follow one another, and in which order: what an earlier one gives a model, a later one must not take away, and
what it has done already, a later one has no hand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

_INTEGERS = "what is stored as integers is not changed any more"
_SHARED = "layers whose weights share values are not taken apart"
_ZEROS = "zeros that come later would be values more"
_FACTORS = "factors by channel would take shared values apart"
_CHANNELS = "channels that go need not be taken apart first"

AFTER = {
    ("prune", "factorize"): _CHANNELS,
    **dict.fromkeys(product(("prune",), ("cluster", "binarize")), _ZEROS),
    **dict.fromkeys(product(("factorize",), ("cluster", "binarize")), _SHARED),
    **dict.fromkeys(product(("equalize",), ("cluster", "binarize")), _FACTORS),
    **dict.fromkeys(product(("prune", "factorize", "equalize", "cluster", "binarize", "finetune"), ("quantize", "qat")), _INTEGERS),
}
"""Pairs of steps, the one that comes first first, and why."""


def out_of_order(steps: Sequence[str]) -> list[str]:
    """A line for each step that comes too late, by names of steps in their order."""
    return [
        f"step {late + 1} ({steps[late]}): belongs before step {early + 1} ({steps[early]}): {AFTER[steps[late], steps[early]]}"
        for late in range(len(steps))
        for early in range(late)
        if (steps[late], steps[early]) in AFTER
    ]


Steps = Sequence[tuple[str, Mapping[str, Any]]]
"""Names of steps in their order, each with the options it was given."""

_QUANTIZING = frozenset({"quantize", "qat"})
_SHARING = frozenset({"cluster", "binarize"})


def in_vain(steps: Steps) -> list[str]:
    """A line for each step that an earlier one leaves nothing to do: it would run, change nothing, and say so at the end."""
    lines = []
    for later, (name, given) in enumerate(steps):
        for earlier, (before, told) in enumerate(steps[:later]):
            why = _why_in_vain(before, told, name, given, were_pruned=any(other == "prune" for other, _ in steps[:earlier]))
            if why:
                lines.append(f"step {later + 1} ({name}): has nothing to do behind step {earlier + 1} ({before}): {why}")
                break
    return lines


def _why_in_vain(before: str, told: Mapping[str, Any], name: str, given: Mapping[str, Any], *, were_pruned: bool) -> str:
    """Why one step has nothing to do behind another, and what helps; "" if it may have."""
    if {before, name} <= _QUANTIZING:
        return "a graph is quantized once; leave one of them out (qat quantizes by itself, and trains)"
    if not {before, name} <= _SHARING or told.get("keep"):
        return ""
    # Zeros cannot become one of two values, nor grouped convolutions read signs: both are left to whoever comes next.
    if before == "binarize" and (told.get("activations") or (told.get("kind") == "binary" and were_pruned)):
        return ""
    if before == "binarize" and told.get("keep_ends", True):
        if name == "cluster" or not given.get("keep_ends", True):
            return ""
        return "it left the first and the last product, and this one leaves them, too; keep_ends = false takes them, or leave one of them out"
    return f'all weights have few values by then; keep = ["NODE"] of {before} leaves some to this one, or leave one of them out'

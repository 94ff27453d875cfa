"""The order in which steps follow one another: what an earlier one gives a model, a later one must not take away."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

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

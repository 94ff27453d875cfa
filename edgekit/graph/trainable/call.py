"""One node as the functions of this room see it, and its place among others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Torch = Any
"""A torch tensor, or None for an input that was left out; torch is not typed here."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a node asks for, besides its inputs.

    Attributes:
        op: its operator.
        name: its name.
        attributes: as plain values, text as str.
        types: ONNX's element type of each input that is a constant, 0 of others.
        outputs: how many are wanted.
        is_straight: of a step function: whether gradients pass as though it were none.
    """

    op: str
    name: str
    attributes: dict[str, Any]
    types: tuple[int, ...]
    outputs: int
    is_straight: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute; ``default`` if it is not set."""
        return self.attributes.get(name, default)

    def axes(self, given: Torch) -> list[int] | None:
        """Axes from an input, or from the attribute of older opsets; None if there are neither."""
        if given is not None:
            return numbers(given)
        written: list[int] | None = self.get("axes")
        return written


@dataclass(frozen=True, slots=True)
class Line:
    """A node that is computed: its call, the tensors it reads and makes, and those that nobody reads after it."""

    call: Call
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    drops: tuple[str, ...] = ()

    def read(self, place: int) -> str:
        """The tensor it reads at that place; "" if it is left out."""
        return self.reads[place] if place < len(self.reads) else ""


def numbers(tensor: Torch) -> list[int]:
    """A tensor of sizes or axes as plain integers."""
    return [int(one) for one in tensor.reshape(-1).tolist()]

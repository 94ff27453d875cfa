"""At which levels a technique is tried on one layer, and what of its pass's options makes it so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.strict import nearest

if TYPE_CHECKING:
    from edgekit.report.sensitivity import Technique

FLOAT_BITS = 32

TECHNIQUES: tuple[Technique, ...] = ("prune", "cluster", "factorize", "binarize", "quantize")

DEFAULT: Mapping[Technique, tuple[str, ...]] = {
    "prune": ("25", "50", "75"),
    "cluster": ("4", "3", "2"),
    "factorize": ("25", "50", "75"),
    "binarize": ("ternary",),
    "quantize": ("8", "4"),
}
"""What is tried if nobody says what."""

_ALLOWED: Mapping[Technique, tuple[str, ...]] = {
    "prune": tuple(map(str, range(1, 100))),
    "cluster": tuple(map(str, range(2, 9))),
    "factorize": tuple(map(str, range(1, 100))),
    "binarize": ("binary", "ternary"),
    "quantize": ("8", "4", "2"),
}
_IN_WORDS: Mapping[Technique, str] = {
    "prune": "percent that go, 1 to 99",
    "cluster": "bits, 2 to 8",
    "factorize": "percent of the parameters that go, 1 to 99",
    "binarize": "ternary or binary",
    "quantize": "bits, 8, 4 or 2",
}

OWN: Mapping[Technique, frozenset[str]] = {
    "prune": frozenset({"ratio", "of", "scope", "keep", "multiple_of", "steps"}),
    "cluster": frozenset({"bits", "keep"}),
    "factorize": frozenset({"ratio", "of", "max_loss", "keep"}),
    "binarize": frozenset({"kind", "keep", "keep_ends"}),
    "quantize": frozenset(
        {
            "mode",
            "weight_bits",
            "activation_bits",
            "keep_float",
            "float_if_free",
            "max_weight_bytes",
            "min_sqnr_db",
            "min_agreement",
            "max_accuracy_drop",
        }
    ),
}
"""Options that the levels set, or the choice of one layer."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a technique.

    Attributes:
        technique: the step.
        value: as it is typed.
    """

    technique: Technique
    value: str

    @property
    def words(self) -> str:
        """As a table has it."""
        gone = f"{self.value} % gone"
        return {"prune": gone, "factorize": gone, "binarize": self.value}.get(self.technique, f"{self.value} bits")

    @property
    def left(self) -> float:
        """Share of the bits of float32 weights that is left by its definition; scales, codebooks and indices not counted."""
        if self.technique in ("prune", "factorize"):
            return 1.0 - int(self.value) / 100
        bits = {"ternary": math.log2(3), "binary": 1.0}.get(self.value)
        return (int(self.value) if bits is None else bits) / FLOAT_BITS


def levels(techniques: Sequence[str], asked: Iterable[str]) -> dict[Technique, tuple[Level, ...]]:
    """The levels of each technique, the mildest first.

    Args:
        techniques: steps to try; all if empty.
        asked: ``prune=10,30`` and the like, in the place of :data:`DEFAULT`.

    Raises:
        UsageError: a technique is none, or a level none of its.
    """
    wanted: tuple[Technique, ...] = tuple(map(_technique, techniques)) or TECHNIQUES
    values = {name: DEFAULT[name] for name in dict.fromkeys(wanted)}
    for text in asked:
        name, equals, listed = text.partition("=")
        technique = _technique(name.strip())
        if not equals or technique not in values:
            raise UsageError(f"--levels {text}: {technique} is not tried", hint=f"--technique {technique}") if equals else _malformed(text)
        values[technique] = _values(technique, text, listed)
    return {name: tuple(sorted((Level(name, each) for each in found), key=lambda one: -one.left)) for name, found in values.items()}


def _technique(name: str) -> Technique:
    for one in TECHNIQUES:
        if one == name:
            return one
    raise UsageError(f"{name}: no such technique{nearest(name, TECHNIQUES)}", hint=f"one of {', '.join(TECHNIQUES)}")


def _malformed(text: str) -> UsageError:
    return UsageError(f"--levels {text}: not of the form TECHNIQUE=LEVEL,LEVEL", hint="for example --levels cluster=4,2")


def _values(technique: Technique, text: str, listed: str) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(each.strip() for each in listed.split(",")))
    wrong = [each for each in values if each not in _ALLOWED[technique]]
    if wrong:
        raise UsageError(f"--levels {text}: {wrong[0] or 'nothing'} is no level of {technique}", hint=f"its levels are {_IN_WORDS[technique]}")
    return values


def own_options(technique: Technique, given: Mapping[str, Any]) -> None:
    """Refuse options that are set level by level.

    Raises:
        UsageError: one of them is given.
    """
    for field in given:
        if field in OWN[technique]:
            raise UsageError(
                f"--set {technique}.{field}: set level by level, layer by layer",
                hint=f"--levels {technique}={','.join(DEFAULT[technique])}, or leave it out",
            )

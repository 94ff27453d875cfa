"""What each layer costs the outputs when it alone is compressed, and its rows and sentences, the same on a terminal and on a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from edgekit.report.words import NONE, percent, sqnr

Technique = Literal["prune", "cluster", "factorize", "binarize", "quantize"]

SENSITIVITY_TEXT_COLUMNS = frozenset({"Layer", "Operator"})


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer at one level of a technique.

    Attributes:
        level: in words, such as ``4 bits``.
        left: share of the bits of the layer's float32 weights that such a level leaves, by its definition, 0 to 1.
        sqnr_db: of all outputs against the untouched model's, decibels; None where nothing differs, or nothing was measured.
        agreement: share of samples whose top-1 class is the untouched model's; None where the first output holds no classes.
        top1: share of labelled samples that are right; None without labels.
        reason: why nothing was measured; "" if something was.
    """

    level: str
    left: float
    sqnr_db: float | None = None
    agreement: float | None = None
    top1: float | None = None
    reason: str = ""

    @property
    def damage(self) -> float:
        """What it costs, as an order: the less SQNR, the more."""
        return -math.inf if self.reason or self.sqnr_db is None else -self.sqnr_db


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer by one technique, the mildest level first.

    Attributes:
        layer: name of the node; where channels go, of the first node that makes them.
        op: its ONNX operator.
        parameters: numbers in its weights.
        technique: the step that compressed it.
        points: its levels.
        with_layers: other nodes whose channels go with its own.
    """

    layer: str
    op: str
    parameters: int
    technique: Technique
    points: tuple[Point, ...]
    with_layers: tuple[str, ...] = ()

    @property
    def worst(self) -> Point:
        """The level that costs most."""
        return max(self.points, key=lambda point: point.damage)


class Sensitivity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``edgekit sensitivity`` found.

    Attributes:
        schema: version of this format.
        source: of the model.
        target: whose numbers a quantization has; "" where none was asked for.
        samples: their name.
        judged: how many of them judged.
        top1: of the untouched model; None without labels.
        curves: those that cost most first.
        remarks: what a reader must know.
    """

    source: str
    target: str
    samples: str
    judged: int
    top1: float | None
    curves: tuple[Curve, ...]
    remarks: tuple[str, ...] = ()
    schema: Literal[1] = 1

    def of(self, technique: Technique) -> tuple[Curve, ...]:
        """The curves of one technique, in order."""
        return tuple(curve for curve in self.curves if curve.technique == technique)

    @property
    def techniques(self) -> tuple[Technique, ...]:
        """What was tried, the costliest first."""
        return tuple(dict.fromkeys(curve.technique for curve in self.curves))


def ordered(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """Curves, those that cost most first."""
    return tuple(sorted(curves, key=lambda curve: -curve.worst.damage))


def costliest(found: Sensitivity) -> str:
    """What hurts most, in a sentence."""
    worst = found.curves[0] if found.curves else None
    if worst is None or worst.worst.damage == -math.inf:
        return "nothing that was tried changes the outputs"
    return f"what hurts most: {worst.technique} {worst.layer}, {worst.worst.level}: {_cell(worst.worst)}"


def columns(curves: Sequence[Curve]) -> tuple[str, ...]:
    """Columns of the table of a technique's curves."""
    return ("Layer", "Operator", "Weights", *(point.level for point in curves[0].points))


def row(curve: Curve) -> tuple[str, ...]:
    """One row of :func:`columns`."""
    others = f" and {len(curve.with_layers)} more" if curve.with_layers else ""
    return (f"{curve.layer}{others}", curve.op, f"{curve.parameters:,}", *map(_cell, curve.points))


def _cell(point: Point) -> str:
    if point.reason:
        return NONE
    figures = [sqnr(point.sqnr_db)]
    if point.top1 is not None:
        figures.append(f"top-1 {percent(point.top1)}")
    elif point.agreement is not None:
        figures.append(f"agrees {percent(point.agreement)}")
    return ", ".join(figures)


def unmeasured(curves: Sequence[Curve]) -> Iterator[str]:
    """A line for each reason why levels have no figure."""
    reasons: dict[str, list[str]] = {}
    for curve in curves:
        for point in curve.points:
            if point.reason:
                reasons.setdefault(point.reason, []).append(f"{curve.layer} {point.level}")
    for reason, where in reasons.items():
        more = f" and {len(where) - 3} more" if len(where) > 3 else ""
        yield f"not measured: {', '.join(where[:3])}{more}: {reason}"

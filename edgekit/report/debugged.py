"""What the doctor of quantization tells of a target, and its rows and sentences, the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from edgekit.passes.quantize.diagnosis import Diagnosis, Repair, TensorDiagnosis, WeightsDiagnosis
from edgekit.report.words import NONE, number, sqnr

CORRECTION_COLUMNS = ("Correction", "SQNR without", "Gain")
TENSOR_COLUMNS = ("Tensor", "Made by", "Shape", "Alone", "Here", "Share", "Seen", "Stored", "Clipped", "Uneven", "Dead")
WEIGHT_COLUMNS = ("Node", "Weights", "Alone", "Share", "Rounding gains", "Dead")
FLOAT_COLUMNS = ("Reason", "Nodes", "Names")
DEBUG_TEXT_COLUMNS = frozenset({"Correction", "Tensor", "Made by", "Shape", "Node", "Weights", "Reason", "Names"})

NAMED = 8
"""So many nodes are named in a sentence."""

_CORRECTIONS = {
    "without equalize": "equalized channels",
    "nodes kept in float": "nodes kept in float",
    "rounding = nearest": "weights rounded on samples (rounding)",
    "correct_bias = false": "corrected biases (correct_bias)",
    "observer = minmax": "ranges of least error (observer)",
    "rounding = nearest, correct_bias = false, observer = minmax": "the last three together",
}


class Debugged(msgspec.Struct, frozen=True):
    """What ``edgekit debug quantization`` tells of one target.

    Attributes:
        source: of the model.
        target: key of the target.
        recipe: its name.
        diagnosis: of the step ``quantize``.
    """

    source: str
    target: str
    recipe: str
    diagnosis: Diagnosis


def headline(diagnosis: Diagnosis) -> str:
    """How near the outputs are, and what the parts add up to."""
    samples = "1 sample" if diagnosis.samples == 1 else f"{diagnosis.samples:,} samples"
    return f"{sqnr(diagnosis.sqnr_db)} at the outputs on {samples}; its parts add up to {sqnr(diagnosis.expected_db)}"


def correction_rows(diagnosis: Diagnosis) -> list[tuple[str, ...]]:
    """What each correction gains: the outputs with it less the outputs without it, no other node in float."""
    integer = diagnosis.corrections.get("nodes kept in float", diagnosis.sqnr_db)
    rows: list[tuple[str, ...]] = []
    for name, without in diagnosis.corrections.items():
        whole = diagnosis.sqnr_db if name == "nodes kept in float" else integer
        gain = NONE if whole is None or without is None else f"{whole - without:+.1f} dB"
        rows.append((_CORRECTIONS.get(name, name), sqnr(without), gain))
    return rows


def tensor_row(one: TensorDiagnosis) -> tuple[str, ...]:
    """One row of :data:`TENSOR_COLUMNS`."""
    others = f" and {one.members - 1} more" if one.members > 1 else ""
    return (
        f"{one.tensor}{others}",
        f"{one.made_by} ({one.op})" if one.made_by else "input",
        "×".join(map(str, one.shape)),
        sqnr(one.alone_db),
        sqnr(one.cumulative_db) if one.made_by else NONE,
        portion(one.share),
        span(one.seen),
        span(one.stored),
        portion(one.clipped),
        f"{number(one.unevenness, 2)}×" if one.unevenness else NONE,
        f"{one.dead_channels:,} of {one.channels:,}" if one.channels else NONE,
    )


def weight_row(one: WeightsDiagnosis) -> tuple[str, ...]:
    """One row of :data:`WEIGHT_COLUMNS`."""
    shape = "×".join(map(str, one.shape))
    gain = f"{one.rounding_gain_db:+.1f} dB" if one.rounding_gain_db else NONE
    return f"{one.node} ({one.op})", shape, sqnr(one.alone_db), portion(one.share), gain, f"{one.dead_channels:,} of {one.channels:,}"


def float_rows(diagnosis: Diagnosis, *, most: int | None = NAMED) -> list[tuple[str, ...]]:
    """Nodes that compute in float by reason, the commonest first.

    Args:
        diagnosis: what is known.
        most: so many are named; None names all.
    """
    reasons: dict[str, list[str]] = {}
    for node, reason in diagnosis.left_float.items():
        reasons.setdefault(reason, []).append(node)
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    return [(reason, f"{len(nodes):,}", named(nodes, most=most)) for reason, nodes in ordered]


def repair_lines(diagnosis: Diagnosis, *, most: int | None = NAMED) -> Iterator[str]:
    """The command that repairs a poor quantization, or that there is none; nothing where it is not poor."""
    if diagnosis.repair is not None:
        yield f"{repair_option(diagnosis.repair)} {repair_effect(diagnosis.repair)}: {named(diagnosis.repair.kept, most=most)}"
    elif diagnosis.is_poor:
        yield NO_REPAIR


NO_REPAIR = (
    "no nodes within quantize.max_float_share bring 3 dB more: allow more, such as --set quantize.max_float_share=0.5 "
    "--set quantize.min_sqnr_db=25, or quantize weights alone: --recipe weight_only_wi8_afp32"
)


def repair_option(repair: Repair) -> str:
    """What to type."""
    return f"--set quantize.min_sqnr_db={repair.min_sqnr_db:g}"


def repair_effect(repair: Repair) -> str:
    """What it does."""
    nodes = "1 node" if len(repair.kept) == 1 else f"{len(repair.kept):,} nodes"
    return f"keeps {nodes} in float, {portion(repair.float_share)} of the multiply-adds, and brings {sqnr(repair.sqnr_db)}"


def named(nodes: Sequence[str], *, most: int | None) -> str:
    """Nodes by name, the first of them."""
    shown = list(nodes) if most is None else list(nodes[:most])
    more = len(nodes) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def portion(share: float) -> str:
    """A share of 0 to 1 as percent, small ones too."""
    percent = share * 100.0
    return f"{number(percent, 2)} %" if percent >= 1e-4 or percent == 0.0 else "< 0.0001 %"


def span(ends: tuple[float, float]) -> str:
    """Two ends of a range."""
    return f"{number(ends[0])} to {number(ends[1])}"

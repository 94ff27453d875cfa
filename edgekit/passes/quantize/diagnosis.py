"""What is known of a quantization: plain data."""

from __future__ import annotations

import msgspec


class TensorDiagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """A group of tensors with one scale.

    Attributes:
        tensor: the one that names the group.
        made_by: the node that makes it, and its operator; empty for an input of the graph.
        shape: of it.
        members: how many tensors share the scale.
        alone_db: SQNR of the outputs with this group alone stored as integers; None where nothing changes.
        cumulative_db: SQNR of the tensor itself with everything before it quantized; None where nothing changes.
        share: of the squared error that all groups and weights make one by one, 0 to 1.
        seen: smallest and largest value seen.
        stored: the ends of the range that is stored.
        clipped: share of the values beyond that range, 0 to 1.
        unevenness: largest channel over the median channel, by size.
        dead_channels: channels that are next to nothing beside the largest.
        channels: how many there are.
        histogram: counts in some bars from the smallest to the largest value seen.
    """

    tensor: str
    made_by: str
    op: str
    shape: tuple[int | str, ...]
    members: int
    alone_db: float | None
    cumulative_db: float | None
    share: float
    seen: tuple[float, float]
    stored: tuple[float, float]
    clipped: float
    unevenness: float
    dead_channels: int
    channels: int
    histogram: tuple[int, ...]


class WeightsDiagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The weights of a node.

    Attributes:
        node: its name.
        op: its operator.
        shape: of its weights.
        alone_db: SQNR of the outputs with these weights and their bias alone rounded; None where nothing changes.
        share: of the squared error that all groups and weights make one by one, 0 to 1.
        rounding_gain_db: what rounding on samples took off the variance that rounding to the nearest adds to its outputs.
        dead_channels: output channels whose weights are next to nothing beside the largest.
        channels: how many there are.
    """

    node: str
    op: str
    shape: tuple[int, ...]
    alone_db: float | None
    share: float
    rounding_gain_db: float
    dead_channels: int
    channels: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something to know.

    Attributes:
        where: tensor or node.
        what: what is the matter, in a sentence.
        remedy: what can be done.
    """

    where: str
    what: str
    remedy: str


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes that are worth their time in float.

    Attributes:
        min_sqnr_db: the budget that keeps them so, as an option of the pass.
        kept: these nodes.
        sqnr_db: of the outputs then, on the same samples.
        float_share: of all multiply-adds, that these nodes do, 0 to 1.
    """

    min_sqnr_db: float
    kept: tuple[str, ...]
    sqnr_db: float
    float_share: float


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a quantization.

    Attributes:
        sqnr_db: of the outputs on the samples, all quantized; None where nothing changes.
        expected_db: the same, added up from the parts: far above it where errors do not add up.
        samples: how many it was measured on.
        calibrated: how many samples decided the ranges.
        tensors: the costliest first.
        weights: the costliest first.
        left_float: nodes that compute in float, with the reason.
        findings: what to know, the gravest first.
        corrections: SQNR of the outputs, all integer, by what is switched off, decibels.
        is_poor: whether the outputs are so far off that a repair was looked for.
        repair: what brings them much nearer for few nodes in float; None where nothing does, or none is needed.
    """

    sqnr_db: float | None
    expected_db: float | None
    samples: int
    calibrated: int
    tensors: tuple[TensorDiagnosis, ...]
    weights: tuple[WeightsDiagnosis, ...]
    left_float: dict[str, str]
    findings: tuple[Finding, ...] = ()
    corrections: dict[str, float | None] = {}
    is_poor: bool = False
    repair: Repair | None = None

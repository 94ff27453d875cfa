"""The doctor: what every rounding of a static quantization costs, where, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgekit.graph.run import Runner
from edgekit.numerics.affine import Affine
from edgekit.numerics.observers import Histogram
from edgekit.passes.quantize.decide import Decision
from edgekit.passes.quantize.observations import Observations
from edgekit.passes.quantize.sensitivity import Sensitivity, Trial, sensitivity, with_numbers
from edgekit.passes.quantize.view import View

if TYPE_CHECKING:
    import onnx

LOOKED_AT = 8
"""Samples on which every part is quantized alone."""

BARS = 64
"""Bars of a histogram as it is shown."""

DEAD = 1e-3
"""A channel whose size is less than this share of the largest has no integer left but zero, nearly."""


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
        histogram: counts in :data:`BARS` bars from the smallest to the largest value seen.
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


def decibels(error: float) -> float | None:
    """A relative squared error as SQNR; None if there is none."""
    return None if error <= 0.0 else round(-10.0 * math.log10(error), 2)


def diagnose(proto: onnx.ModelProto, view: View, decision: Decision, seen: Observations, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> Diagnosis:
    """Look at every part of a decision.

    Args:
        proto: the float graph, all shapes inferred.
        view: of it.
        decision: what it becomes.
        seen: what flowed through it.
        feeds: samples to measure on.
    """
    trial = Trial(proto, feeds)
    found = sensitivity(trial, decision, weights=True, samples=LOOKED_AT)
    total = max(sum(found.groups.values()) + sum(found.weights.values()), 1e-300)
    cumulative, sizes = _inside(proto, view, decision, feeds)
    tensors = [_of_group(view, decision, seen, group, error, total, cumulative, sizes) for group, error in found.groups.items()]
    weights = [_of_weights(view, decision, seen, node, error, total) for node, error in found.weights.items()]
    ordered = tuple(sorted(tensors, key=lambda one: -one.share))
    return Diagnosis(
        sqnr_db=decibels(trial.error(decision)),
        expected_db=decibels(total),
        samples=len(feeds),
        calibrated=seen.samples,
        tensors=ordered,
        weights=tuple(sorted(weights, key=lambda one: -one.share)),
        left_float=decision.placement.left_float,
        findings=tuple(_findings(ordered, found)),
    )


def _inside(
    proto: onnx.ModelProto, view: View, decision: Decision, feeds: Sequence[Mapping[str, NDArray[Any]]]
) -> tuple[dict[str, float | None], dict[str, NDArray[np.float64]]]:
    """SQNR of each stored tensor in the quantized graph, and the size of each of its channels in the float graph."""
    stored = [tensor for tensor in decision.placement.tensors if view.maker(tensor) is not None]
    quantized = with_numbers(proto, decision)
    made = {name for node in quantized.graph.node for name in node.output}
    read_as = {tensor: f"{tensor}/dequantized" if f"{tensor}/dequantized" in made else tensor for tensor in stored}
    before = Runner(proto.SerializeToString(), outputs=stored, threads=1)
    after = Runner(quantized.SerializeToString(), outputs=sorted(set(read_as.values())), threads=1)
    lost, power = dict.fromkeys(stored, 0.0), dict.fromkeys(stored, 0.0)
    sizes: dict[str, NDArray[np.float64]] = {}
    for feed in feeds:
        wanted, got = before(feed), after(feed)
        for tensor in stored:
            values = wanted[tensor].astype(np.float64)
            lost[tensor] += float(np.square(values - got[read_as[tensor]]).sum())
            power[tensor] += float(np.square(values).sum())
            size = np.abs(values).max(axis=_but_channels(values.ndim)) if values.ndim > 1 and values.size else np.abs(values).reshape(-1)
            sizes[tensor] = np.maximum(sizes[tensor], size) if tensor in sizes else size
    return {tensor: decibels(lost[tensor] / max(power[tensor], 1e-300)) for tensor in stored}, sizes


def _but_channels(rank: int) -> tuple[int, ...]:
    """Axes of a tensor other than that of its channels: 1 for pictures and sequences of a convolution, else the last."""
    channels = 1 if rank == 4 else rank - 1
    return tuple(axis for axis in range(rank) if axis != channels)


def _of_group(  # noqa: PLR0913 - the parts of one row
    view: View,
    decision: Decision,
    seen: Observations,
    group: str,
    error: float,
    total: float,
    cumulative: Mapping[str, float | None],
    sizes: Mapping[str, NDArray[np.float64]],
) -> TensorDiagnosis:
    members = [tensor for tensor, name in decision.placement.tensors.items() if name == group]
    named = next((tensor for tensor in decision.placement.sources.get(group, ()) if tensor in seen.histograms), group)
    histogram = seen.histograms.get(named, Histogram())
    maker = view.maker(named)
    low, high = ends(decision.groups[group])
    size = sizes.get(named, np.zeros(0))
    middle = float(np.median(size)) if size.size else 0.0
    return TensorDiagnosis(
        tensor=named,
        made_by=maker.name if maker is not None else "",
        op=maker.op_type if maker is not None else "",
        shape=view.shape(named) or (),
        members=len(members),
        alone_db=decibels(error),
        cumulative_db=cumulative.get(named),
        share=error / total,
        seen=(min(histogram.low, 0.0), max(histogram.high, 0.0)),
        stored=(low, high),
        clipped=_clipped(histogram, low, high),
        unevenness=round(float(size.max()) / middle, 2) if middle > 0.0 else 0.0,
        dead_channels=int((size < DEAD * size.max()).sum()) if size.size else 0,
        channels=int(size.size),
        histogram=_bars(histogram),
    )


def ends(affine: Affine) -> tuple[float, float]:
    """The smallest and the largest number that can be stored."""
    scale, zero_point = float(affine.scale), int(affine.zero_point)
    return (affine.grid.low - zero_point) * scale, (affine.grid.high - zero_point) * scale


def _clipped(histogram: Histogram, low: float, high: float) -> float:
    centres = histogram.centres()
    count = int(histogram.counts.sum())
    return float(histogram.counts[(centres < low) | (centres > high)].sum()) / count if count and histogram.width else 0.0


def _bars(histogram: Histogram) -> tuple[int, ...]:
    if histogram.width == 0.0:
        return ()
    bars, _ = np.histogram(histogram.centres(), BARS, (min(histogram.low, 0.0), max(histogram.high, 0.0)), weights=histogram.counts)
    return tuple(int(count) for count in bars)


def _of_weights(view: View, decision: Decision, seen: Observations, node: str, error: float, total: float) -> WeightsDiagnosis:
    one = decision.placement.weighted[node]
    weight = view.value(one.weight)
    sizes = np.abs(one.by_channel(weight)).max(axis=1, initial=0.0)
    rounded = seen.weights.get(node)
    gain = 0.0
    if rounded is not None and rounded.added.sum() > 0.0:
        gain = round(10.0 * math.log10(max(float(rounded.nearest.sum() / rounded.added.sum()), 1e-30)), 2)
    return WeightsDiagnosis(
        node=node,
        op=one.op,
        shape=tuple(int(size) for size in weight.shape),
        alone_db=decibels(error),
        share=error / total,
        rounding_gain_db=gain,
        dead_channels=int((sizes < DEAD * sizes.max(initial=0.0)).sum()),
        channels=len(sizes),
    )


GRAVE = 0.1
"""Share of the error from which on a tensor is worth a word."""


def _findings(tensors: Sequence[TensorDiagnosis], found: Sensitivity) -> list[Finding]:
    """What the costliest tensors suffer from."""
    said = []
    for one in tensors:
        if one.share < GRAVE or (one.alone_db or 99.0) > 40.0:
            continue
        said.append(Finding(where=one.tensor, what=_reason(one), remedy=_remedy(one)))
    return said


def _reason(one: TensorDiagnosis) -> str:
    cost = f"stored as integers alone it leaves {one.alone_db} dB at the outputs, {one.share:.0%} of the whole error"
    span, seen = one.stored[1] - one.stored[0], one.seen[1] - one.seen[0]
    if one.unevenness >= 8.0:
        return f"{cost}: its largest channel is {one.unevenness:.0f} times its median channel, and one scale must fit both"
    if span < 0.7 * seen:
        reach = f"{one.seen[0]:.3g} to {one.seen[1]:.3g}"
        return f"{cost}: a few values are far out ({reach}), the range that costs least is {one.stored[0]:.3g} to {one.stored[1]:.3g}"
    if one.members > 1:
        return f"{cost}: {one.members} tensors must share its scale"
    return f"{cost}: what comes after it answers strongly to small changes"


def _remedy(one: TensorDiagnosis) -> str:
    node = one.made_by
    return (
        f"--set 'quantize.keep_float=[\"{node}\"]' with the nodes that read it, or --set quantize.min_sqnr_db=… to let edgekit choose"
        if node
        else ("keep the nodes that read this input in float: --set quantize.min_sqnr_db=… lets edgekit choose them")
    )

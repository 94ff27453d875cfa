"""The doctor: what every rounding of a static quantization costs, where, and why."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.run import Runner
from edgekit.graph.view import View
from edgekit.numerics.affine import Affine
from edgekit.numerics.observers import Histogram
from edgekit.passes.quantize.decide import Decision
from edgekit.passes.quantize.diagnosis import Diagnosis, Finding, TensorDiagnosis, WeightsDiagnosis
from edgekit.passes.quantize.observations import Observations
from edgekit.passes.quantize.place import Placement
from edgekit.passes.quantize.sensitivity import Sensitivity, Trial, decibels, with_numbers

Remedy = Callable[[Sequence[str]], str]
"""What to do so that some tensors are not rounded."""

BARS = 64
"""Bars of a histogram as it is shown."""

DEAD = 1e-3
"""A channel whose size is less than this share of the largest has no integer left but zero, nearly."""


def diagnose(trial: Trial, view: View, decision: Decision, seen: Observations, found: Sensitivity, remedy: Remedy) -> Diagnosis:
    """Look at every part of a decision.

    Args:
        trial: the float graph and the samples to measure on.
        view: of the graph.
        decision: what it becomes.
        seen: what flowed through it.
        found: what each part of the decision costs, weights too.
        remedy: what to do about some tensors.
    """
    total = max(sum(found.groups.values()) + sum(found.weights.values()), 1e-300)
    cumulative, sizes = _inside(trial, view, decision)
    tensors = {
        group: _of_group(view, decision, seen, group, error, total, cumulative, sizes)
        for group, error in sorted(found.groups.items(), key=lambda item: -item[1])
    }
    weights = [_of_weights(view, decision, seen, node, error, total) for node, error in found.weights.items()]
    return Diagnosis(
        sqnr_db=decibels(trial.error(decision)),
        expected_db=decibels(total),
        samples=trial.samples,
        calibrated=seen.samples,
        tensors=tuple(tensors.values()),
        weights=tuple(sorted(weights, key=lambda one: -one.share)),
        left_float=decision.placement.left_float,
        findings=tuple(_findings(decision.placement, tensors, remedy)),
    )


def _inside(trial: Trial, view: View, decision: Decision) -> tuple[dict[str, float | None], dict[str, NDArray[np.float64]]]:
    """SQNR of each stored tensor in the quantized graph, and the size of each of its channels in the float graph."""
    stored = [tensor for tensor in decision.placement.tensors if view.maker(tensor) is not None]
    if not stored:
        return {}, {}
    quantized = with_numbers(trial.proto, decision)
    made = {name for node in quantized.graph.node for name in node.output}
    read_as = {tensor: f"{tensor}/dequantized" if f"{tensor}/dequantized" in made else tensor for tensor in stored}
    before = Runner(trial.proto.SerializeToString(), outputs=stored, threads=1)
    after = Runner(quantized.SerializeToString(), outputs=sorted(set(read_as.values())), threads=1)
    lost, power = dict.fromkeys(stored, 0.0), dict.fromkeys(stored, 0.0)
    sizes: dict[str, NDArray[np.float64]] = {}
    for feed in trial.feeds:
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
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    # the outermost bins of what was seen reach beyond it
    bars, _ = np.histogram(np.clip(histogram.centres(), low, high), BARS, (low, high), weights=histogram.counts)
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

BEYOND_DOUBT_DB = 40.0
"""Above it, no tensor is."""


def _findings(placed: Placement, tensors: Mapping[str, TensorDiagnosis], remedy: Remedy) -> Iterator[Finding]:
    """What the costliest tensors suffer from; they are given by group."""
    for group, one in tensors.items():
        if one.share >= GRAVE and one.alone_db is not None and one.alone_db <= BEYOND_DOUBT_DB:
            members = [tensor for tensor, name in placed.tensors.items() if name == group]
            yield Finding(where=one.tensor, what=_reason(one), remedy=remedy(members))


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


def kept_float(nodes: Sequence[str], keep_float: tuple[str, ...]) -> str:
    """What to type so that nodes stay float, besides those that are kept by these patterns already."""
    patterns = [*keep_float, *(node.translate(LITERALLY) for node in nodes)]
    setting = "quantize.keep_float=" + json.dumps(patterns, ensure_ascii=False)
    return f"--set {shlex.quote(setting)}"


LITERALLY = str.maketrans({sign: f"[{sign}]" for sign in "*?["})
"""Names are patterns; these signs stand for themselves in brackets."""

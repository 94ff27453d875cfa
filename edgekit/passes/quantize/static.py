"""Static int8, end to end: calibrate (or find it in the store), place, decide, apply."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SamplesError, UsageError
from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted, weighted_nodes
from edgekit.model import Model
from edgekit.numerics.moments import Moments
from edgekit.passes.contract import Supplies
from edgekit.passes.named import named
from edgekit.passes.quantize import calibrate, learned
from edgekit.passes.quantize.apply import apply
from edgekit.passes.quantize.decide import Decision, Observer, decide, is_per_channel, ranging, weight_grid
from edgekit.passes.quantize.diagnose import diagnose, kept_float
from edgekit.passes.quantize.diagnosis import Diagnosis, Repair
from edgekit.passes.quantize.mixed import COUNTED, COUNTED_BYTES, HELD_BYTES, LOOKED_AT, SAMPLES, Aim, Mixed, Search, region
from edgekit.passes.quantize.narrow import nodes_to_narrow, weight_bytes
from edgekit.passes.quantize.observations import VERSION, Observations, Rounded, read, write
from edgekit.passes.quantize.patches import from_blocks
from edgekit.passes.quantize.place import Placement, place
from edgekit.passes.quantize.reasons import BY_USER
from edgekit.passes.quantize.round_weights import round_weights
from edgekit.passes.quantize.sensitivity import Sensitivity, Trial, decibels, sensitivity
from edgekit.passes.streaming import Feed
from edgekit.plugins import version_of
from edgekit.samples import Samples
from edgekit.target import Scheme

if TYPE_CHECKING:
    import onnx

Rounding = Literal["nearest", "compensated", "learned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """How to go about it; see the fields of the pass."""

    observer: Observer
    percentile: float
    rounding: Rounding
    correct_bias: bool
    keep_float: tuple[str, ...]
    aim: Aim
    max_float_share: float
    float_if_free: bool
    max_weight_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A graph that was looked at, and how it is placed and decided upon.

    Attributes:
        view: of the graph.
        seen: what flowed through it.
        scheme: how the runtime wants numbers stored.
        how: the options.
        chosen: nodes the user keeps in float, with the reason.
        wide: nodes whose weights keep 8 bits where others' have 4, and these as rounded on samples.
    """

    view: View
    seen: Observations
    scheme: Scheme
    how: Static
    chosen: Mapping[str, str]
    wide: Mapping[str, Rounded | None]

    @property
    def is_tried(self) -> bool:
        """Whether nodes may stay float for what the outputs gain, which has to be tried."""
        return bool(self.how.aim) or (self.how.float_if_free and bool(self.scheme.speedup))

    def place(self, kept: Mapping[str, str]) -> Placement:
        """Where integers go, with these nodes kept in float besides those the user keeps."""
        return place(self.view, self.scheme, {**kept, **self.chosen})

    def decide(self, placement: Placement) -> Decision:
        """In which numbers."""
        ranges = ranging(self.how.observer, self.how.percentile)
        return decide(self.view, placement, self.seen, self.scheme, ranges, correct_bias=self.how.correct_bias, wide=self.wide)


def ready(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Static) -> Ready:
    """Calibrate, or find in the store what calibration saw.

    Raises:
        SamplesError: samples are missing, do not fit the model, or have no labels where accuracy is asked for.
        UsageError: there is no scheme, or ``keep_float`` names what is not there.
    """
    if supplies.scheme is None:
        raise UsageError("quantize: this target's runtime has no quantization scheme", hint="choose a target or runtime that has one")
    if supplies.samples is None:
        raise SamplesError("quantize: needs samples", hint="--samples DIR, or --recipe fp16")
    view = View(proto)
    chosen = dict.fromkeys(named(view, how.keep_float, "quantize: keep_float"), BY_USER)
    if how.aim.max_accuracy_drop is not None and all(sample.label is None for sample in supplies.samples.calibrating):
        raise SamplesError(
            f"quantize: max_accuracy_drop: the samples {supplies.samples.name} that calibrate have no labels",
            hint="put a labels.csv beside them, or ask for --set quantize.min_agreement=0.99 instead",
        )
    if how.rounding == "learned":
        learned.check(proto, len(supplies.samples.calibrating))
    return Ready(view, _observed(model, view, supplies.samples, supplies.scheme, supplies, how), supplies.scheme, how, chosen, {})


def _with_trial(model: Model, proto: onnx.ModelProto, supplies: Supplies, looked_at: Ready) -> tuple[Ready, Trial]:
    """Samples to judge by, and what was looked at with 4 bits for no more nodes' weights than a size asks for."""
    trial = _trial(model, proto, supplies, looked_at.how)
    return _narrowed(model, supplies, looked_at, trial), trial


def _narrowed(model: Model, supplies: Supplies, looked_at: Ready, trial: Trial) -> Ready:
    """The same with 4 bits for no more nodes' weights than it takes for all to fit."""
    how, view, most = looked_at.how, looked_at.view, looked_at.how.max_weight_bytes
    if supplies.samples is None or most is None:
        return looked_at
    all_narrow = looked_at.decide(looked_at.place({}))
    narrow = nodes_to_narrow(trial, view, all_narrow, most, samples=LOOKED_AT)
    rounded = _observed(model, view, supplies.samples, looked_at.scheme.in_eight_bits, supplies, how).weights
    return replace(looked_at, wide={name: rounded.get(name) for name in sorted(all_narrow.narrow - narrow)})


@dataclass(frozen=True, slots=True)
class Found:
    """What quantization comes to, before it is written.

    Attributes:
        looked_at: the graph, and what was seen of it.
        decision: all numbers.
        trial: samples that were judged by; None where nothing had to be tried.
        mixed: the search for nodes to keep in float; None where there was none.
    """

    looked_at: Ready
    decision: Decision
    trial: Trial | None
    mixed: Mixed | None

    def with_numbers(self, decision: Decision) -> Found:
        """The same with others in their place, and judged anew."""
        mixed = _judged_anew(self.trial, self.mixed, decision, self.looked_at.how.aim)
        return replace(self, decision=decision, mixed=mixed)

    def did(self) -> dict[str, Any]:
        """What is done by writing it, for the step's record."""
        return _did(self.looked_at.view, self.decision, self.looked_at.seen, self.mixed)


def find_static(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Static) -> Found:
    """All numbers for ``proto``, the graph of ``model`` with all shapes inferred, which is left alone."""
    looked_at, trial = ready(model, proto, supplies, how), None
    if looked_at.is_tried or how.max_weight_bytes is not None:
        looked_at, trial = _with_trial(model, proto, supplies, looked_at)
    decision, mixed = _decided(trial, looked_at)
    found = Found(looked_at, decision, trial, mixed)
    if how.rounding == "learned":
        looked_at, decision = _learned(model, proto, supplies, looked_at, decision)
        found = replace(found, looked_at=looked_at).with_numbers(decision)
    return found


def quantize_static(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Static) -> dict[str, Any]:
    """Quantize ``proto``, the graph of ``model`` with all shapes inferred, in place.

    Returns:
        What was done, for the step's record.
    """
    found = find_static(model, proto, supplies, how)
    did = found.did()
    apply(proto, found.decision)
    return did


def _learned(model: Model, proto: onnx.ModelProto, supplies: Supplies, looked_at: Ready, decision: Decision) -> tuple[Ready, Decision]:
    """The same with weights whose rounding was learned, or found in the store; which nodes stay float is decided before."""
    how, samples = looked_at.how, supplies.samples
    if samples is None:
        raise SamplesError("quantize: needs samples", hint="--samples DIR, or --recipe fp16")

    def make(folder: Path) -> None:
        start = learned.Start(proto, looked_at.view, looked_at.seen, decision, how.correct_bias)
        learned.learn(start, samples.feeds("calibrating", model.signature), supplies.watcher, folder)

    decided_by = {
        "version": [VERSION, learned.VERSION],
        "model": model.sha256,
        "samples": samples.sha256,
        "signature": model.signature,
        "scheme": looked_at.scheme,
        "integer": decision.placement.integer,
        "wide": sorted(looked_at.wide),
        "how": [how.observer, how.percentile, how.correct_bias],
        "tools": version_of("numpy", "onnxruntime", "pillow", "torch"),
    }
    folder = supplies.shared("learned", decided_by, make)
    seen = learned.with_learned(looked_at.seen, decision, folder)
    before = looked_at.seen.weights
    wide = {name: seen.weights[name] if seen.weights.get(name) is not before.get(name) else held for name, held in looked_at.wide.items()}
    with_them = replace(looked_at, seen=seen, wide=wide)
    return with_them, with_them.decide(decision.placement)


def _judged_anew(trial: Trial | None, mixed: Mixed | None, decision: Decision, aim: Aim) -> Mixed | None:
    """A search's result with what was learned after it."""
    if trial is None or mixed is None:
        return mixed
    judged = trial.judged(decision)
    return replace(mixed, decision=decision, judged=judged, is_reached=aim.holds(judged))


def _decided(trial: Trial | None, looked_at: Ready) -> tuple[Decision, Mixed | None]:
    """All numbers, and the search for nodes to keep in float, where there is a budget to search for."""
    if trial is None or not looked_at.is_tried:
        return looked_at.decide(looked_at.place({})), None
    mixed = _search(trial, looked_at, looked_at.how.aim, None).run()
    return mixed.decision, mixed


def _search(trial: Trial, looked_at: Ready, aim: Aim, found: Sensitivity | None) -> Search:
    return Search(
        proto=trial.proto,
        view=looked_at.view,
        trial=trial,
        place=looked_at.place,
        decide=looked_at.decide,
        aim=aim,
        max_float_share=looked_at.how.max_float_share,
        speedup=looked_at.scheme.speedup,
        float_if_free=looked_at.how.float_if_free,
        found=found,
        integers_alone=looked_at.scheme.integers_alone,
    )


def _trial(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Static) -> Trial:
    """The float graph on some of the samples that calibrate; on more of them where they tell its accuracy.

    Raises:
        UsageError: classes are asked about and the model gives none, or labels are none of them.
    """
    samples = supplies.samples
    if samples is None:
        return Trial(proto, ())
    count, most_bytes = (COUNTED, COUNTED_BYTES) if how.aim.counts_classes else (SAMPLES, HELD_BYTES)
    held: list[Feed] = []
    for feed in itertools.islice(samples.feeds("calibrating", model.signature), count):
        held.append(feed)
        if len(held) >= LOOKED_AT and sum(values.nbytes for one in held for values in one.values()) >= most_bytes:
            break
    labels = [sample.label for sample in samples.calibrating[: len(held)]] if how.aim.max_accuracy_drop is not None else []
    trial = Trial(proto, held, labels)
    try:
        if how.aim.counts_classes:
            trial.check_classes()
    except ValueError as error:
        hint = "this needs a model whose first output is classes, and labels that count from 0: or --set quantize.min_sqnr_db=25"
        raise UsageError(f"quantize: {error}", hint=hint) from error
    return trial


POOR_DB = 25.0
"""Below it, a repair is looked for, which shall bring as much."""

WORTH_DB = 3.0
"""A repair that gains less is not worth float nodes."""


def diagnosed(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Static) -> Diagnosis:
    """What a quantization with these options costs, part by part, what each correction gains, and what would repair it."""
    looked_at, trial = _with_trial(model, proto, supplies, ready(model, proto, supplies, how))
    decision, mixed = _decided(trial, looked_at)
    if how.rounding == "learned":
        looked_at, decision = _learned(model, proto, supplies, looked_at, decision)
    found = sensitivity(trial, decision, weights=True, samples=LOOKED_AT)
    whole = looked_at.place({})  # what a budget keeps in float now it may not where other nodes are

    def remedy(tensors: Sequence[str]) -> str:
        return kept_float(region(looked_at.view, whole, tensors), how.keep_float)

    diagnosis = diagnose(trial, looked_at.view, decision, looked_at.seen, found, remedy)
    corrections = _corrections(trial, looked_at)
    if mixed is not None and mixed.kept:
        corrections = {"nodes kept in float": decibels(mixed.all_integer.error), **corrections}
        found = mixed.sensitivity or found
    is_poor = diagnosis.sqnr_db is not None and diagnosis.sqnr_db < POOR_DB
    repair = _repair(trial, looked_at, found, diagnosis.sqnr_db) if is_poor else None
    return msgspec.structs.replace(diagnosis, corrections=corrections, is_poor=is_poor, repair=repair)


def _corrections(trial: Trial, looked_at: Ready) -> dict[str, float | None]:
    """SQNR with each correction switched off, and with all of them, no node kept in float for a budget."""
    nearest = replace(looked_at.seen, weights={})
    how = looked_at.how
    without = {
        "rounding = nearest": replace(looked_at, seen=nearest),
        "correct_bias = false": replace(looked_at, how=replace(how, correct_bias=False)),
        "observer = minmax": replace(looked_at, how=replace(how, observer="minmax")),
        "rounding = nearest, correct_bias = false, observer = minmax": replace(
            looked_at, seen=nearest, how=replace(how, correct_bias=False, observer="minmax")
        ),
    }
    placement = looked_at.place({})
    return {name: decibels(trial.error(one.decide(placement))) for name, one in without.items()}


def _repair(trial: Trial, looked_at: Ready, found: Sensitivity, now_db: float | None) -> Repair | None:
    """The nodes to keep in float that bring the outputs much nearer; None where there are none, or the budget asks for as much already.

    Args:
        trial: samples to judge by.
        looked_at: the graph.
        found: what each rounding costs with all integer.
        now_db: SQNR without the repair.
    """
    if now_db is None or (looked_at.how.aim.min_sqnr_db or 0.0) >= POOR_DB:
        return None
    steps = [(decibels(one.judged.error), one.kept, one.float_share) for one in _search(trial, looked_at, Aim(POOR_DB), found).steps()]
    known = [(sqnr, kept, share) for sqnr, kept, share in steps if sqnr is not None]  # some node stays integer, so there is an error
    best = max((sqnr for sqnr, _, _ in known), default=now_db)
    if best < now_db + WORTH_DB:
        return None
    budget = POOR_DB if best >= POOR_DB else math.floor(best * 10.0) / 10.0
    sqnr, kept, share = next(step for step in known if step[0] >= budget)  # where a search for this budget would end
    return Repair(min_sqnr_db=budget, kept=kept, sqnr_db=sqnr, float_share=share)


def sqnr_db(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Static) -> float | None:
    """SQNR of the outputs with all that can be integer stored so, before any rounding is learned; None where nothing changes."""
    looked_at, trial = _with_trial(model, proto, supplies, ready(model, proto, supplies, how))
    return decibels(trial.error(looked_at.decide(looked_at.place({}))))


def _average(view: View, one: Weighted, moments: Moments) -> NDArray[np.float64]:
    """What a node's weights are multiplied with on average, shape (groups, inputs)."""
    inputs = one.by_channel(view.value(one.weight)).shape[1]
    return from_blocks(moments.mean[:, None, :], one.groups, inputs)[:, 0, :]


def _observed(model: Model, view: View, samples: Samples, scheme: Scheme, supplies: Supplies, how: Static) -> Observations:
    """What flows through a model on the samples that calibrate, and its weights rounded on it: seen once, shared by all
    schemes that store weights alike, and by all observers."""
    grids, per_channel = {op: weight_grid(scheme, op) for op in sorted(PRODUCTS)}, is_per_channel(scheme)
    compensates = how.rounding != "nearest"
    inputs = compensates or how.correct_bias

    def make(folder: Path) -> None:
        supplies.watcher.begin("calibrate", len(samples.calibrating))
        weighted = weighted_nodes(view) if inputs else {}
        seen = calibrate.calibrate(model.path, view, samples.feeds("calibrating", model.signature), supplies.watcher, tuple(weighted.values()))
        rounded = round_weights(view, weighted, seen.moments, grids, per_channel=per_channel) if compensates else {}
        averages = {name: _average(view, weighted[name], one) for name, one in seen.moments.items()}
        write(Observations(histograms=seen.histograms, averages=averages, weights=rounded, samples=seen.samples), folder)
        supplies.watcher.end(f"{seen.samples} samples, {len(seen.histograms)} tensors")

    decided_by = {
        "version": VERSION,
        "model": model.sha256,
        "samples": samples.sha256,
        "signature": model.signature,
        "rounding": ["compensated" if compensates else "nearest", grids, per_channel, inputs],
        "tools": version_of("numpy", "onnxruntime", "pillow"),
    }
    return read(supplies.shared("observations", decided_by, make))


def _did(view: View, decision: Decision, seen: Observations, mixed: Mixed | None) -> dict[str, Any]:
    placed = decision.placement
    ops = Counter(node.op_type for node in view.nodes if node.name in set(placed.integer))
    return {
        "samples": seen.samples,
        "integer_nodes": dict(sorted(ops.items())),
        "quantized_tensors": len(placed.tensors),
        "scales": len(set(placed.tensors.values())),
        "weights": _stored(decision),
        "weight_bytes": weight_bytes(view, decision),
        "left_float": placed.left_float,
        **({} if mixed is None else _searched(mixed)),
    }


def _stored(decision: Decision) -> dict[str, int]:
    """How many nodes' weights are stored in how many bits."""
    return dict(sorted(Counter("int4" if name in decision.narrow else "int8" for name in decision.weights).items()))


def _searched(mixed: Mixed) -> dict[str, Any]:
    """What the search for nodes to keep in float came to."""
    return {
        "sqnr_db_on_samples": decibels(mixed.judged.error),
        "sqnr_db_all_integer": decibels(mixed.all_integer.error),
        "agreement_on_samples": mixed.judged.agreement,
        "accuracy_drop_on_samples": mixed.judged.accuracy_drop,
        "kept_float": list(mixed.kept),
        "budget_reached": mixed.is_reached,
    }

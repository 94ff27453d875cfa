"""Static int8, end to end: calibrate (or find it in the store), place, decide, apply."""

from __future__ import annotations

import fnmatch
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import SamplesError, UsageError
from edgekit.model import Model
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import calibrate
from edgekit.passes.quantize.apply import apply
from edgekit.passes.quantize.decide import Decision, Observer, decide, is_per_channel, ranging, weight_grid
from edgekit.passes.quantize.mixed import SAMPLES, Mixed, Search
from edgekit.passes.quantize.observations import VERSION, Observations, read, write
from edgekit.passes.quantize.place import Placement, place
from edgekit.passes.quantize.round_weights import round_weights
from edgekit.passes.quantize.sensitivity import Trial
from edgekit.passes.quantize.view import View
from edgekit.passes.quantize.weighted import weighted_nodes
from edgekit.plugins import version_of
from edgekit.strict import nearest

if TYPE_CHECKING:
    import onnx

Rounding = Literal["nearest", "compensated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """How to go about it; see the fields of the pass."""

    observer: Observer
    percentile: float
    rounding: Rounding
    correct_bias: bool
    keep_float: tuple[str, ...] = ()
    min_sqnr_db: float | None = None
    max_float_share: float = 1.0


def quantize_static(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Static) -> dict[str, Any]:
    """Quantize ``proto``, the graph of ``model`` with all shapes inferred, in place.

    Returns:
        What was done, for the step's record.
    """
    if supplies.scheme is None or supplies.samples is None:
        raise UsageError("quantize: a static int8 model needs samples and a scheme", hint="--samples DIR")
    view = View(proto)
    seen = observed(model, view, supplies, rounding=how.rounding)
    scheme, ranges = supplies.scheme, ranging(how.observer, how.percentile)
    chosen = dict.fromkeys(_named(view, how.keep_float), "kept in float by keep_float")

    def place_with(kept: Mapping[str, str]) -> Placement:
        return place(view, scheme, {**kept, **chosen})

    def decide_on(placement: Placement) -> Decision:
        return decide(view, placement, seen, scheme, ranges, correct_bias=how.correct_bias)

    if how.min_sqnr_db is None:
        decision, mixed = decide_on(place_with({})), None
    else:
        trial = Trial(proto, list(itertools.islice(supplies.samples.feeds("calibrating", model.signature), SAMPLES)))
        mixed = Search(proto, view, trial, place_with, decide_on, how.min_sqnr_db, how.max_float_share).run()
        decision = mixed.decision
    did = _did(view, decision, seen, mixed)
    apply(proto, decision)
    return did


def _named(view: View, patterns: tuple[str, ...]) -> list[str]:
    """Nodes whose name, or operator, fits a pattern such as ``/head/*`` or ``Softmax``."""
    found: list[str] = []
    for pattern in patterns:
        fitting = [node.name for node in view.nodes if fnmatch.fnmatchcase(node.name, pattern) or node.op_type == pattern]
        if not fitting:
            close = nearest(pattern, [node.name for node in view.nodes])
            raise UsageError(f"quantize: keep_float: no node is called {pattern}{close}", hint="edgekit inspect lists the nodes of the model")
        found += fitting
    return found


def observed(model: Model, view: View, supplies: Supplies, *, rounding: Rounding) -> Observations:
    """What flows through a model on the samples that calibrate, and its weights rounded on it: seen once, shared by all
    schemes that store weights alike, and by all observers."""
    samples, scheme = supplies.samples, supplies.scheme
    if samples is None or scheme is None:
        raise SamplesError("quantize: needs samples", hint="--samples DIR, or --recipe fp16")
    grid, per_channel = weight_grid(scheme), is_per_channel(scheme)

    def make(folder: Path) -> None:
        supplies.watcher.begin("calibrate", len(samples.calibrating))
        weighted = weighted_nodes(view)
        seen = calibrate.calibrate(model.path, view, samples.feeds("calibrating", model.signature), supplies.watcher, tuple(weighted.values()))
        rounded = round_weights(view, weighted, seen.moments, grid, per_channel=per_channel) if rounding == "compensated" else {}
        averages = {name: one.mean.reshape(weighted[name].groups, -1) for name, one in seen.moments.items()}
        write(Observations(histograms=seen.histograms, averages=averages, weights=rounded, samples=seen.samples), folder)
        supplies.watcher.end(f"{seen.samples} samples, {len(seen.histograms)} tensors")

    decided_by = {
        "version": VERSION,
        "model": model.sha256,
        "samples": samples.sha256,
        "signature": model.signature,
        "rounding": [rounding, grid, per_channel],
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
        "left_float": placed.left_float,
        **({} if mixed is None else _searched(mixed)),
    }


def _searched(mixed: Mixed) -> dict[str, Any]:
    """What the search for nodes to keep in float came to."""
    return {
        "sqnr_db_on_samples": round(mixed.sqnr_db, 2),
        "sqnr_db_all_integer": round(mixed.all_integer_sqnr_db, 2),
        "kept_float": list(mixed.kept),
        "budget_reached": mixed.is_reached,
    }

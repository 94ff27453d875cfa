"""What each layer costs the outputs when it alone is pruned, clustered, factorized, binarized or quantized: measured by the passes themselves."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit import plugins, strict
from edgekit.errors import SamplesError, UnsupportedError, UsageError
from edgekit.model import Model, Store
from edgekit.passes.contract import Need, Pass, Supplies, is_fed
from edgekit.passes.synonyms import SYNONYMS
from edgekit.pipeline.levels import Level, levels, own_options
from edgekit.pipeline.line import ingested, prepared
from edgekit.pipeline.score import accuracy_on
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan, Request, Settings, check, runtime_of
from edgekit.plugins import version_of
from edgekit.report.sensitivity import Curve, Point, Sensitivity, Technique, ordered
from edgekit.samples import Samples
from edgekit.watch import SILENT, Watcher

if TYPE_CHECKING:
    from edgekit.graph.run import Array
    from edgekit.pipeline.alone import Layer
    from edgekit.target import Scheme

    Outputs = Mapping[str, Array]

POINT_FILE = "point.json"
JUDGED = 64
"""Judging samples that every level runs on, unless more or fewer are asked for."""

NO_TARGET = "which integers it is about is up to a target, and none is given"
NO_SCHEME = "this target's runtime has no quantization scheme"
UNTOUCHED = "the step leaves this layer as it is"


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be found out.

    Attributes:
        techniques: steps to try; all if empty.
        levels: ``cluster=4,2`` and the like, in the place of the usual ones.
        judged: most samples that judge; 0 for all.
    """

    techniques: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    judged: int = JUDGED


@dataclass(frozen=True, slots=True)
class _Trial:
    """One layer at one level: what is run, and what decides its result."""

    layer: Layer
    level: Level
    pass_: Pass
    decided_by: Mapping[str, Any]


def sensitivity(request: Request, question: Question, *, watcher: Watcher = SILENT, store: Store | None = None) -> Sensitivity:
    """Compress one layer at a time and look at the outputs; what an earlier, interrupted run found is taken from the store.

    Args:
        request: model, samples, and at most one target; its recipe is not looked at.
        question: techniques and levels.
        watcher: told about progress.
        store: keeps each figure.

    Raises:
        SamplesError: there are none, or they do not fit the model.
        UsageError: a technique, a level or an option that cannot be tried, or a model that came quantized.
        EdgekitError: as of a build, up to its first step.
    """
    asked = levels(question.techniques, question.levels)
    given, rest = _options(request.settings, asked)
    plan = check(dataclasses.replace(request, recipe="float", settings=rest), targets_needed=False)
    samples, scheme = _judging(plan, question.judged), _scheme(plan)
    remarks = list(plan.remarks)
    if "quantize" in asked and scheme is None:
        why = NO_SCHEME if plan.chosen else NO_TARGET
        if "quantize" in question.techniques:
            raise UsageError(f"quantize: {why}", hint="--target NAME; `edgekit targets list` names them")
        del asked["quantize"]
        remarks.append(f"quantize is left out: {why}")
    asked = {name: _fitting(name, found, given, question) for name, found in asked.items()}
    workshop = Workshop(store=store or Store(), watcher=watcher)
    model, _ = ingested(plan, workshop)
    ready = prepared(plan, model, workshop)
    judge = _Judge(ready, samples)
    trials = _trials(ready, asked, given, _Deciding(plan, samples, scheme))
    points = _measured(trials, ready, judge, Supplies(samples=samples, scheme=scheme, shared=workshop.shared), workshop)
    return Sensitivity(
        source=str(request.source),
        target=plan.chosen[0].key if plan.chosen else "",
        samples=samples.name,
        judged=len(samples.judging),
        top1=judge.top1,
        curves=ordered(_curves(trials, points)),
        remarks=tuple(remarks),
    )


# --- what is asked


def _options(settings: Settings, asked: Mapping[Technique, Any]) -> tuple[Settings, Settings]:
    """The options of techniques, and those of all else."""
    given: Settings = {name: settings.get(name, {}) for name in asked}
    for technique in asked:
        own_options(technique, given[technique])
    return given, {step: fields for step, fields in settings.items() if step not in given}


def _fitting(technique: Technique, found: tuple[Level, ...], given: Settings, question: Question) -> tuple[Level, ...]:
    """The levels that there are with these options: of two zeros in every four there is one."""
    is_default = not any(text.startswith(technique) for text in question.levels)
    is_half = technique == "prune" and given[technique].get("kind") == "2:4" and is_default
    return (Level("prune", "50"),) if is_half else found


def _judging(plan: Plan, most: int) -> Samples:
    """Samples of which no more judge than asked for, taken from all over them: folders by class come one after the other.

    Raises:
        SamplesError: there are none.
    """
    if plan.samples is None:
        raise SamplesError("sensitivity: needs samples", hint="--samples DIR: pictures or .npz files; labels are not needed")
    all_of_them = plan.samples.judging
    if not all_of_them:
        raise SamplesError(
            f"samples {plan.samples.name}: all calibrate and none judges", hint="more samples, or a smaller `calibrate` in samples.toml"
        )
    count = min(most, len(all_of_them)) if most else len(all_of_them)
    return msgspec.structs.replace(plan.samples, judging=tuple(all_of_them[at * len(all_of_them) // count] for at in range(count)))


def _scheme(plan: Plan) -> Scheme | None:
    """How the target stores integers; None without a target.

    Raises:
        UsageError: there are several.
    """
    if len(plan.chosen) > 1:
        raise UsageError(f"sensitivity: {len(plan.chosen)} targets, and numbers are those of one", hint=f"--target {plan.chosen[0].key}")
    return runtime_of(plan.chosen[0]).scheme if plan.chosen else None


# --- what is tried


@dataclass(frozen=True, slots=True)
class _Deciding:
    """What besides a pass's options decides a figure."""

    plan: Plan
    samples: Samples
    scheme: Scheme | None

    def of(self, ready: Model, technique: Technique, pass_: Pass, options: Mapping[str, Any]) -> dict[str, Any]:
        """All of it, for the store's key."""
        return {
            "model": ready.sha256,
            "signature": ready.signature,
            "step": technique,
            "options": options,
            "scheme": self.scheme if Need.SCHEME in pass_.needs else None,
            "samples": [self.samples.sha256, [sample.path.name for sample in self.samples.judging]],
            "tools": {**pass_.tools(), **version_of("pillow")},
        }


def _trials(ready: Model, asked: Mapping[Technique, Sequence[Level]], given: Settings, deciding: _Deciding) -> list[_Trial]:
    """Every layer at every level, passes made and checked before the first runs."""
    from edgekit.graph.onnx_file import infer_shapes, load
    from edgekit.graph.quantized import quantization_of
    from edgekit.pipeline.alone import Layers

    proto = infer_shapes(load(ready.path))
    if quantization_of(proto) is not None:
        raise UsageError("sensitivity: this model came quantized, and no step changes it", hint="take the float model it was made from")
    layers = Layers(proto)
    found = []
    for technique, its_levels in asked.items():
        cuts = technique == "prune" and given["prune"].get("kind", "structured") == "structured"
        for layer in (layers.groups if cuts else layers.weighted).values():
            for level in its_levels:
                options = layers.options(layer, level, given[technique], deciding.scheme)
                pass_ = _pass(technique, options)
                found.append(_Trial(layer, level, pass_, deciding.of(ready, technique, pass_, options)))
    if not found:
        raise UsageError("sensitivity: no layer of this model has weights to try on", hint="edgekit inspect lists its layers")
    return found


def _pass(technique: Technique, options: dict[str, Any]) -> Pass:
    """The pass of a technique with these options.

    Raises:
        UsageError: it has no such option, or it learns.
    """
    pass_: Pass = strict.convert(options, plugins.load("edgekit.passes", technique), where=technique, synonyms=SYNONYMS)
    if getattr(pass_, "learns", False) or getattr(pass_, "train", False) or getattr(pass_, "rounding", "") == "learned":
        raise UsageError(f"{technique}: with these options it learns, layer by layer for hours", hint="leave out what learns: curves are of one shot")
    return pass_


# --- what is found


class _Judge:
    """The untouched model's outputs on the samples that judge.

    Raises:
        SamplesError: they do not fit the model, or it gives what is no number.
    """

    def __init__(self, reference: Model, samples: Samples) -> None:
        from edgekit.graph.run import Runner
        from edgekit.numerics.fidelity import class_rows

        self._samples = samples
        self._feeds = list(samples.feeds("judging", reference.signature))
        runner = Runner(reference.path)
        self._wanted: list[Outputs] = [runner(feed) for feed in self._feeds]
        self._first = reference.signature.outputs[0].name
        self._check()
        self._has_classes = class_rows(self._wanted[0][self._first]) is not None
        self.top1 = self._top1(self._wanted)

    def _check(self) -> None:
        import numpy as np

        for wanted in self._wanted:
            for name, values in wanted.items():
                if values.dtype.kind == "f" and np.isnan(values).any():
                    raise SamplesError(
                        f"samples {self._samples.name}: the untouched model itself gives NaN in {name}",
                        hint="are the samples and their preprocessing right?",
                    )

    def _top1(self, outputs: Sequence[Outputs]) -> float | None:
        pairs = [(wanted[self._first], got[self._first]) for wanted, got in zip(self._wanted, outputs, strict=True)]
        right, _ = accuracy_on(pairs if self._has_classes else [], self._samples)
        return None if right is None else right.top1

    def point(self, level: Level, model: Model) -> Point:
        """How near a compressed model's outputs are.

        Raises:
            UnsupportedError: how large an output is depends on the numbers in it.
        """
        from edgekit.graph.run import Runner
        from edgekit.numerics.fidelity import fidelity

        runner = Runner(model.path)
        outputs = [runner(feed) for feed in self._feeds]
        try:
            near = fidelity(zip(self._wanted, outputs, strict=True))
        except ValueError as error:
            raise UnsupportedError(
                f"sensitivity: {error}", hint="outputs whose size depends on the data cannot be judged: leave them out of the model"
            ) from error
        sqnr_db = None if near.sqnr_db is None else round(near.sqnr_db, 2)
        return Point(level.words, level.left, sqnr_db=sqnr_db, agreement=near.top1_agreement, top1=self._top1(outputs))


def _measured(trials: Sequence[_Trial], ready: Model, judge: _Judge, supplies: Supplies, workshop: Workshop) -> list[Point]:
    """The points of all trials, those an earlier run left told first, so that the time left is that of the others."""
    watcher = workshop.watcher
    done = sum(workshop.find("sensitivity", trial.decided_by) is not None for trial in trials)
    watcher.begin("sensitivity", len(trials))
    if done:
        watcher.advance(done)
    points = []
    for trial in trials:

        def make(out: Path, trial: _Trial = trial) -> None:
            (out / POINT_FILE).write_bytes(msgspec.json.encode(_tried(trial, ready, judge, supplies)))

        folder, _, cached = workshop.folder("sensitivity", trial.decided_by, make, quiet=True)
        points.append(msgspec.json.decode((folder / POINT_FILE).read_bytes(), type=Point))
        if not cached:
            watcher.advance()
    watcher.end(f"{len(trials)} levels of {len({trial.layer.name for trial in trials})} layers, {done} from the store")
    return points


def _tried(trial: _Trial, ready: Model, judge: _Judge, supplies: Supplies) -> Point:
    """One layer compressed, and what the outputs say; or why it cannot be."""
    pass_, level = trial.pass_, trial.level
    own = dataclasses.replace(
        supplies,
        samples=supplies.samples if is_fed(pass_) else None,
        scheme=supplies.scheme if Need.SCHEME in pass_.needs else None,
    )
    with tempfile.TemporaryDirectory(prefix="edgekit-sensitivity-") as folder:
        try:
            made = pass_(ready, own, Path(folder))
        except UsageError as error:  # options were checked before: this layer has no such level
            return Point(level.words, level.left, reason=error.message)
        if reason := _left_alone(trial, made):
            return Point(level.words, level.left, reason=reason)
        return judge.point(level, made)


def _left_alone(trial: _Trial, made: Model) -> str:
    """Why a pass did nothing to the layer, by its own record; "" if it did."""
    did, name = made.history[-1].did, trial.layer.name
    for key in ("left_alone", "left_float", "eight_bits"):
        if name in did.get(key, {}):
            return str(did[key][name])
    touched = {
        "prune": did.get("layers", True),
        "cluster": did.get("nodes"),
        "factorize": did.get("layers"),
        "binarize": did.get("nodes"),
        "quantize": did.get("weights"),
    }
    return "" if touched[trial.level.technique] else UNTOUCHED


def _curves(trials: Sequence[_Trial], points: Sequence[Point]) -> list[Curve]:
    by_curve: dict[tuple[Technique, str], tuple[Layer, list[Point]]] = {}
    for trial, point in zip(trials, points, strict=True):
        by_curve.setdefault((trial.level.technique, trial.layer.name), (trial.layer, []))[1].append(point)
    return [
        Curve(layer.name, layer.op, layer.parameters, technique, tuple(found), with_layers=layer.with_layers)
        for (technique, _), (layer, found) in by_curve.items()
    ]

"""Fidelity and accuracy of engines on the judging samples, kept in the store."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit import plugins
from edgekit.device.local import LocalDevice
from edgekit.engine.contract import Engine
from edgekit.errors import SamplesError, UnsupportedError
from edgekit.measure import Metric, infer, why_no_outputs
from edgekit.model import Model, file_sha256
from edgekit.pipeline.line import Built
from edgekit.pipeline.place import RTX, RUNTIME_PACKAGES, Bench, why_not_here
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan
from edgekit.plugins import version_of
from edgekit.report import Accuracy, Fidelity
from edgekit.samples import Samples

if TYPE_CHECKING:
    from edgekit.graph.run import Runner
    from edgekit.samples import Feed

    Outputs = Mapping[str, Any]

SCORES_FILE = "scores.json"
ROUNDED = "It computes in bfloat16, for which ONNX Runtime computed in float32 and rounded what each node makes."
OF_THE_GRAPH = "Fidelity is that of the graph the engine {} built from, run in ONNX Runtime; the engine itself has not been run."


class Scores(msgspec.Struct, frozen=True):
    """Fidelity and accuracy as the store keeps them; ``remarks`` say what a reader must know of them."""

    fidelity: Fidelity | None
    fidelity_reason: str
    accuracy: Accuracy | None
    accuracy_reason: str
    remarks: tuple[str, ...] = ()
    metrics: dict[str, Metric] = {}


def scored(built: Built, reference: Model, plan: Plan, bench: Bench, workshop: Workshop) -> Scores:
    """Fidelity, accuracy and the recipe's metrics of an engine on the judging samples, against the float original; kept in the store."""
    samples = plan.samples
    if samples is None:
        return Scores(fidelity=None, fidelity_reason="no samples were given", accuracy=None, accuracy_reason="no samples were given")
    bench, remarks = _judging(built, bench)
    is_graph, engine = _is_judged_by_its_graph(built, bench), _judged(built)
    runtime = "onnxruntime" if is_graph else engine.runs_in
    reason = "" if is_graph else why_not_here(engine, bench)
    if reason:
        reason = "; ".join((*remarks, reason))
        return Scores(fidelity=None, fidelity_reason=reason, accuracy=None, accuracy_reason=reason)

    def make(out: Path) -> None:
        scores = _scores(built, _Run(reference, samples, workshop, plan.recipe.metrics), bench)
        (out / SCORES_FILE).write_bytes(msgspec.json.encode(scores))

    decided_by = {
        "engine": engine,
        "reference": reference.sha256,
        "signature": reference.signature,
        "samples": samples.sha256,
        "device": bench.device.facts,
        "tools": version_of("onnxruntime", "numpy", "pillow", *RUNTIME_PACKAGES.get(runtime, (runtime,)), "torchmetrics"),
        "metrics": [(name, plugins.origin_of("edgekit.metrics", name)) for name in plan.recipe.metrics],
    }
    folder, _, _ = workshop.folder(f"check {engine.target}-{engine.runtime}", decided_by, make)
    scores = msgspec.json.decode((folder / SCORES_FILE).read_bytes(), type=Scores)
    scores = msgspec.structs.replace(scores, remarks=(*remarks, *scores.remarks))
    if scores.fidelity is None:
        return scores
    judged_on = bench.measured_on(built.chosen.target)  # of this build: the store does not know whether the device was named
    return msgspec.structs.replace(scores, fidelity=msgspec.structs.replace(scores.fidelity, judged_on=judged_on))


def graph_scored(model: Model, reference: Model, samples: Samples, workshop: Workshop) -> tuple[float | None, float | None, float | None, int]:
    """A Model's graph in ONNX Runtime on the judging samples: SQNR, share of equal classes, of right ones, and how many samples."""
    from edgekit.numerics.fidelity import fidelity

    feeds, same_feeds = itertools.tee(samples.feeds("judging", reference.signature))
    runner, _ = _opened(model)
    run = _Run(reference, samples, workshop, ())
    near = fidelity(run.pairs(feeds, map(runner, same_feeds)))
    right, _ = accuracy_on(run.classes, samples)
    return near.sqnr_db, near.top1_agreement, right.top1 if right is not None else None, near.samples


def _judging(built: Built, bench: Bench) -> tuple[Bench, tuple[str, ...]]:
    """Where outputs are had: on the device or, where they cannot be read there, on this machine, which is said."""
    if _is_judged_by_its_graph(built, bench) or why_not_here(_judged(built), bench):
        return bench, ()
    if not (reason := why_no_outputs(bench.device, _judged(built))):
        return bench, ()
    here = Bench(device=LocalDevice(), is_named=False)
    return here, (f"Outputs were not compared on {bench.device.facts.name}: {reason}. Fidelity is that of the same engine on this machine.",)


def _is_judged_by_its_graph(built: Built, bench: Bench) -> bool:
    """Whether there is no engine yet, or one that was built without its GPU and cannot be opened here."""
    return built.engine.status != "built" or (built.engine.runtime == RTX and bool(why_not_here(built.engine, bench)))


def _judged(built: Built) -> Engine:
    """What is run to judge an engine: itself, or what stands in for one that no host can run; the same for all targets that share it."""
    engine, other = built.engine, built.engine.stand_in
    if other is None:
        return engine
    path = built.folder / other.file
    return Engine(
        file=other.file,
        target="stand-in",
        runtime=other.runtime,
        precision=engine.precision,
        status="built",
        inputs=engine.inputs,
        outputs=engine.outputs,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        options=other.options,
    )


@dataclass(slots=True)
class _Run:
    """The float original and an engine, sample by sample; classes are kept for the accuracy, all outputs only for metrics that a
    recipe names."""

    reference: Model
    samples: Samples
    workshop: Workshop
    metrics: tuple[str, ...]
    kept: list[tuple[Outputs, Outputs]] = field(default_factory=list)
    classes: list[tuple[Any, Any]] = field(default_factory=list)

    def pairs(self, feeds: Iterable[Feed], outputs: Iterable[Outputs]) -> Iterator[tuple[Outputs, Outputs]]:
        from edgekit.graph.run import Runner
        from edgekit.numerics.fidelity import class_rows

        runner = Runner(self.reference.path)
        first = self.reference.signature.outputs[0].name
        has_labels = any(sample.label is not None for sample in self.samples.judging)
        for feed, got in zip(feeds, outputs, strict=True):
            wanted = runner(feed)
            self._check(wanted, got)
            if has_labels and class_rows(wanted[first]) is not None:
                self.classes.append((wanted[first], got[first]))
            if self.metrics:
                self.kept.append((wanted, got))
            self.workshop.watcher.advance()
            yield wanted, got

    def _check(self, wanted: Outputs, got: Outputs) -> None:
        """Outputs that say nothing must not be called exact."""
        import numpy as np

        for name, values in wanted.items():
            if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
                raise SamplesError(
                    f"samples {self.samples.name}: the float original itself gives NaN in {name}",
                    hint="are the samples and their preprocessing right?",
                )
            if values.shape != got[name].shape:
                raise UnsupportedError(
                    f"{name}: the engine gives {got[name].shape} where the original gives {values.shape}",
                    hint="outputs whose size depends on the data cannot be judged: leave them out of the model",
                )


def _scores(built: Built, run: _Run, bench: Bench) -> Scores:
    from edgekit.numerics.fidelity import fidelity

    reference, samples = run.reference, run.samples
    feeds, same_feeds = itertools.tee(samples.feeds("judging", reference.signature))
    remarks = []
    if _is_judged_by_its_graph(built, bench):
        remarks.append(OF_THE_GRAPH.format("was" if built.engine.status == "built" else "will be"))
        runner, is_rounded = _opened(built.model)
        remarks += [ROUNDED] if is_rounded else []
        outputs: Iterable[Outputs] = map(runner, same_feeds)
    else:
        remarks += [built.engine.stand_in.remark] if built.engine.stand_in is not None else []
        outputs = infer(built.folder, _judged(built), same_feeds, bench.device, signature=reference.signature)
    near = fidelity(run.pairs(feeds, outputs))
    if near.not_finite:
        remarks.append(f"{near.not_finite} outputs are not finite where the original's are, or the other way round.")
    kept = Fidelity(
        sqnr_db=near.sqnr_db,
        cosine=near.cosine,
        max_abs=near.max_abs,
        top1_agreement=near.top1_agreement,
        samples=near.samples,
        judged_on=bench.measured_on(built.chosen.target),
    )
    right, reason = accuracy_on(run.classes, samples)
    metrics = _metrics(run, labelled=right is not None)
    if right is not None and metrics:
        right = msgspec.structs.replace(right, confusion=_confusion(run))
    return Scores(fidelity=kept, fidelity_reason="", accuracy=right, accuracy_reason=reason, remarks=tuple(remarks), metrics=metrics)


def _metrics(run: _Run, *, labelled: bool) -> dict[str, Metric]:
    """Of classes where there are labels and the extra ``metrics``; and those that the recipe names."""
    from edgekit.measure import metrics

    found: dict[str, Metric] = {}
    if labelled and metrics.is_installed():
        of_engine, of_reference, labels, classes = _predicted(run)
        pairs = [metrics.of_classes(one, labels, classes) for one in (of_engine, of_reference)]
        found |= {name: Metric(value=value, reference=pairs[1][name]) for name, value in pairs[0].items()}
    if run.metrics:
        outputs, reference = ([one[at] for one in run.kept] for at in (1, 0))
        found |= metrics.own(run.metrics, outputs, reference, run.samples.judging)
    return found


def _confusion(run: _Run) -> tuple[tuple[int, ...], ...]:
    from edgekit.measure import metrics

    if not metrics.is_installed():
        return ()
    of_engine, _, labels, classes = _predicted(run)
    return metrics.confusion(of_engine, labels, classes)


def _predicted(run: _Run) -> tuple[list[int], list[int], list[int], int]:
    """Classes by the engine, by the float original, and as labelled, of labelled samples; and how many classes there are."""
    known = [(wanted, got, sample.label) for (wanted, got), sample in zip(run.classes, run.samples.judging, strict=True) if sample.label is not None]
    labels = [label for _, _, label in known]
    return [int(got.argmax()) for _, got, _ in known], [int(wanted.argmax()) for wanted, _, _ in known], labels, known[0][0].size


def _opened(model: Model) -> tuple[Runner, bool]:
    """The graph of a Model, open in ONNX Runtime, and whether it is one with the same roundings in float32."""
    from edgekit.graph import onnx_file
    from edgekit.graph.bfloat16 import computes_in_bfloat16, rounded_in_float32
    from edgekit.graph.run import Runner

    proto = onnx_file.load(model.path)
    if not computes_in_bfloat16(proto):
        return Runner(model.path), False
    return Runner(rounded_in_float32(onnx_file.infer_shapes(proto)).SerializeToString()), True


def accuracy_on(classes: list[tuple[Any, Any]], samples: Samples) -> tuple[Accuracy | None, str]:
    """Accuracy of the engine beside that of the original, or why there is none."""
    from edgekit.numerics.fidelity import accuracy

    labels = [sample.label for sample in samples.judging]
    if all(label is None for label in labels):
        return None, "the samples have no labels"
    if not classes:
        return None, "the first output holds no classes"
    if classes[0][0].shape[0] != 1:
        return None, "the model's batch is not one"
    _labels_fit(labels, classes[0][0].size, samples.name)
    of_engine = accuracy((got, label) for (_, got), label in zip(classes, labels, strict=True))
    of_reference = accuracy((wanted, label) for (wanted, _), label in zip(classes, labels, strict=True))
    if of_engine is None or of_reference is None:
        return None, "the samples have no labels"
    right = Accuracy(top1=of_engine.top1, top1_reference=of_reference.top1, n=of_engine.n, top5=of_engine.top5, top5_reference=of_reference.top5)
    return right, ""


def _labels_fit(labels: list[int | None], classes: int, name: str) -> None:
    wrong = sorted({label for label in labels if label is not None and not 0 <= label < classes})
    if wrong:
        raise SamplesError(
            f"samples {name}: label {wrong[0]} is none of the model's {classes} classes",
            hint="class indices count from 0, as the model's outputs do; correct labels.csv",
        )

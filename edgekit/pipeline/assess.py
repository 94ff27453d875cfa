"""Judging engines: fidelity and accuracy (kept in the store), latency and memory (measured anew), the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.device.contract import Device
from edgekit.engine.contract import Engine
from edgekit.errors import SamplesError
from edgekit.measure import Found, Judged, Load, Measurement, infer, judge, measure, remarks_on, summarize, why_foreign
from edgekit.model import Model, Signature
from edgekit.pipeline.line import Built
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan
from edgekit.plugins import version_of
from edgekit.report import Accuracy, EngineEntry, Fidelity, Latency, MeasuredOn
from edgekit.samples import Samples
from edgekit.target import Target, cpu_features, host_target

if TYPE_CHECKING:
    from edgekit.samples import Feed

    Outputs = Mapping[str, Any]

SCORES_FILE = "scores.json"
CODE_SUFFIXES = frozenset({".py", ".cc", ".kt", ".txt"})
NOT_METERED = "no power meter was read"


class Scores(msgspec.Struct, frozen=True):
    """Fidelity and accuracy as the store keeps them; ``remark`` says what stood in for an engine that cannot run here."""

    fidelity: Fidelity | None
    fidelity_reason: str
    accuracy: Accuracy | None
    accuracy_reason: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where engines are run.

    Attributes:
        device: the machine.
        is_named: whether the user named it; who names a device says what it is.
    """

    device: Device
    is_named: bool

    def foreign(self, target: Target) -> str:
        """Why times taken here say nothing of a target; "" if they do."""
        facts = self.device.facts
        if facts.url == "local" and target.name == host_target(facts.arch, cpu_features()):
            return ""
        return why_foreign(target, facts) or ("" if self.is_named else f"measured on this {facts.arch}, not on a {target.name}")

    def measured_on(self, target: Target | None) -> MeasuredOn:
        """The machine, as a report names it."""
        facts = self.device.facts
        return MeasuredOn(
            device=facts.name,
            arch=facts.arch,
            emulated=facts.emulated,
            cpu=facts.cpu,
            is_local=facts.url == "local",
            is_target=target is not None and not self.foreign(target),
        )


def runs_here(runtime: str) -> bool:
    """Whether this machine's Python has the runtime (it is not imported)."""
    return bool(version_of(*RUNTIME_PACKAGES.get(runtime, (runtime,))))


RUNTIME_PACKAGES = {"onnxruntime": ("onnxruntime",), "tflite": ("ai-edge-litert", "tflite-runtime"), "tensorrt": ("tensorrt",)}


def scored(built: Built, reference: Model, plan: Plan, bench: Bench, workshop: Workshop) -> Scores:
    """Fidelity and accuracy of an engine on the judging samples, against the float original; kept in the store."""
    samples = plan.samples
    if samples is None:
        return Scores(fidelity=None, fidelity_reason="no samples were given", accuracy=None, accuracy_reason="no samples were given")
    in_graph = built.engine.status != "built"
    runtime = "onnxruntime" if in_graph else built.engine.runtime
    reason = "" if in_graph else why_not_here(built.engine, bench)
    if reason:
        return Scores(fidelity=None, fidelity_reason=reason, accuracy=None, accuracy_reason=reason)

    def make(out: Path) -> None:
        scores = _scores(built, reference, plan, bench, in_graph=in_graph, workshop=workshop)
        (out / SCORES_FILE).write_bytes(msgspec.json.encode(scores))

    decided_by = {
        "engine": built.engine,
        "reference": reference.sha256,
        "signature": reference.signature,
        "samples": samples.sha256,
        "device": bench.device.facts,
        "target": built.chosen.target.name,
        "tools": version_of("onnxruntime", "numpy", *RUNTIME_PACKAGES.get(runtime, (runtime,))),
    }
    folder, _, _ = workshop.folder(f"check {built.chosen.key}", decided_by, make)
    return msgspec.json.decode((folder / SCORES_FILE).read_bytes(), type=Scores)


def _scores(built: Built, reference: Model, plan: Plan, bench: Bench, *, in_graph: bool, workshop: Workshop) -> Scores:
    from edgekit.graph.run import Runner
    from edgekit.numerics.fidelity import accuracy, class_rows, fidelity

    samples = plan.samples
    if samples is None:
        raise ValueError("there are no samples")
    float_runner = Runner(reference.path)

    feeds, same_feeds = itertools.tee(samples.feeds("judging", reference.signature))
    if in_graph:
        graph_runner = Runner(built.model.path)
        outputs: Iterable[Outputs] = (graph_runner(feed) for feed in same_feeds)
    else:
        outputs = infer(built.folder, built.engine, same_feeds, bench.device, signature=reference.signature)
    first = reference.signature.outputs[0].name
    labels = [sample.label for sample in samples.judging]
    classes: list[tuple[Any, Any]] = []

    def pairs() -> Iterator[tuple[Outputs, Outputs]]:
        for feed, got in zip(feeds, outputs, strict=True):
            wanted = float_runner(feed)
            if class_rows(wanted[first]) is not None and any(label is not None for label in labels):
                classes.append((wanted[first], got[first]))
            workshop.watcher.advance()
            yield wanted, got

    near = fidelity(pairs())
    judged_on = bench.measured_on(built.chosen.target)
    kept = Fidelity(
        sqnr_db=near.sqnr_db,
        cosine=near.cosine,
        max_abs=near.max_abs,
        top1_agreement=near.top1_agreement,
        samples=near.samples,
        judged_on=judged_on,
    )
    remark = (
        "Fidelity is that of the graph the engine will be built from, run in ONNX Runtime; the engine itself has not been run." if in_graph else ""
    )
    if not classes:
        reason = "the samples have no labels" if not any(label is not None for label in labels) else "the first output holds no classes"
        return Scores(fidelity=kept, fidelity_reason="", accuracy=None, accuracy_reason=reason, remark=remark)
    _labels_fit(labels, classes[0][0].size, samples.name)
    of_engine = accuracy((got, label) for (_, got), label in zip(classes, labels, strict=True))
    of_reference = accuracy((wanted, label) for (wanted, _), label in zip(classes, labels, strict=True))
    if of_engine is None or of_reference is None:
        return Scores(fidelity=kept, fidelity_reason="", accuracy=None, accuracy_reason="the samples have no labels", remark=remark)
    right = Accuracy(top1=of_engine.top1, top1_reference=of_reference.top1, n=of_engine.n, top5=of_engine.top5, top5_reference=of_reference.top5)
    return Scores(fidelity=kept, fidelity_reason="", accuracy=right, accuracy_reason="", remark=remark)


def _labels_fit(labels: list[int | None], classes: int, name: str) -> None:
    wrong = sorted({label for label in labels if label is not None and not 0 <= label < classes})
    if wrong:
        raise SamplesError(
            f"samples {name}: label {wrong[0]} is none of the model's {classes} classes",
            hint="class indices count from 0, as the model's outputs do; correct labels.csv",
        )


def why_not_here(engine: Engine, bench: Bench) -> str:
    """Why an engine cannot be run on a device; "" if nothing is known against it."""
    if engine.status != "built":
        return engine.status
    if bench.device.facts.url == "local" and not runs_here(engine.runtime):
        return f"{RUNTIME_PACKAGES.get(engine.runtime, (engine.runtime,))[0]} is not installed here"
    return ""


def timed(built: Built, plan: Plan, bench: Bench, workshop: Workshop, load: Load) -> tuple[Measurement | None, str]:
    """Time an engine; None and the reason where it cannot run."""
    reason = why_not_here(built.engine, bench)
    if reason:
        return None, reason
    workshop.watcher.begin(f"measure {built.chosen.key}")
    feeds = timing_feeds(plan.samples, built.model.signature)
    measurement = measure(built.folder, built.engine, feeds, bench.device, load, signature=built.model.signature)
    workshop.watcher.end(f"{len(measurement.latencies_ns)} queries")
    return measurement, ""


def timing_feeds(samples: Samples | None, signature: Signature) -> Iterator[Feed]:
    """Inputs to time with: judging samples, or random numbers where there are none."""
    return samples.feeds("judging", signature) if samples is not None else random_feeds(signature)


def random_feeds(signature: Signature, count: int = 4) -> Iterator[Feed]:
    """Inputs of a signature's shapes, uniform in 0 to 1 (integers: zeros), the same every time; open sizes become 1."""
    import numpy as np

    generator = np.random.default_rng(0)
    for _ in range(count):
        feed: Feed = {}
        for tensor in signature.inputs:
            shape = [size if isinstance(size, int) else 1 for size in tensor.shape]
            values = generator.random(shape) if np.issubdtype(np.dtype(tensor.dtype), np.floating) else np.zeros(shape)
            feed[tensor.name] = values.astype(tensor.dtype)
        yield feed


def latency_of(measurement: Measurement) -> Latency:
    """The figures and the raw times of a measurement, as a report holds them."""
    return Latency(**msgspec.structs.asdict(summarize(measurement)), samples_ns=measurement.latencies_ns)


def entry_of(built: Built, scores: Scores, measurement: Measurement | None, reason: str, plan: Plan, bench: Bench) -> EngineEntry:
    """All that is known of an engine, its budget judged."""
    one, engine = built.chosen, built.engine
    entry = EngineEntry(
        target=one.target.name,
        asked=one.asked,
        runtime=one.runtime,
        path=f"engines/{one.key}/{engine.file}",
        bytes=engine.bytes,
        sha256=engine.sha256,
        precision=engine.precision,
        status=engine.status,
        fidelity=scores.fidelity,
        fidelity_reason=scores.fidelity_reason,
        accuracy=scores.accuracy,
        accuracy_reason=scores.accuracy_reason,
        latency_reason=reason,
        memory_reason=reason,
        energy_reason=reason or NOT_METERED,
        details=engine.details,
        remarks=(scores.remark,) if scores.remark else (),
        snippets=tuple(f"engines/{one.key}/{path.name}" for path in sorted(built.folder.iterdir()) if path.suffix in CODE_SUFFIXES),
    )
    if measurement is not None:
        entry = with_measurement(entry, measurement, bench.measured_on(one.target))
    return msgspec.structs.replace(entry, verdict=_verdict(entry, plan, bench, one.target))


def with_measurement(entry: EngineEntry, measurement: Measurement, where: MeasuredOn) -> EngineEntry:
    """The entry with times, memory and the conditions they were taken under."""
    memory = measurement.memory
    return msgspec.structs.replace(
        entry,
        latency=latency_of(measurement),
        latency_reason="",
        memory=memory if memory.peak_mib is not None else None,
        memory_reason="" if memory.peak_mib is not None else "the system does not tell",
        energy_reason=NOT_METERED,
        measured_on=where,
        conditions=measurement.summary(),
        remarks=(*entry.remarks, *remarks_on(measurement)),
    )


def _verdict(entry: EngineEntry, plan: Plan, bench: Bench, target: Target) -> tuple[Judged, ...]:
    fidelity, accuracy, latency = entry.fidelity, entry.accuracy, entry.latency
    foreign = bench.foreign(target)
    found = Found(
        sqnr_db=fidelity.sqnr_db if fidelity else None,
        is_exact=fidelity is not None and fidelity.sqnr_db is None,
        agreement=fidelity.top1_agreement if fidelity else None,
        accuracy_drop=accuracy.top1_reference - accuracy.top1 if accuracy else None,
        latency_ms=latency.p50_ms if latency and not foreign else None,
        bytes=entry.bytes if entry.status == "built" else None,
        reasons={
            "min_sqnr_db": entry.fidelity_reason,
            "min_agreement": entry.fidelity_reason or "the first output holds no classes",
            "max_accuracy_drop": entry.accuracy_reason,
            "max_latency_ms": entry.latency_reason or foreign,
            "max_bytes": entry.status,
        },
    )
    return judge(plan.budget, found)

"""The Report: everything a build saw and did, as plain data under one schema.

Nothing here computes from engines or files: the pipeline fills the structs, the renderers show them. A block that is
missing is ``None`` and has its reason beside it in ``NAME_reason``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgekit.engine.contract import Delegation, NpuEstimate
from edgekit.measure import Instructions, Judged, Memory, Metric
from edgekit.model import Signature
from edgekit.recipe import Recipe

NOT_A_LATENCY = "emulated: not a latency"


class MeasuredOn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine that something was measured or judged on.

    Attributes:
        device: what it calls itself, or its URL.
        arch: as ``uname -m`` says.
        emulated: whether its times mean nothing for real hardware.
        cpu: model name of its processor.
        is_local: whether it is the machine that ran edgekit.
        is_target: whether it is of the kind the engine was made for.
    """

    device: str
    arch: str
    emulated: bool = False
    cpu: str = ""
    is_local: bool = True
    is_target: bool = False


class Fidelity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How near an engine's outputs are to the float original's, over the judging samples.

    Attributes:
        sqnr_db: signal to quantization noise, decibels; None where the outputs are equal bit for bit.
        cosine: of all outputs laid end to end, -1 to 1.
        max_abs: largest difference of one element, in the output's unit.
        top1_agreement: share of samples whose largest output stays the same, 0 to 1; None where there are no classes.
        samples: how many were judged.
        judged_on: the machine the engine ran on.
    """

    sqnr_db: float | None
    cosine: float
    max_abs: float
    top1_agreement: float | None
    samples: int
    judged_on: MeasuredOn


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Share of labelled samples that are right, 0 to 1, of the engine and of the float original on the same samples.

    Attributes:
        top1: the largest output is the label.
        top1_reference: the same of the float original.
        n: how many labelled samples.
        top5: the label is among the five largest outputs; None where there are fewer than six classes.
        top5_reference: the same of the float original.
        confusion: how many samples of a class (row) were taken for which (column) by the engine; empty where it was not counted.
    """

    top1: float
    top1_reference: float
    n: int
    top5: float | None = None
    top5_reference: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times of single queries, one after the other, from inputs in memory to outputs in memory.

    Attributes:
        p50_ms: median.
        p90_ms: 90th percentile; None where too few queries stand behind it, and ``p90_reason`` says how many are needed.
        p99_ms: 99th percentile, likewise.
        mean_ms: mean.
        ci95_ms: 95 % confidence interval of the mean, [low, high].
        n: timed queries.
        warmup: queries before these that are not counted.
        first_ms: the first query after loading.
        load_ms: from the file to an engine ready for its first query.
        samples_ns: each timed query in order, nanoseconds; of a program that tells no single times, one number a block of queries.
        p90_reason, p99_reason: why the percentile is missing.
        invalid: reasons why these times must not be used, such as throttling; empty if they may be.
    """

    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    ci95_ms: tuple[float, float]
    n: int
    warmup: int
    first_ms: float
    load_ms: float
    samples_ns: tuple[int, ...] = ()
    p90_reason: str = ""
    p99_reason: str = ""
    invalid: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """What a time of ``samples_ns`` is of, in a word."""
        return "query" if len(self.samples_ns) in (0, self.n) else "block"


class Energy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Electric energy of a query.

    Attributes:
        mj_per_query: millijoules above idle.
        mean_mw: mean power while queries ran.
        source: the rail or meter that was read.
    """

    mj_per_query: float
    mean_mw: float
    source: str


class EngineEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One engine: what it is, how near it is to the original, what it costs.

    Attributes:
        target: name of the target; of a float reference, ``reference``.
        asked: what the user typed for it.
        runtime: name of the runtime.
        path: the engine's file, relative to the report's folder.
        bytes: its size.
        compressed_bytes: the same after DEFLATE at level 9, as in a zip, of models that a step of compression has been at.
        sha256: of it.
        precision: what most of the arithmetic is done in.
        status: ``built``, or why not.
        instructions: of a query, counted where an emulator ran it.
        metrics: what else it was judged by, by name: precision, recall and F1 of classes, and what the recipe names.
        measured_on: where latency and memory were taken, or instructions counted; None where nothing was. What is emulated has no latency.
        conditions: what the times were taken under; see :meth:`edgekit.measure.Measurement.summary`.
        verdict: the budget, line by line.
        remarks: what a reader should know, in sentences.
        details: what the backend found worth reporting (operators, nodes left in float, …).
        delegation: what the runtime's default delegate takes of it, of runtimes that have one.
        snippets: files beside the engine that run it, relative to the report's folder.
        npu: what an NPU's compiler estimates of it; never measured.
    """

    target: str
    runtime: str
    path: str
    bytes: int
    sha256: str
    precision: str
    status: str
    compressed_bytes: int | None = None
    asked: str = ""
    fidelity: Fidelity | None = None
    fidelity_reason: str = ""
    accuracy: Accuracy | None = None
    accuracy_reason: str = ""
    metrics: dict[str, Metric] = {}
    latency: Latency | None = None
    latency_reason: str = ""
    memory: Memory | None = None
    memory_reason: str = ""
    energy: Energy | None = None
    energy_reason: str = ""
    instructions: Instructions | None = None
    instructions_reason: str = ""
    measured_on: MeasuredOn | None = None
    conditions: dict[str, Any] = {}
    verdict: tuple[Judged, ...] = ()
    remarks: tuple[str, ...] = ()
    details: dict[str, Any] = {}
    delegation: Delegation | None = None
    snippets: tuple[str, ...] = ()
    npu: NpuEstimate | None = None

    def __post_init__(self) -> None:
        if self.latency is not None and self.measured_on is not None and self.measured_on.emulated:
            raise ValueError(f"{self.key}: {NOT_A_LATENCY}")

    @property
    def key(self) -> str:
        """``TARGET-RUNTIME``."""
        return f"{self.target}-{self.runtime}"


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was built from.

    Attributes:
        source: path as the user gave it, or the class of a live model.
        format: ``keras``, ``torch``, ``onnx``, …
        sha256: of the source; of a live model, of its exported graph.
        bytes: size of the source.
        signature: inputs, outputs, preprocessing, labels.
        parameters: numbers in constants; None if not counted.
        macs: multiply-adds of one query; None if not counted.
    """

    source: str
    format: str
    sha256: str
    bytes: int
    signature: Signature
    parameters: int | None = None
    macs: int | None = None


class TargetEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target that was asked for, and what the name became.

    Attributes:
        key: ``TARGET-RUNTIME``.
        asked: what the user typed, such as ``rpi5``.
        name: the target.
        runtime: the runtime chosen.
        arch: its architecture.
        title: what people call it.
        runtime_version: the version the target's facts hold for.
    """

    key: str
    asked: str
    name: str
    runtime: str
    arch: str
    title: str = ""
    runtime_version: str = ""


class SamplesEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What calibrated and what judged; no sample does both."""

    name: str
    sha256: str
    calibrating: int
    judging: int
    licence: str = ""
    skipped: tuple[str, ...] = ()


class StepEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step, what it did and what it cost.

    Attributes:
        name: the pass or frontend; ``compile`` for a backend.
        target: key of the target it was made for, or ``all``.
        options: its fields, as they were.
        did: what changed, in numbers and words.
        wall_s: seconds by the clock; of a cached step, the time to find it.
        cpu_s: processor seconds, children included.
        cached: whether the result lay in the store already.
        nodes_before, nodes_after: nodes of the graph, where known.
        bytes_before, bytes_after: size of the model's file, where known.
        tools: versions of the packages that decided the result.
    """

    name: str
    target: str = "all"
    options: dict[str, Any] = {}
    did: dict[str, Any] = {}
    wall_s: float = 0.0
    cpu_s: float = 0.0
    cached: bool = False
    nodes_before: int | None = None
    nodes_after: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    tools: dict[str, str] = {}


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model as it is before a recipe that compresses begins, and after each of its steps; its graph, run in ONNX Runtime.

    Attributes:
        target: key of the target it is on its way to.
        after: the step; empty for the model before the first.
        parameters: constants of its layers.
        macs: multiply-adds of a query.
        zeros: share of its weights that are zero, 0 to 1.
        zip_bytes: its constants after DEFLATE at level 9, as in a zip.
        sqnr_db: of its outputs against the float original's; None where they are equal bit for bit, or without samples.
        top1_agreement: share of samples whose largest output stays the same; None where there are no classes.
        top1: share of labelled samples that are right; None without labels.
        samples: how many were judged; 0 where there were none.
    """

    target: str
    after: str
    parameters: int
    macs: int
    zeros: float
    zip_bytes: int
    sqnr_db: float | None = None
    top1_agreement: float | None = None
    top1: float | None = None
    samples: int = 0


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine that ran edgekit."""

    arch: str
    cpu: str
    os: str
    python: str


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a build was given, did, made and measured.

    Attributes:
        schema: version of this file format.
        edgekit: version of edgekit.
        created: date and time with offset, ISO 8601.
        model: what was built from.
        recipe: what was done to it, and the budget.
        targets: what was asked for, in order.
        samples: what calibrated and judged; None if the user gave none.
        tools: versions of the packages that decided results, by package.
        steps: in the order they ran.
        engines: one a target, in the order of ``targets``.
        stages: of recipes that compress: what each step made of size, work and fidelity.
        references: the float original as measured, one a device, for before and after.
        wall_s: the whole build by the clock.
        host: the machine that ran edgekit.
        remarks: what concerns the whole build, in sentences.
    """

    schema: Literal[1]
    edgekit: str
    created: str
    model: ModelEntry
    recipe: Recipe
    targets: tuple[TargetEntry, ...]
    samples: SamplesEntry | None
    tools: dict[str, str]
    steps: tuple[StepEntry, ...]
    engines: tuple[EngineEntry, ...]
    references: tuple[EngineEntry, ...] = ()
    stages: tuple[Stage, ...] = ()
    wall_s: float
    host: Host
    remarks: tuple[str, ...] = ()

    def summary_rows(self) -> tuple[tuple[str, ...], ...]:
        """The summary table, one row a float reference and engine, of :meth:`summary_columns`."""
        from edgekit.report.summary import summary_of

        return summary_of(self)[1]

    def summary_columns(self) -> tuple[str, ...]:
        """The columns of the summary table: those that some engine has something for."""
        from edgekit.report.summary import summary_of

        return summary_of(self)[0]

    def __str__(self) -> str:
        from edgekit.report.summary import text

        return text(self)

    def __repr__(self) -> str:
        from edgekit.report.words import verdict_sentence

        return f"<Report of {self.model.source} for {', '.join(entry.key for entry in self.engines)}: {verdict_sentence(self)[1]}>"

    def _repr_html_(self) -> str:
        from edgekit.report.card import render_card

        return render_card(self)

"""The tables of the HTML report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekit.report import npu
from edgekit.report.charts import mark
from edgekit.report.markup import Markup, element, joined
from edgekit.report.metrics import METRIC_COLUMNS, confusion_lines, metric_rows
from edgekit.report.record import EngineEntry, Report, StepEntry
from edgekit.report.stages import STAGE_COLUMNS, STAGE_TEXT, stage_rows
from edgekit.report.summary import TEXT_COLUMNS, condition, condition_keys, summary_of
from edgekit.report.words import (
    NONE,
    budget_line,
    budget_value,
    change,
    done,
    has_something,
    heading,
    label,
    number,
    percent,
    plain,
    port,
    seconds,
    short,
    size,
    sqnr,
    where,
)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: frozenset[str], kind: str = "stack") -> Markup:
    """A table; on a narrow page each row of a ``stack`` becomes a card, and a ``wide`` one scrolls by itself."""
    aligned = ["text" if column in left else "figure" for column in columns]
    head = element("tr", *(element("th", column, class_=side, scope="col") for column, side in zip(columns, aligned, strict=True)))
    body = [
        element(
            "tr",
            *(element("td", cell, class_=_kinds(cell, side), data_label=column) for cell, side, column in zip(row, aligned, columns, strict=True)),
        )
        for row in rows
    ]
    drawn = element("table", element("thead", head), element("tbody", *body), class_=kind)
    return element("div", drawn, class_="scroll")


def _kinds(cell: str, side: str) -> str:
    return f"{side} none" if cell in ("", NONE) else side


def outcome_cell(outcome: str) -> Markup:
    """An outcome's sign and word."""
    return element("span", mark(outcome), outcome, class_=f"outcome {outcome.replace(' ', '-')}")


def summary_table(report: Report) -> Markup:
    """The table the terminal shows too."""
    return table(*summary_of(report), left=TEXT_COLUMNS, kind="stack dense")


def verdict_table(report: Report) -> Markup | None:
    """The budget, line by line, for each engine."""
    rows = []
    for entry in report.engines:
        for index, judgement in enumerate(entry.verdict):
            name = element("span", heading(report, entry), class_="again" if index else None)
            rows.append((name, budget_line(judgement), budget_value(judgement), outcome_cell(judgement.outcome), judgement.remark))
    columns = ("Engine", "Budget", "Found", "Outcome", "Remark")
    return table(columns, rows, left=frozenset(columns) - {"Found"}) if rows else None


def fidelity_table(report: Report) -> Markup:
    """How near each engine's outputs are to the float original's, and how many labelled samples it gets right."""
    columns = ("Engine", "SQNR", "Cosine", "Max error", "Top-1 agreement", "Samples", "Top-1 (float)", "Top-5 (float)", "Judged")
    rows = [(heading(report, entry), *_fidelity_cells(entry)) for entry in report.engines]
    return table(columns, rows, left=frozenset({"Engine", "Judged"}))


def _fidelity_cells(entry: EngineEntry) -> tuple[str, ...]:
    accuracy = entry.accuracy
    top1 = f"{percent(accuracy.top1)} ({percent(accuracy.top1_reference)})" if accuracy else NONE
    top5 = NONE
    if accuracy and accuracy.top5 is not None and accuracy.top5_reference is not None:
        top5 = f"{percent(accuracy.top5)} ({percent(accuracy.top5_reference)})"
    found = entry.fidelity
    if found is None:
        return (NONE,) * 5 + (top1, top5, entry.fidelity_reason or NONE)
    agreement = NONE if found.top1_agreement is None else percent(found.top1_agreement)
    figures = (sqnr(found.sqnr_db), f"{found.cosine:.5f}", number(found.max_abs), agreement, f"{found.samples:,}")
    return (*figures, top1, top5, where(found.judged_on, entry.target))


def metrics_table(report: Report) -> Markup | None:
    """What else engines were judged by, and which classes they take for which."""
    rows = metric_rows(report)
    if not rows:
        return None
    return joined(table(METRIC_COLUMNS, rows, left=frozenset({"Engine", "Metric"})), *(element("p", line) for line in confusion_lines(report)))


def delegation_table(report: Report) -> Markup | None:
    """The operators that the runtime's delegate leaves to its own kernels."""
    rows = [
        (heading(report, entry), left.node, left.op, left.types, left.shapes, left.reason, left.remedy)
        for entry in report.engines
        if entry.delegation is not None
        for left in entry.delegation.left
    ]
    columns = ("Engine", "Node", "Operator", "Types", "Shapes", "Reason", "Remedy")
    return table(columns, rows, left=frozenset(columns)) if rows else None


def npu_tables(report: Report) -> Markup | None:
    """What NPUs' compilers estimate, and the operators that they leave to the CPU."""
    (columns, rows), on_cpu = npu.estimate_table(report), list(npu.cpu_rows(report))
    if not rows:
        return None
    estimates = table(columns, rows, left=frozenset(columns), kind="wide")
    return joined(estimates, table(npu.CPU_COLUMNS, on_cpu, left=npu.CPU_TEXT)) if on_cpu else estimates


def stages_table(report: Report) -> Markup | None:
    """What each step that compresses made of the model."""
    rows = stage_rows(report)
    return table(STAGE_COLUMNS, rows, left=STAGE_TEXT) if rows else None


def steps_table(report: Report) -> Markup:
    """What each step did and cost."""
    most = max((step.wall_s for step in report.steps), default=0.0) or 1.0
    rows = [_step_cells(index, step, most) for index, step in enumerate(report.steps, 1)]
    columns = ("#", "Step", "What it did", "Nodes", "Model size", "CPU", "Wall")
    return table(columns, rows, left=frozenset({"Step", "What it did"}))


def _step_cells(index: int, step: StepEntry, most: float) -> tuple[str, ...]:
    made_for = "for all targets" if step.target == "all" else f"for {step.target}"
    name = joined(element("b", step.name), element("small", made_for))
    chosen = has_something(step.options)
    options = element("small", plain(chosen)) if chosen else None
    bar = element("span", element("span", style=f"width:{step.wall_s / most * 100:.1f}%"), class_="cost")
    cached = element("small", "from the store") if step.cached else None
    return (
        str(index),
        name,
        joined(done(step.did), options),
        change(step.nodes_before, step.nodes_after, str),
        change(step.bytes_before, step.bytes_after, size),
        seconds(step.cpu_s),
        joined(seconds(step.wall_s), bar, cached),
    )


def conditions_table(report: Report) -> Markup | None:
    """What the times were taken under, one engine a column."""
    measured: list[EngineEntry] = [entry for entry in (*report.references, *report.engines) if entry.conditions]
    if not measured:
        return None
    keys = condition_keys(measured)
    rows = [
        ("machine", *(where(entry.measured_on, entry.target).removeprefix("on ") if entry.measured_on else NONE for entry in measured)),
        ("queries", *(_queries(entry) for entry in measured)),
        ("energy", *(_energy(entry) for entry in measured)),
        *((label(key), *(condition(key, entry.conditions.get(key)) for entry in measured)) for key in keys),
    ]
    columns = ("Condition", *(heading(report, entry) for entry in measured))
    return table(columns, rows, left=frozenset(columns), kind="wide")


def _queries(entry: EngineEntry) -> str:
    return f"{entry.latency.n:,} after {entry.latency.warmup:,} to warm up" if entry.latency else NONE


def _energy(entry: EngineEntry) -> str:
    if entry.energy is None:
        return f"not measured: {entry.energy_reason}" if entry.energy_reason else NONE
    return f"{number(entry.energy.mj_per_query)} mJ a query, {number(entry.energy.mean_mw)} mW ({entry.energy.source})"


def pairs(items: Iterable[tuple[str, str]]) -> Markup:
    """Names and what they are."""
    return element("dl", *(joined(element("dt", name), element("dd", value)) for name, value in items))


def given(report: Report) -> Markup:
    """What the build was given: model, samples, targets, tools."""
    model, samples, host = report.model, report.samples, report.host
    ports = [
        (f"{kind} {tensor.name}", port(tensor))
        for kind, group in (("input", model.signature.inputs), ("output", model.signature.outputs))
        for tensor in group
    ]
    about_model = [
        ("source", model.source),
        ("format", model.format),
        ("size", size(model.bytes)),
        ("sha256", element("code", short(model.sha256))),
        ("parameters", plain(model.parameters)),
        ("multiply-adds", plain(model.macs)),
        *ports,
    ]
    about_samples = (
        []
        if samples is None
        else [
            ("name", samples.name),
            ("calibrate", f"{samples.calibrating:,}"),
            ("judge", f"{samples.judging:,} others"),
            ("licence", samples.licence or NONE),
            ("left out", plain(samples.skipped)),
            ("sha256", element("code", short(samples.sha256))),
        ]
    )
    about_targets = [(target.asked, f"{target.name}, {target.runtime} {target.runtime_version} ({target.arch})") for target in report.targets]
    about_host = [("processor", f"{host.cpu} ({host.arch})"), ("system", host.os), ("python", host.python), *report.tools.items()]
    blocks = (
        ("Model", about_model),
        ("Samples", about_samples or [("none", "nothing was judged")]),
        ("Targets", about_targets),
        ("Made with", about_host),
    )
    return element("div", *(element("div", element("h3", name), pairs(items)) for name, items in blocks), class_="blocks")


def files_table(report: Report) -> Markup:
    """The engines' files, as links from the report's folder."""
    rows = [
        (
            joined(heading(report, entry), element("small", entry.status)),
            joined(link(entry.path), *(joined(element("br"), link(path)) for path in entry.snippets)),
            joined(size(entry.bytes), element("small", f"{size(entry.compressed_bytes)} as zip") if entry.compressed_bytes is not None else None),
            element("code", short(entry.sha256)),
            plain(entry.details),
        )
        for entry in report.engines
    ]
    columns = ("Engine", "Files", "Size", "sha256", "What the backend found")
    return table(columns, rows, left=frozenset(columns) - {"Size"})


def link(path: str) -> Markup:
    """A file beside the report; what is no plain relative path is shown and not linked."""
    if path.startswith(("/", "\\", "//")) or ":" in path:
        return element("span", path)
    return element("a", path, href=path)

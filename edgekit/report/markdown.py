"""The Report as Markdown: reads well as text, in a code review and on a project page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from edgekit.report import npu
from edgekit.report.charts import is_drawable
from edgekit.report.metrics import METRIC_COLUMNS, confusion_lines, metric_rows
from edgekit.report.record import EngineEntry, Report
from edgekit.report.stages import STAGE_COLUMNS, STAGE_INTRO, STAGE_TEXT, stage_rows
from edgekit.report.summary import TEXT_COLUMNS, condition, condition_keys, notes, summary_of
from edgekit.report.training import TRAINING_INTRO, courses
from edgekit.report.words import (
    NONE,
    budget_line,
    budget_value,
    change,
    done,
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
    verdict_sentence,
    where,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_BARS = "▁▂▃▄▅▆▇█"
_MARKS = {"kept": "✓ kept", "broken": "✗ broken", "not judged": "\N{EN DASH} not judged"}


def render_markdown(report: Report) -> str:
    """The whole report."""
    sections = (
        _head(report),
        _summary(report),
        _verdict(report),
        _fidelity(report),
        _metrics(report),
        _stages(report),
        _training(report),
        _delegation(report),
        _latency(report),
        _npu(report),
        _steps(report),
        _conditions(report),
        _given(report),
        _files(report),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: frozenset[str]) -> str:
    """A Markdown table; columns not in ``left`` are aligned right."""
    lines = [_row(columns), "|" + "|".join(":--" if column in left else "--:" for column in columns) + "|"]
    return "\n".join([*lines, *(_row([escaped(cell) for cell in row]) for row in rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _all(report: Report) -> tuple[EngineEntry, ...]:
    return (*report.references, *report.engines)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _head(report: Report) -> str:
    line = f"recipe {report.recipe.name} · {report.created} · edgekit {report.edgekit} · {seconds(report.wall_s)}"
    return f"# {escaped(report.model.source)}\n\n{escaped(line)}\n\n**{verdict_sentence(report)[1]}**"


def _summary(report: Report) -> str:
    return f"## Summary\n\n{table(*summary_of(report), left=TEXT_COLUMNS)}\n\n{_listed(notes(report))}"


def _verdict(report: Report) -> str:
    rows = [
        (heading(report, entry), budget_line(judgement), budget_value(judgement), _MARKS[judgement.outcome], judgement.remark)
        for entry in report.engines
        for judgement in entry.verdict
    ]
    if not rows:
        return ""
    columns = ("Engine", "Budget", "Found", "Outcome", "Remark")
    return "## Verdict\n\n" + table(columns, rows, left=frozenset(columns) - {"Found"})


def _fidelity(report: Report) -> str:
    rows = []
    for entry in report.engines:
        found = entry.fidelity
        if found is None:
            rows.append((heading(report, entry), NONE, NONE, NONE, NONE, NONE, _accuracy(entry), entry.fidelity_reason))
            continue
        agreement = NONE if found.top1_agreement is None else percent(found.top1_agreement)
        figures = (sqnr(found.sqnr_db), f"{found.cosine:.5f}", number(found.max_abs), agreement, str(found.samples), _accuracy(entry))
        rows.append((heading(report, entry), *figures, f"judged {where(found.judged_on, entry.target)}"))
    columns = ("Engine", "SQNR", "cosine", "max error", "top-1 agr.", "samples", "top-1 (float)", "Remark")
    return "## Fidelity to the float original\n\n" + table(columns, rows, left=frozenset({"Engine", "Remark"}))


def _metrics(report: Report) -> str:
    rows = metric_rows(report)
    if not rows:
        return ""
    told = "## Metrics\n\n" + table(METRIC_COLUMNS, rows, left=frozenset({"Engine", "Metric"}))
    lines = confusion_lines(report)
    return f"{told}\n\n{_listed(lines)}" if lines else told


def _delegation(report: Report) -> str:
    rows = [
        (heading(report, entry), left.node, left.op, left.types, left.shapes, left.reason, left.remedy)
        for entry in report.engines
        if entry.delegation is not None
        for left in entry.delegation.left
    ]
    columns = ("Engine", "Node", "Operator", "Types", "Shapes", "Reason", "Remedy")
    return "## Left to the runtime's own kernels\n\n" + table(columns, rows, left=frozenset(columns)) if rows else ""


def _accuracy(entry: EngineEntry) -> str:
    if entry.accuracy is None:
        return NONE
    return f"{percent(entry.accuracy.top1)} ({percent(entry.accuracy.top1_reference)}), n = {entry.accuracy.n}"


def _latency(report: Report) -> str:
    lines = []
    for entry in _all(report):
        if entry.latency is None:
            lines.append(f"- {escaped(heading(report, entry))}: {escaped(entry.latency_reason or 'not measured')}")
            continue
        drawn = sparkline(entry.latency.samples_ns)
        timed = f"n = {entry.latency.n:,} after {entry.latency.warmup} warm-up queries"
        lines.append(f"- {escaped(heading(report, entry))}: `{drawn}` {timed}" if drawn else f"- {escaped(heading(report, entry))}: {timed}")
    return "## Latency over time\n\nEach bar is the median of a stretch of queries, from the fastest stretch (▁) to the slowest (█).\n\n" + "\n".join(
        lines
    )


def _npu(report: Report) -> str:
    (columns, rows), on_cpu = npu.estimate_table(report), list(npu.cpu_rows(report))
    if not rows:
        return ""
    told = f"## NPU, as estimated\n\n{npu.INTRO}\n\n{table([escaped(column) for column in columns], rows, left=frozenset(map(escaped, columns)))}"
    return f"{told}\n\n{table(npu.CPU_COLUMNS, on_cpu, left=npu.CPU_TEXT)}" if on_cpu else told


def sparkline(samples_ns: Sequence[int], stretches: int = 32) -> str:
    """Medians of equal stretches as bars, scaled between the least and the most; flat if they differ by less than 2 %."""
    if len(samples_ns) < stretches:
        return ""
    edges = [round(index * len(samples_ns) / stretches) for index in range(stretches + 1)]
    medians = [sorted(samples_ns[low:high])[(high - low) // 2] for low, high in pairwise(edges)]
    least, most = min(medians), max(medians)
    if most - least < 0.02 * least:
        return _BARS[0] * stretches
    return "".join(_BARS[round((median - least) / (most - least) * (len(_BARS) - 1))] for median in medians)


def _stages(report: Report) -> str:
    rows = stage_rows(report)
    return f"## Compression\n\n{STAGE_INTRO}\n\n" + table(STAGE_COLUMNS, rows, left=STAGE_TEXT) if rows else ""


def _training(report: Report) -> str:
    """Each training in a line, its checks as bars: what was held out, or else what trained."""
    lines = []
    for course in courses(report.steps):
        drawn = bars([value for _, value in course.of("held_out") or course.of("loss")])
        lines.append(f"- {escaped(course.name)}: {f'`{drawn}` ' if drawn else ''}{escaped(course.sentence())}")
    return f"## Training\n\n{TRAINING_INTRO} Each bar is a check, from the least loss (▁) to the largest (█).\n\n" + "\n".join(lines) if lines else ""


def bars(values: Sequence[float], most: int = 32) -> str:
    """Finite values as bars, scaled between the least and the largest; of many, some at even distances, the first and the last among them."""
    finite = [value for value in values if is_drawable(value)]
    if not finite:
        return ""
    shown = finite if len(finite) <= most else [finite[round(index * (len(finite) - 1) / (most - 1))] for index in range(most)]
    least, span = min(shown), max(shown) - min(shown)
    return "".join(_BARS[round((value - least) / span * (len(_BARS) - 1)) if span else 0] for value in shown)


def _steps(report: Report) -> str:
    rows = [
        (
            str(index),
            step.name,
            step.target,
            done(step.did),
            change(step.nodes_before, step.nodes_after, str),
            change(step.bytes_before, step.bytes_after, size),
            seconds(step.wall_s),
            seconds(step.cpu_s),
            "from the store" if step.cached else "now",
        )
        for index, step in enumerate(report.steps, 1)
    ]
    columns = ("#", "Step", "For", "Did", "Nodes", "Size", "Wall", "CPU", "Made")
    return "## Steps\n\n" + table(columns, rows, left=frozenset({"Step", "For", "Did", "Made"}))


def _conditions(report: Report) -> str:
    measured = [entry for entry in _all(report) if entry.conditions]
    if not measured:
        return ""
    rows = [(label(key), *(condition(key, entry.conditions.get(key)) for entry in measured)) for key in condition_keys(measured)]
    columns = ("Condition", *(escaped(heading(report, entry)) for entry in measured))
    return "## Conditions\n\n" + table(columns, rows, left=frozenset(columns))


def _given(report: Report) -> str:
    model, host = report.model, report.host
    ports = [
        f"{kind} {tensor.name}: {port(tensor)}"
        for kind, group in (("input", model.signature.inputs), ("output", model.signature.outputs))
        for tensor in group
    ]
    lines = [
        f"model: {model.source} ({model.format}, {size(model.bytes)}, sha256 {short(model.sha256)})",
        f"parameters: {plain(model.parameters)}; multiply-adds a query: {plain(model.macs)}",
        *ports,
        *_samples(report),
        *(f"target {target.asked}: {target.name}, {target.runtime} {target.runtime_version} ({target.arch})" for target in report.targets),
        f"host: {host.cpu} ({host.arch}), {host.os}, Python {host.python}",
        "tools: " + ", ".join(f"{name} {version}" for name, version in report.tools.items()),
    ]
    return f"## What was given\n\n{_listed(lines)}"


def _samples(report: Report) -> list[str]:
    samples = report.samples
    if samples is None:
        return ["samples: none, so nothing was judged"]
    split = f"{samples.calibrating} calibrate, {samples.judging} others judge"
    licence = f", licence {samples.licence}" if samples.licence else ""
    return [f"samples {samples.name}: {split}{licence} (sha256 {short(samples.sha256)})", *(f"left out: {reason}" for reason in samples.skipped)]


def _size(entry: EngineEntry) -> str:
    return size(entry.bytes) + ("" if entry.compressed_bytes is None else f" ({size(entry.compressed_bytes)} as zip)")


def _files(report: Report) -> str:
    rows = [
        (heading(report, entry), entry.path, _size(entry), short(entry.sha256), ", ".join(entry.snippets) or NONE, plain(entry.details))
        for entry in report.engines
    ]
    columns = ("Engine", "File", "Size", "sha256", "Snippets", "Details")
    return "## Files\n\n" + table(columns, rows, left=frozenset(columns) - {"Size"})

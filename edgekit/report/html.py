"""The Report as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.report import npu, tables
from edgekit.report.charts import Bar, histogram, learning, line_key, lines_legend, mark, over_time, shared_axis, size_bars, swatch
from edgekit.report.markup import Markup, element, joined
from edgekit.report.page import file_name, navigation, page, section
from edgekit.report.record import EngineEntry, Latency, MeasuredOn, Report
from edgekit.report.stages import STAGE_INTRO
from edgekit.report.summary import speed
from edgekit.report.training import TRAINING_INTRO, Course, courses
from edgekit.report.words import (
    REFERENCE,
    budget_line,
    budget_value,
    delegated,
    heading,
    is_built,
    judged_elsewhere,
    machine,
    number,
    outcome,
    percent,
    seconds,
    size,
    sqnr,
    title,
    verdict_sentence,
    where,
    where_measured,
    work,
)

SERIES = 6


def render_html(report: Report) -> str:
    """The whole page."""
    sections = (
        ("engines", "Engines", None, _cards(report)),
        ("summary", "Summary", None, joined(tables.summary_table(report), _remarks(report.remarks))),
        ("verdict", "Verdict", "The budget of the recipe, line by line.", tables.verdict_table(report)),
        ("size", "Size", "Files before and after.", _sizes(report)),
        ("latency", "Latency", "Single queries, one after the other. Only charts in one frame share a machine and a scale.", _latency(report)),
        ("npu", "NPU", npu.INTRO, tables.npu_tables(report)),
        ("fidelity", "Fidelity", "Against the float original, on samples that did not calibrate.", tables.fidelity_table(report)),
        ("metrics", "Metrics", "On the same samples; of classes the mean over them.", tables.metrics_table(report)),
        ("compression", "Compression", STAGE_INTRO, tables.stages_table(report)),
        ("training", "Training", TRAINING_INTRO, _training(report)),
        ("delegation", "Own kernels", "What the runtime's delegate leaves to the runtime's own kernels.", tables.delegation_table(report)),
        ("steps", "Steps", f"What each did and what it cost. The whole build took {seconds(report.wall_s)}.", tables.steps_table(report)),
        ("conditions", "Conditions", "What the times were taken under.", tables.conditions_table(report)),
        ("given", "What was given", None, tables.given(report)),
        ("files", "Files", "Relative to this page.", tables.files_table(report)),
    )
    shown = [(anchor, name, intro, body) for anchor, name, intro, body in sections if body is not None]
    nav = navigation([(anchor, name) for anchor, name, _, _ in shown])
    body = [section(anchor, name, intro, content) for anchor, name, intro, content in shown]
    return page(f"{file_name(report.model.source)}: {report.recipe.name}", joined(_header(report), nav, element("main", *body), _footer(report)))


def _header(report: Report) -> Markup:
    word, sentence = verdict_sentence(report)
    kept = (word or "none").replace(" ", "-")
    said = element("div", element("strong", sentence), *(element("p", line) for line in _broken(report)))
    banner = element("div", mark(word) if word else None, said, class_=f"banner {kept}")
    facts = f"{report.recipe.title or report.recipe.name} · {_date(report.created)} · built in {seconds(report.wall_s)} on {report.host.cpu}"
    return element(
        "header",
        element("p", "edgekit report", class_="brand"),
        element("h1", file_name(report.model.source)),
        element("p", facts, class_="facts"),
        banner,
    )


def _broken(report: Report) -> list[str]:
    return [
        f"{heading(report, entry)}: {budget_line(judgement)}, found {budget_value(judgement)}"
        for entry in report.engines
        for judgement in entry.verdict
        if judgement.outcome == "broken"
    ]


def _date(created: str) -> str:
    return created.replace("T", " ", 1)[:16]


def _remarks(remarks: Sequence[str]) -> Markup | None:
    return element("ul", *(element("li", remark) for remark in remarks), class_="remarks") if remarks else None


def _cards(report: Report) -> Markup:
    return element("div", *(_card(report, entry) for entry in report.engines), class_="cards")


def _card(report: Report, entry: EngineEntry) -> Markup:
    judged = outcome(entry.verdict)
    pill = tables.outcome_cell(judged) if judged and is_built(entry) else None
    head = element(
        "div",
        element("h3", title(report, entry)),
        element("p", f"{entry.runtime} · {entry.precision}", class_="sub"),
        class_="card-head",
    )
    elsewhere = entry.measured_on is not None and entry.latency is not None and not entry.measured_on.is_target
    place = element("p", where_measured(entry), class_="where elsewhere" if elsewhere else "where") if is_built(entry) else None
    body = joined(_figure(report, entry), place, tables.pairs(_card_facts(report, entry)), _remarks(entry.remarks))
    return element("article", element("div", head, pill, class_="card-top"), body, class_="card")


def _figure(report: Report, entry: EngineEntry) -> Markup:
    if not is_built(entry):
        return element("p", element("span", entry.status, class_="absent"), class_="big")
    if entry.latency is None:
        return element("p", element("span", entry.latency_reason or "not measured", class_="absent"), class_="big")
    compared = speed(report, entry)
    value = joined(number(entry.latency.p50_ms), element("small", " ms median"))
    invalid = [element("p", f"not valid: {reason}", class_="invalid") for reason in entry.latency.invalid]
    return joined(
        element("p", value, class_="big"), element("p", compared[0], class_="speed" if compared[1] else "where") if compared else None, *invalid
    )


def _card_facts(report: Report, entry: EngineEntry) -> list[tuple[str, str]]:
    facts = _size_facts(report, entry)
    if entry.fidelity is not None:
        facts.append(("SQNR", sqnr(entry.fidelity.sqnr_db)))
    if entry.fidelity is not None and entry.fidelity.top1_agreement is not None:
        facts.append(("same class", f"{percent(entry.fidelity.top1_agreement)} of {entry.fidelity.samples:,}"))
    if entry.delegation is not None:
        facts.append(("delegate", delegated(entry)))
    if judged_elsewhere(entry):
        facts.append(("emulated", judged_elsewhere(entry)))
    if entry.accuracy is not None:
        facts.append(("accuracy", f"{percent(entry.accuracy.top1)}, float {percent(entry.accuracy.top1_reference)}"))
    if entry.memory is not None and entry.memory.peak_mib is not None:
        facts.append(("memory", f"{number(entry.memory.peak_mib)} MiB peak"))
    if entry.instructions is not None:
        facts.append(("work", work(entry)))
    if entry.npu is not None:
        facts += [("estimated", f"{npu.time(entry.npu)}, not measured"), ("on the NPU", f"{npu.share(entry.npu)} operators")]
    if entry.energy is not None:
        facts.append(("energy", f"{number(entry.energy.mj_per_query)} mJ a query"))
    return facts


def _size_facts(report: Report, entry: EngineEntry) -> list[tuple[str, str]]:
    sizes = {"size": entry.bytes} if entry.compressed_bytes is None else {"size": entry.bytes, "as zip": entry.compressed_bytes}
    return [(name, f"{size(one)}, {one / _bytes_before(report) * 100:.0f} % of float") for name, one in sizes.items()]


def _bytes_before(report: Report) -> int:
    """Size of the float original, at least 1."""
    return max(1, report.references[0].bytes if report.references else report.model.bytes)


def _series(report: Report, entry: EngineEntry) -> int:
    """Number of an entry's colour: 0 for float references."""
    if entry.target == REFERENCE:
        return 0
    return 1 + [other.key for other in report.engines].index(entry.key) % (SERIES - 1)


def _sizes(report: Report) -> Markup:
    originals = {(entry.runtime, entry.bytes): entry for entry in report.references}.values()
    bars = [Bar(label="source file", length=report.model.bytes, text=size(report.model.bytes), series=0)]
    bars += [Bar(label=heading(report, entry), length=entry.bytes, text=size(entry.bytes), series=0) for entry in originals]
    for entry in report.engines:
        share = f" · {entry.bytes / _bytes_before(report) * 100:.0f} %"
        waiting = "" if is_built(entry) else " · not built"
        bars.append(Bar(label=heading(report, entry), length=entry.bytes, text=f"{size(entry.bytes)}{share}{waiting}", series=_series(report, entry)))
    return size_bars(bars)


def _latency(report: Report) -> Markup | None:
    groups: dict[MeasuredOn, list[EngineEntry]] = {}
    for entry in (*report.references, *report.engines):
        if entry.latency is not None and entry.latency.samples_ns and entry.measured_on is not None:
            place = MeasuredOn(device=entry.measured_on.device, arch=entry.measured_on.arch, is_local=entry.measured_on.is_local)
            groups.setdefault(place, []).append(entry)
    absent = [entry for entry in report.engines if entry.latency is None]
    frames = [_frame(report, place, entries) for place, entries in groups.items()]
    missing = [element("li", f"{heading(report, entry)}: {entry.latency_reason or 'not measured'}") for entry in absent]
    if not frames:
        return element("ul", *missing, class_="remarks") if missing else None
    return joined(lines_legend(), *frames, element("ul", *missing, class_="remarks") if missing else None)


def _frame(report: Report, place: MeasuredOn, entries: Sequence[EngineEntry]) -> Markup:
    axis = shared_axis([entry.latency for entry in entries if entry.latency is not None])
    caption = f"On {machine(place)}"
    rows = []
    for entry in entries:
        latency, name, series = entry.latency, heading(report, entry), _series(report, entry)
        if latency is None:
            continue
        shown = [element("b", name), *(element("span", line) for line in _times(entry, latency))]
        charts = (element("div", *shown, class_="name"), histogram(latency, axis, series, name), over_time(latency, series, name))
        rows.append(element("div", *charts, class_=f"lat s{series}"))
    return element("figure", element("figcaption", caption), *rows, class_="frame")


def _times(entry: EngineEntry, latency: Latency) -> list[str]:
    """What stands beside an engine's charts, line by line."""
    percentiles = (("p50", latency.p50_ms, ""), ("p90", latency.p90_ms, latency.p90_reason), ("p99", latency.p99_ms, latency.p99_reason))
    known = " · ".join(f"{name} {number(value)}" for name, value, _ in percentiles if value is not None)
    missing = [f"{name} n/a: {reason}" for name, value, reason in percentiles if value is None]
    blocks = f" in {len(latency.samples_ns)} blocks" if latency.sample == "block" else ""
    count = f"{latency.n:,} queries{blocks}, slowest{' block' if blocks else ''} {number(max(latency.samples_ns) / 1e6)} ms"
    place = [where(entry.measured_on, entry.target)] if entry.measured_on and entry.target != REFERENCE else []
    return [f"{known} ms", *missing, count, *place, *(f"not valid: {reason}" for reason in latency.invalid)]


_CURVES = (("held_out", 1, "held out"), ("loss", 2, "trained on"))


def _training(report: Report) -> Markup | None:
    """A chart for each training."""
    shown = courses(report.steps)
    if not shown:
        return None
    keys = [element("span", swatch(), text, class_=f"s{series}") for _, series, text in _CURVES]
    legend = element("p", *keys, line_key("p50", "kept"), class_="legend")
    return joined(legend, element("div", *map(_course, shown), class_="spreads"))


def _course(course: Course) -> Markup:
    curves = [(series, course.of(which)) for which, series, _ in _CURVES]
    caption = element("figcaption", course.name, element("small", course.sentence()))
    return element("figure", caption, learning(curves, course.steps, course.kept_step, course.name), class_="spread")


def _footer(report: Report) -> Markup:
    said = f"edgekit {report.edgekit}, {report.created}. This page loads nothing; report.json beside it holds every raw time in nanoseconds."
    return element("footer", element("p", said))

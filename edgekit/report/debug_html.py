"""What the doctor of quantization found as one HTML file: findings first, then every tensor and weight by what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.passes.quantize.diagnosis import Diagnosis, TensorDiagnosis
from edgekit.report.charts import Bar, distribution, mark, size_bars
from edgekit.report.debugged import (
    CORRECTION_COLUMNS,
    DEBUG_TEXT_COLUMNS,
    FLOAT_COLUMNS,
    NO_REPAIR,
    TENSOR_COLUMNS,
    WEIGHT_COLUMNS,
    Debugged,
    correction_rows,
    float_rows,
    headline,
    named,
    portion,
    repair_effect,
    repair_option,
    span,
    tensor_row,
    weight_row,
)
from edgekit.report.markup import Markup, element, joined
from edgekit.report.page import file_name, navigation, page, section
from edgekit.report.tables import table
from edgekit.report.words import sqnr

ALONE = "Each stored as integers alone, all else in float; the share is of the squared error that all parts make one by one."


def render_debug_html(found: Sequence[Debugged], *, top: int = 10) -> str:
    """The whole page.

    Args:
        found: one for each target; at least one.
        top: so many of the costliest tensors and weights are drawn; tables have all.
    """
    name = file_name(found[0].source)
    shown = [one for index, each in enumerate(found, 1) for one in _sections(each, f"t{index}", top, alone=len(found) == 1)]
    facts = f"{found[0].recipe} · {', '.join(one.target for one in found)}"
    header = element(
        "header",
        element("p", "edgekit debug quantization", class_="brand"),
        element("h1", name),
        element("p", facts, class_="facts"),
        *(_banner(one, alone=len(found) == 1) for one in found),
    )
    footer = element("footer", element("p", "This page loads nothing. SQNR: signal to quantization noise, 6 dB are one bit."))
    nav = navigation([(anchor, title) for anchor, title, _, _ in shown])
    body = joined(header, nav, element("main", *(section(*one) for one in shown)), footer)
    return page(f"{name}: quantization of {found[0].recipe}", body)


def _banner(one: Debugged, *, alone: bool) -> Markup:
    diagnosis = one.diagnosis
    sentence = headline(diagnosis) if alone else f"{one.target}: {headline(diagnosis)}"
    lines = [element("strong", sentence)]
    if diagnosis.repair is not None:
        repair = diagnosis.repair
        lines.append(element("p", element("code", repair_option(repair)), f" {repair_effect(repair)}."))
        lines.append(element("p", named(repair.kept, most=None), class_="where"))
    elif diagnosis.is_poor:
        lines.append(element("p", NO_REPAIR))
    outcome = "not judged" if diagnosis.is_poor else "kept"
    return element("div", mark(outcome), element("div", *lines), class_=f"banner {outcome.replace(' ', '-')}")


def _sections(one: Debugged, prefix: str, top: int, *, alone: bool) -> list[tuple[str, str, str | None, Markup]]:
    diagnosis = one.diagnosis
    cost = "What the outputs lose where a correction is switched off, measured with every node in integers that can be."
    float_intro = "Nodes that compute in float, by reason."
    sections: tuple[tuple[str, str, str | None, Markup | None], ...] = (
        ("findings", "Findings", "What costs most, and what frees it.", _findings(diagnosis)),
        ("corrections", "Corrections", cost, _table(CORRECTION_COLUMNS, correction_rows(diagnosis))),
        ("tensors", "Tensors", ALONE, _tensors(diagnosis, top)),
        ("weights", "Weights", ALONE, _weights(diagnosis, top)),
        ("float", "In float", float_intro, _table(FLOAT_COLUMNS, float_rows(diagnosis, most=None))),
    )
    return [(f"{prefix}-{key}", name if alone else f"{one.target}: {name}", intro, body) for key, name, intro, body in sections if body is not None]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "stack") -> Markup | None:
    return table(columns, rows, left=DEBUG_TEXT_COLUMNS, kind=kind) if rows else None


def _findings(diagnosis: Diagnosis) -> Markup:
    if not diagnosis.findings:
        return element("p", "No single tensor costs much: what is lost is spread over many.", class_="facts")
    blocks = [
        element("article", element("h3", one.where), element("p", one.what), element("p", element("code", one.remedy)), class_="card")
        for one in diagnosis.findings
    ]
    return element("div", *blocks, class_="findings")


def _tensors(diagnosis: Diagnosis, top: int) -> Markup | None:
    if not diagnosis.tensors:
        return None
    costliest = [one for one in diagnosis.tensors[:top] if one.share > 0.0]
    bars = [Bar(label=one.tensor, length=one.share, text=f"{portion(one.share)} · {sqnr(one.alone_db)}", series=1) for one in costliest]
    drawn = element("div", *(_spread(one) for one in costliest if one.histogram), class_="spreads")
    legend = "Values seen, their number as a logarithm; the lines are the ends of the range that is stored, the tinted values lie beyond it."
    rows = [tensor_row(one) for one in diagnosis.tensors]
    return joined(
        size_bars(bars) if bars else None,
        element("p", legend, class_="note") if bars else None,
        drawn if bars else None,
        element("p", _columns_explained(), class_="note"),
        _table(TENSOR_COLUMNS, rows, kind="stack dense"),
    )


def _columns_explained() -> str:
    return (
        "Alone: SQNR of the outputs with this tensor alone rounded. Here: SQNR of the tensor itself with everything before it rounded. "
        "Uneven: its largest channel over its median channel. Dead: channels next to nothing beside the largest."
    )


def _spread(one: TensorDiagnosis) -> Markup:
    made_by = f"{one.made_by} ({one.op})" if one.made_by else "input"
    clipped = f"{portion(one.clipped)} beyond" if one.clipped else "nothing beyond"
    facts = (made_by, f"stored {span(one.stored)}, {clipped}")
    caption = element("figcaption", one.tensor, *(element("small", fact) for fact in facts))
    return element("figure", caption, distribution(one.histogram, one.seen, one.stored, one.tensor), class_="spread s1")


def _weights(diagnosis: Diagnosis, top: int) -> Markup | None:
    if not diagnosis.weights:
        return None
    costliest = [one for one in diagnosis.weights[:top] if one.share > 0.0]
    bars = [Bar(label=one.node, length=one.share, text=f"{portion(one.share)} · {sqnr(one.alone_db)}", series=2) for one in costliest]
    rows = [weight_row(one) for one in diagnosis.weights]
    return joined(size_bars(bars) if bars else None, _table(WEIGHT_COLUMNS, rows))

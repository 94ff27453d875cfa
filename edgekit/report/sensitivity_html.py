"""Curves of all layers as one HTML file: a chart a layer, then every figure by technique."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.report.charts import falling, swatch
from edgekit.report.markup import Markup, element, joined
from edgekit.report.page import file_name, navigation, page, section
from edgekit.report.sensitivity import SENSITIVITY_TEXT_COLUMNS, Curve, Sensitivity, Technique, columns, costliest, row, unmeasured
from edgekit.report.tables import table

_HUES: dict[Technique, int] = {"prune": 1, "cluster": 2, "factorize": 3, "binarize": 4, "quantize": 5}

_CURVES = (
    "SQNR of the outputs, decibels, when this layer alone is compressed, by the share of its bits that a level leaves; "
    "levels of those that lie high can go further than levels of those that lie low."
)
_TABLES = {
    "prune": "Channels of a layer go with all that hangs on them, or its weights become zero.",
    "cluster": "The weights of a layer share a few values.",
    "factorize": "A layer becomes a product of smaller ones.",
    "binarize": "The weights of a layer become signs times a number a channel.",
    "quantize": "A layer's inputs, weights and outputs are integers, or its weights alone where the runtime has no such product of so few bits.",
}


def render_sensitivity_html(found: Sensitivity) -> str:
    """The whole page."""
    name = file_name(found.source)
    techniques = found.techniques
    facts = [f"{found.judged:,} samples of {found.samples} judge", *([f"integers of {found.target}"] if found.target else [])]
    header = element(
        "header",
        element("p", "edgekit sensitivity", class_="brand"),
        element("h1", name),
        element("p", " · ".join(facts), class_="facts"),
        element("div", element("strong", costliest(found)), class_="banner none"),
        *(element("p", remark, class_="note") for remark in found.remarks),
    )
    shown: list[tuple[str, str, str | None, Markup]] = [("layers", "Layers", _CURVES, _layers(found))]
    shown += [(one, one, _TABLES[one], _table(found.of(one))) for one in techniques]
    nav = navigation([(anchor, title) for anchor, title, _, _ in shown])
    footer = element("footer", element("p", "This page loads nothing. SQNR: signal to quantization noise, 6 dB are one bit."))
    return page(f"{name}: sensitivity", joined(header, nav, element("main", *(section(*one) for one in shown)), footer))


def _table(curves: Sequence[Curve]) -> Markup:
    drawn = table(columns(curves), [row(curve) for curve in curves], left=SENSITIVITY_TEXT_COLUMNS)
    return joined(drawn, *(element("p", line, class_="note") for line in unmeasured(curves)))


def _layers(found: Sensitivity) -> Markup:
    """A chart for each layer, those first whose worst level costs most; all on the same axes."""
    by_layer: dict[str, list[Curve]] = {}
    for curve in found.curves:
        by_layer.setdefault(curve.layer, []).append(curve)
    measured = [point for curve in found.curves for point in curve.points if not point.reason and point.sqnr_db is not None]
    if not measured:
        return element("p", "Nothing that was tried changes the outputs.", class_="facts")
    most = max(10.0, 10.0 * math.ceil(max(point.sqnr_db or 0.0 for point in measured) / 10.0))
    legend = element("p", *(_key(one) for one in found.techniques), class_="legend")
    return joined(legend, element("div", *(_chart(name, curves, most) for name, curves in by_layer.items()), class_="spreads"))


def _key(technique: Technique) -> Markup:
    return element("span", swatch(), technique, class_=f"s{_HUES[technique]}")


def _chart(name: str, curves: Sequence[Curve], most: float) -> Markup:
    drawn = [
        (_HUES[curve.technique], [(point.left, most if point.sqnr_db is None else point.sqnr_db) for point in curve.points if not point.reason])
        for curve in curves
    ]
    weights = next((curve.parameters for curve in curves if curve.parameters), 0)
    caption = element("figcaption", name, element("small", f"{curves[0].op}, {weights:,} weights"))
    return element("figure", caption, falling([one for one in drawn if one[1]], most, name), class_="spread")

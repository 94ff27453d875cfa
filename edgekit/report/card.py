"""The Report as a notebook shows it: the verdict and the summary, in the notebook's own colours."""

from __future__ import annotations

from edgekit.report.charts import mark
from edgekit.report.markup import element, joined
from edgekit.report.record import Report
from edgekit.report.summary import TEXT_COLUMNS, notes, summary_of
from edgekit.report.words import seconds, verdict_sentence

# Colours that can be read on white and on black, since a notebook does not say which it is.
_COLOURS = {"kept": "#1f9d5b", "broken": "#e5483b", "not judged": "#b58a00"}
_CELL = "padding:.3em .6em;border-bottom:1px solid #8884;white-space:nowrap;"


def render_card(report: Report) -> str:
    """An HTML fragment with its styles on its elements, so that it neither needs nor disturbs the page's."""
    word, sentence = verdict_sentence(report)
    sign = element("span", mark(word), style="display:inline-block;width:1.2em;height:1.2em;vertical-align:-.2em;margin-right:.4em") if word else None
    colour = f"color:{_COLOURS[word]};" if word else ""
    heading = element(
        "div",
        element("b", report.model.source),
        f" · {report.recipe.name} · {seconds(report.wall_s)} · edgekit {report.edgekit}",
    )
    verdict = element("div", sign, element("b", sentence), style=f"{colour}margin:.4em 0")
    listed = element("ul", *(element("li", note) for note in notes(report)), style="margin:.5em 0;padding-left:1.2em;opacity:.8;font-size:.9em")
    return element("div", heading, verdict, _table(report), listed, style="line-height:1.5;font-variant-numeric:tabular-nums")


def _table(report: Report) -> str:
    columns, rows = summary_of(report)
    sides = [f"{_CELL}text-align:{'left' if column in TEXT_COLUMNS else 'right'}" for column in columns]
    head = element("tr", *(element("th", column, style=side) for column, side in zip(columns, sides, strict=True)))
    body = [element("tr", *(element("td", cell, style=side) for cell, side in zip(row, sides, strict=True))) for row in rows]
    table = element("table", element("thead", head), element("tbody", joined(*body)), style="border-collapse:collapse;font-size:.9em;color:inherit")
    return element("div", table, style="overflow-x:auto")

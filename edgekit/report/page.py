"""One HTML file around what it shows: no network, no script, light and dark, on paper and on a telephone."""

from __future__ import annotations

from importlib.resources import files

from edgekit.report.markup import Markup, element


def page(title: str, body: Markup) -> str:
    """The whole file."""
    style = files("edgekit.report").joinpath("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        element("title", f"{title} · edgekit"),
        element("style", Markup(style)),
    )
    return "<!doctype html>\n" + element("html", head, element("body", body), lang="en") + "\n"


def section(anchor: str, name: str, intro: str | None, body: Markup) -> Markup:
    """A heading, a sentence below it, and what it is about."""
    return element("section", element("h2", name), element("p", intro, class_="intro") if intro else None, body, id=anchor)


def navigation(shown: list[tuple[str, str]]) -> Markup:
    """Links to sections: anchors and names."""
    return element("nav", *(element("a", name, href=f"#{anchor}") for anchor, name in shown))


def file_name(source: str) -> str:
    """The last part of a path."""
    return source.rstrip("/").rpartition("/")[2] or source

"""HTML out of plain calls; text is escaped unless it was made here."""

from __future__ import annotations

from html import escape

VOID = frozenset({"meta", "br", "path", "line", "rect", "circle"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        tag: its name.
        children: text, which is escaped, or elements; None is left out.
        attributes: ``class_`` is ``class``, ``view_box`` is written ``viewBox``; other underscores become hyphens; None is left out.
    """
    opened = "".join(f' {_attribute(name)}="{escape(str(value))}"' for name, value in attributes.items() if value is not None)
    if tag in VOID and not children:
        return Markup(f"<{tag}{opened}/>")
    return Markup(f"<{tag}{opened}>{joined(*children)}</{tag}>")


def _attribute(name: str) -> str:
    cased = {"view_box": "viewBox", "preserve_aspect_ratio": "preserveAspectRatio"}
    return cased.get(name) or name.rstrip("_").replace("_", "-")


def joined(*parts: str | None) -> Markup:
    """Text and elements one after the other; text is escaped, None is left out."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts if part is not None))

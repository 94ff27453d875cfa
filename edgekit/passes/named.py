"""Nodes that an option names: by name, by a pattern such as ``/head/*``, or by operator."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.graph.view import View
from edgekit.strict import nearest

if TYPE_CHECKING:
    from edgekit.model import Model

LISTED = "edgekit inspect lists the nodes of the model"


def literally(name: str) -> str:
    """A pattern that fits the node of this name and no other, be it called as an operator or hold signs of patterns."""
    first, rest = name[:1], name[1:]
    begun = first if first in "!^" else f"[{first}]"  # these two mean something else in brackets
    return begun + rest.translate({ord(sign): f"[{sign}]" for sign in "*?["})


def named(view: View, patterns: tuple[str, ...], option: str) -> list[str]:
    """Names of the nodes that fit one of the patterns.

    Args:
        view: of the graph.
        patterns: what the user wrote.
        option: where, such as ``quantize: keep_float``.

    Raises:
        UsageError: nothing fits one of them.
    """
    return fitting([(node.name, node.op_type) for node in view.nodes], patterns, option)


def fitting(nodes: Iterable[tuple[str, str]], patterns: tuple[str, ...], option: str) -> list[str]:
    """The same of names and operators."""
    known = list(nodes)
    found: list[str] = []
    for pattern in patterns:
        fits = [name for name, op in known if pattern in (name, op) or fnmatch.fnmatchcase(name, pattern)]
        if not fits:
            raise UsageError(f"{option}: {_nobody(known, pattern)}", hint=LISTED)
        found += fits
    return found


def unnamed(model: Model, patterns: tuple[str, ...], option: str) -> str:
    """What of an option no node of a graph fits, and how the nodes are found; "" if each pattern fits one.

    Args:
        model: the graph's; it is read where there are patterns.
        patterns: what the user wrote.
        option: where, such as ``keep``.

    Raises:
        SourceError: the graph cannot be read.
    """
    if not patterns:
        return ""
    from edgekit.graph.onnx_file import load

    known = [(node.name, node.op_type) for node in load(model.path).graph.node]
    lost = []
    for pattern in patterns:
        try:
            fitting(known, (pattern,), option)
        except UsageError:
            lost.append(_nobody(known, pattern))
    return f"{option}: {'; '.join(lost)}; {LISTED}" if lost else ""


def _nobody(known: Sequence[tuple[str, str]], pattern: str) -> str:
    names, ops = zip(*known, strict=True) if known else ((), ())
    return f"no node is called {pattern}{nearest(pattern, [*names, *dict.fromkeys(ops)])}"

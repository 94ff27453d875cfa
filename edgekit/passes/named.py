"""Nodes that an option names: by name, by a pattern such as ``/head/*``, or by operator."""

from __future__ import annotations

import fnmatch

from edgekit.errors import UsageError
from edgekit.graph.view import View
from edgekit.strict import nearest


def named(view: View, patterns: tuple[str, ...], option: str) -> list[str]:
    """Names of the nodes that fit one of the patterns.

    Args:
        view: of the graph.
        patterns: what the user wrote.
        option: where, such as ``quantize: keep_float``.

    Raises:
        UsageError: nothing fits one of them.
    """
    found: list[str] = []
    for pattern in patterns:
        fitting = [node.name for node in view.nodes if pattern in (node.name, node.op_type) or fnmatch.fnmatchcase(node.name, pattern)]
        if not fitting:
            close = nearest(pattern, [node.name for node in view.nodes])
            raise UsageError(f"{option}: no node is called {pattern}{close}", hint="edgekit inspect lists the nodes of the model")
        found += fitting
    return found

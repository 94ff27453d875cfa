"""Options that fit nothing in a graph, told of every step as soon as there is a graph to hold them against."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.model import Model
from edgekit.passes.contract import Pass


def misfits(passes: Sequence[tuple[str, Pass]], model: Model) -> list[str]:
    """A line for each step whose options fit nothing in a graph.

    Steps behind one that makes nodes of its own are not asked: what their options name may be of its making.

    Args:
        passes: in their order, each with what its line begins with.
        model: before the first of them.

    Raises:
        SourceError: the graph cannot be read.
    """
    lines = []
    for where, pass_ in passes:
        misfit = getattr(pass_, "misfit", None)
        if misfit is not None and (why := misfit(model)):
            lines.append(f"{where}: {why}")
        if not getattr(pass_, "keeps_nodes", False):
            break
    return lines

"""What a Pad adds to the spatial axes, and what a node pads itself."""

from __future__ import annotations

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node


def spatial_pads(graph: Graph, pad: Node, *, value: float) -> list[int] | None:
    """All beginnings, then all ends, of the axes from the third on.

    Returns:
        None if it pads otherwise: another value, batch or channels, a negative amount, amounts that are not constant.
    """
    rank, amounts = graph.rank(pad.inputs[0]), graph.constant(pad.inputs[1])
    if rank is None or amounts is None or pad.get("mode", "constant") != "constant":
        return None
    filled = graph.scalar(pad.input(2)) if pad.input(2) else 0.0
    axes = graph.constant(pad.input(3)) if pad.input(3) else np.arange(rank)
    if filled != value or axes is None:
        return None
    begins, ends = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        begins[int(axis)], ends[int(axis)] = int(amounts[place]), int(amounts[place + len(axes)])
    if any(begins[:2]) or any(ends[:2]) or min(begins + ends) < 0:
        return None
    return begins[2:] + ends[2:]


def own_pads(graph: Graph, node: Node) -> list[int] | None:
    """What a Conv or pooling pads itself; None if it works that out by itself, or its rank is not known."""
    rank = graph.rank(node.inputs[0])
    if rank is None or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    pads = node.get("pads", [0] * (2 * (rank - 2)))
    return list(pads)

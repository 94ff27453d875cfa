"""Pad before a pooling becomes the pooling's own padding, where that means the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.padding import own_pads, spatial_pads

NEVER_NEGATIVE = ("Relu", "Sigmoid", "Softmax", "HardSigmoid", "Abs", "Exp", "Sqrt")
KEEPS_SIGN = ("MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Transpose")


@dataclass(frozen=True, slots=True)
class Found:
    """The padding, the pooling, and what the pooling is to pad."""

    pad: Node
    pool: Node
    pads: list[int]


def match(graph: Graph, node: Node) -> Found | None:
    """An average over zeros counts them; a maximum pads with -inf, which equals zero among numbers that are never negative.

    Each pad must be smaller than the kernel: pooling has nothing to say about windows of padding alone.
    """
    pool = graph.next(node, "AveragePool", "MaxPool")
    if pool is None or pool.get("ceil_mode", 0) or len(pool.outputs) > 1:
        return None
    spatial, own = _spatial(graph, node, pool), own_pads(graph, pool)
    kernel = pool.get("kernel_shape")
    if spatial is None or own is None or (any(own) and not _adds_up(pool)):
        return None
    pads = [a + b for a, b in zip(spatial, own, strict=True)]
    if any(size >= taps for size, taps in zip(pads, kernel * 2, strict=True)):
        return None
    return Found(node, pool, pads)


def _adds_up(pool: Node) -> bool:
    return pool.op == "MaxPool" or bool(pool.get("count_include_pad", 0))


def _spatial(graph: Graph, pad: Node, pool: Node) -> list[int] | None:
    if pool.op == "AveragePool":
        return spatial_pads(graph, pad, value=0.0)
    lowest = spatial_pads(graph, pad, value=-np.inf)
    if lowest is None:
        lowest = spatial_pads(graph, pad, value=float(np.finfo(np.float32).min))
    if lowest is None and is_never_negative(graph, pad.inputs[0]):
        return spatial_pads(graph, pad, value=0.0)
    return lowest


def is_never_negative(graph: Graph, name: str) -> bool:
    """Whether a tensor comes out of an operator that makes no negative numbers."""
    maker = graph.maker(name)
    while maker is not None and maker.op in KEEPS_SIGN:
        maker = graph.maker(maker.inputs[0])
    if maker is None:
        return False
    low = graph.scalar(maker.input(1)) if maker.op == "Clip" else None
    return maker.op in NEVER_NEGATIVE or (low is not None and low >= 0)


def rewrite(graph: Graph, found: Found) -> None:
    """The pooling reads what Pad read."""
    counted = 1 if found.pool.op == "AveragePool" else None
    graph.set_attributes(found.pool, auto_pad=None, pads=found.pads, count_include_pad=counted)
    graph.bypass(found.pad, found.pad.inputs[0])


RULE = Rule("pad-pool", ("Pad",), match, rewrite)

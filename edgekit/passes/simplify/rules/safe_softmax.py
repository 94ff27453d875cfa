"""Softmax guarded against rows that are masked in full is a plain Softmax where no row can be.

PyTorch exports attention as Where(IsNaN(s), 0, s) of a Softmax s, for masks that leave nothing of a row. The guard reads the
scores twice more than Softmax does, and has no kernel in most runtimes for devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule

_FINITE = frozenset({"MatMul", "Gemm", "Conv", "Einsum"})
"""Sums of products of what a network computes are finite: one that overflows is broken with and without the guard."""

_MOVED = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Identity"})


@dataclass(frozen=True, slots=True)
class Found:
    """The Where, and the Softmax's output that it equals."""

    where: Node
    source: str


def match(graph: Graph, node: Node) -> Found | None:
    """``Where(IsNaN(s), constant, s)``, s a Softmax along its last axis of scores that are finite somewhere in every row."""
    source = node.inputs[2]
    nan, softmax = graph.maker(node.inputs[0], "IsNaN"), graph.maker(source, "Softmax")
    if nan is None or softmax is None or nan.inputs[0] != source or not graph.is_constant(node.inputs[1]):
        return None
    rank = graph.rank(source)
    last = rank is not None and softmax.get("axis", -1) in (-1, rank - 1)
    same = graph.static_shape(node.outputs[0]) == graph.static_shape(source) is not None
    if not last or not same or not _some_finite(graph, softmax.inputs[0]) or not graph.can_bypass(node, source):
        return None
    return Found(node, source)


def rewrite(graph: Graph, found: Found) -> None:
    """Whoever used the guarded numbers uses those of the Softmax."""
    graph.bypass(found.where, found.source)


def _some_finite(graph: Graph, name: str) -> bool:
    """Whether every row of the last axis holds a finite number, and none that is not a number."""
    made = graph.maker(name, "Add")
    for index, given in enumerate(made.inputs if made else ()):
        mask = graph.constant(given)
        if mask is not None and mask.ndim and mask.shape[-1] == (graph.shape(name) or [0])[-1]:
            open_somewhere = bool((np.isfinite(mask).any(axis=-1) & ~(np.isnan(mask) | np.isposinf(mask)).any(axis=-1)).all())
            return open_somewhere and made is not None and _all_finite(graph, made.inputs[1 - index])
    return _all_finite(graph, name)


def _all_finite(graph: Graph, name: str) -> bool:
    constant = graph.constant(name)
    if constant is not None:
        return bool(np.isfinite(constant).all())
    product = graph.maker(name, *_FINITE)
    if product:
        return all(bool(np.isfinite(given).all()) for one in product.inputs if one and (given := graph.constant(one)) is not None)
    moved = graph.maker(name, *_MOVED)
    if moved:
        return _all_finite(graph, moved.inputs[0])
    sums = graph.maker(name, "Add", "Sub", "Mul")
    if sums:
        return all(_all_finite(graph, given) for given in sums.inputs)
    quotient = graph.maker(name, "Div")
    divisor = graph.constant(quotient.inputs[1]) if quotient else None
    return quotient is not None and divisor is not None and bool(divisor.all()) and _all_finite(graph, quotient.inputs[0])


RULE = Rule("safe-softmax", ("Where",), match, rewrite)

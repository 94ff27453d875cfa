"""A bias for each product: converters store equal ones once, such as zeros that were never trained.

Shared, a bias ties the channels of its products to one another, though nothing else does; and a repair, which changes it for one of
them alone, unties them after channels were chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.graph.edit import Graph

if TYPE_CHECKING:
    import onnx

_BIASED = frozenset({"Conv", "ConvTranspose", "Gemm"})
_BIAS = 2


def with_own_biases(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in which no product shares its bias; itself if none does."""
    graph, is_changed = Graph(proto), False
    for node in graph.walk():
        name = node.input(_BIAS) if node.op in _BIASED else ""
        values = graph.constant(name) if name else None
        if values is not None and len(graph.users(name)) > 1:
            graph.set_constant_input(node, _BIAS, values, name)
            is_changed = True
    return graph.finish() if is_changed else proto

"""A QuantizeLinear of a constant is worked out beforehand; the DequantizeLinear behind it stays.

Some quantizers keep float weights with a Q/DQ pair behind them. Stored as the integers these stand for, the file is a
quarter as large, and every number that is computed is the same.
"""

from __future__ import annotations

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.simplify.rules.fold import Found, rewrite

_BITS_8 = frozenset({2, 3})
"""ONNX's numbers of uint8 and int8: of others numpy, and so the editor, knows no plain array, or they are no weights."""


def match(graph: Graph, node: Node) -> Found | None:
    """Constant values, scale and zero point, to 8 bits; the result is no output of the graph."""
    if node.outputs[0] in graph.pinned or node.get("block_size", 0):
        return None
    kind = graph.elem_type(node.input(2)) if node.input(2) else node.get("output_dtype", 0) or 2
    is_known = all(graph.is_constant(name) for name in node.inputs if name)
    return Found(node) if is_known and kind in _BITS_8 else None


RULE = Rule("quantize-constant", ("QuantizeLinear",), match, rewrite)

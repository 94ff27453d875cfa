"""Dynamic int8: weights rounded beforehand, activations within each product, by the range they turn out to have."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted, weighted_nodes
from edgekit.passes.quantize.stored import Form, Storing
from edgekit.target import Scheme

if TYPE_CHECKING:
    import onnx


def quantize_dynamic(proto: onnx.ModelProto, scheme: Scheme) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A graph whose products read DynamicQuantizeLinear and DequantizeLinear, and their weights from int8.

    Args:
        proto: the float graph, all types inferred.
        scheme: which products the runtime computes so.

    Returns:
        The new graph, and what was done: ``left_float`` has every product that stays float, with the reason.
    """
    view, graph = View(proto), Graph(proto)
    weighted = weighted_nodes(view)
    storing = Storing(graph, view)
    form = Form(reduced=scheme.reduce_range, per_tensor=scheme.weights == "int8 symmetric per-tensor")
    rounded: dict[str, str] = {}
    left_float: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for node in graph.walk(*sorted(PRODUCTS)):
        one = weighted.get(node.name)
        reason = _reason_for_float(node, one, scheme)
        if reason or one is None:
            left_float[node.name] = reason
            continue
        if one.input not in rounded:
            rounded[one.input] = _rounded(graph, node, one.input)
        graph.set_input(node, 0, rounded[one.input])
        storing.store(node, one, form)
        taken[node.op] += 1
    return graph.finish(), {"dynamic_nodes": dict(sorted(taken.items())), "rounded_tensors": len(rounded), "left_float": left_float}


def _reason_for_float(node: Node, one: Weighted | None, scheme: Scheme) -> str:
    """Why a product stays float; "" if it need not."""
    if node.op not in scheme.dynamic_ops:
        return f"this runtime computes {node.op} slower than in float when it rounds activations at run time"
    if one is None:
        return "its weights are computed, or of a form that has no integer kernel"
    if one.groups > 1:
        return "a convolution in groups is slower than in float when activations are rounded at run time"
    return ""


def _rounded(graph: Graph, node: Node, tensor: str) -> str:
    """A tensor as it is once rounded to 8 bits over its own range."""
    integers, scale, zero_point = (graph.unused_name(f"{tensor}/{what}") for what in ("quantized", "scale", "zero_point"))
    maker = graph.add("DynamicQuantizeLinear", [tensor], integers, before=node)
    maker.outputs += [scale, zero_point]
    result = graph.unused_name(f"{tensor}/dequantized")
    graph.add("DequantizeLinear", [integers, scale, zero_point], result, before=node)
    return result

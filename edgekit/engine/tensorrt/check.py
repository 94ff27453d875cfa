"""What TensorRT cannot carry, found before anything is built: operators by release, their form, Q/DQ, element types."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.engine.contract import Refusal
from edgekit.engine.tensorrt.rules import Restriction, Version, has_bfloat16, has_int64, newest_op_release, releases, restrictions, supported_ops
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.quantized import INTEGER_OPS

Fault = tuple[str, str]
"""Reason and remedy."""

QUANTIZE_AGAIN = (
    "quantize the float model for this target with the recipe static_wi8_ai8, or by the tool that did it: int8, zero point 0,"
    " one scale for each activation"
)
_COMPUTED_SCALES = "quantize the float model with constant scales: the recipe static_wi8_ai8 does"
_INNER_GRAPHS = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_INT32 = np.iinfo(np.int32)


def refusals_of(graph: Graph, release: Version) -> Iterator[Refusal]:
    """Every node that a release does not take, each once, with the first reason found."""
    supported = supported_ops(release)
    for node in graph.walk():
        fault = (
            _operator(node, supported)
            or _form(graph, node)
            or _quantization(graph, node)
            or _element_types(graph, node, release)
            or _mixed_types(graph, node)
        )
        if fault:
            yield refusal(graph, node, *fault)


def refusal(graph: Graph, node: Node, reason: str, remedy: str) -> Refusal:
    """A node that cannot be carried, with the shapes of its inputs."""
    shapes = ", ".join("x".join(str(size) for size in graph.shape(name) or ("?",)) for name in node.inputs if name)
    return Refusal(node=node.name, op=node.op, shapes=shapes, reason=reason, remedy=remedy)


def _operator(node: Node, supported: frozenset[str]) -> Fault | None:
    if node.op in releases().plugins or node.domain not in ("", "ai.onnx"):
        return _foreign(node)
    if node.op in _INNER_GRAPHS:
        return "its inner graph cannot be checked before it is on the board", "export the model without control flow"
    if node.op in supported:
        return None
    if node.op in INTEGER_OPS:
        return "it computes on integers, which TensorRT reads as Q/DQ only", _COMPUTED_SCALES
    since = newest_op_release(node.op)
    if since:
        return f"TensorRT reads it from release {since} on", "build for a target with a newer JetPack, or export the model without it"
    return "TensorRT's parser does not read it", "export the model without it, or run it outside of the engine"


def _foreign(node: Node) -> Fault:
    """Of an operator that is none of ONNX's own."""
    stands_for = releases().plugins.get(node.op)
    if stands_for is None:
        return f"the operator belongs to the domain {node.domain}", "export the model with standard ONNX operators"
    advice = f"export the model with {stands_for} instead, or let it end before this node and do the rest outside of the engine"
    return "it is a plugin of TensorRT's, no operator of ONNX: only a board could run the model", advice


def _form(graph: Graph, node: Node) -> Fault | None:
    for restriction in restrictions(node.op):
        if reason := _against(graph, node, restriction):
            return reason, "export the model with a form that TensorRT takes"
    return None


def _against(graph: Graph, node: Node, restriction: Restriction) -> str:
    reason = _against_values(graph, node, restriction)
    if reason:
        return reason
    for index in restriction.constant:
        if node.input(index) and not graph.is_constant(node.input(index)):
            return f"its input {node.input(index)} is computed; TensorRT takes a constant"
    rank = graph.rank(node.inputs[0]) if restriction.ranks and node.inputs else None
    if rank is not None and rank not in restriction.ranks:
        return f"its input has {rank} axes; TensorRT takes {', '.join(str(one) for one in restriction.ranks)}"
    if restriction.outputs is not None and any(node.outputs[restriction.outputs :]):
        return f"{len(node.outputs)} of its outputs are used; TensorRT makes {restriction.outputs}"
    return ""


def _against_values(graph: Graph, node: Node, restriction: Restriction) -> str:
    """What attributes and constants hold against the form."""
    for name, allowed in restriction.allowed.items():
        value = node.get(name, allowed[0])
        if value not in allowed:
            return f"{name} is {value}; TensorRT takes {', '.join(str(one) for one in allowed)}"
    for name in restriction.ones:
        if not all(one == 1 for one in node.get(name, ())):
            return f"{name} are {list(node.get(name))}; TensorRT takes 1 alone"
    for place, most in restriction.most.items():
        held = graph.constant(node.input(int(place)))
        if held is not None and held.size and held.max() > most:
            return f"its input {node.input(int(place))} is {held.max()}; TensorRT takes {most} at most"
    return ""


def _quantization(graph: Graph, node: Node) -> Fault | None:
    """TensorRT takes symmetric int8 with constant scales, one for all of an activation; a bias stays float."""
    if node.op not in ("QuantizeLinear", "DequantizeLinear"):
        return None
    scale = graph.constant(node.input(1))
    kind, zero_points = _integers(graph, node)
    if scale is None or zero_points is None:
        return "its scale or zero point is computed", "quantize with constant scales and zero points"
    reason = ""
    if kind == "int32":
        reason = "TensorRT reads no int32 bias"
    elif kind != "int8":
        reason = f"the integers are {kind}; TensorRT takes int8"
    elif zero_points.any():
        reason = f"the zero point is {zero_points[zero_points != 0].flat[0]}; TensorRT takes 0"
    elif scale.size > 1 and not _of_weights(graph, node):
        reason = f"it has {scale.size} scales for an activation; TensorRT takes one"
    return (reason, QUANTIZE_AGAIN) if reason else None


def _integers(graph: Graph, node: Node) -> tuple[str, np.ndarray | None]:
    """Element type and zero points of the integers; without a zero point ONNX's own rules hold."""
    import onnx

    if node.input(2):
        values = graph.constant(node.input(2))
        held = graph.elem_type(node.input(2))
    else:
        values = np.zeros(1, np.int8)
        default = node.get("output_dtype", 0) or onnx.TensorProto.UINT8
        held = graph.elem_type(node.inputs[0]) if node.op == "DequantizeLinear" else default
    return (onnx.helper.tensor_dtype_to_np_dtype(held).name if held else "of unknown type"), values


def _of_weights(graph: Graph, node: Node) -> bool:
    """Whether a Q or DQ stands on a constant."""
    maker = graph.maker(node.inputs[0], "QuantizeLinear")
    return graph.is_constant(maker.inputs[0] if maker else node.inputs[0])


def _element_types(graph: Graph, node: Node, release: Version) -> Fault | None:
    import onnx

    unknown = {getattr(onnx.TensorProto, name) for name in ("DOUBLE", "STRING", "COMPLEX64", "COMPLEX128", "UINT16", "UINT32", "UINT64", "INT16")}
    for name in (*node.inputs, *node.outputs):
        if name and graph.elem_type(name) in unknown:
            kind = onnx.helper.tensor_dtype_to_string(graph.elem_type(name)).partition(".")[2].lower()
            return f"{name} is of type {kind}", "let the model compute in float32 and int32 or int64"
    if not has_bfloat16(release):
        for name in (*node.inputs, *node.outputs):
            if name and graph.elem_type(name) == onnx.TensorProto.BFLOAT16:
                since = releases().bfloat16_since
                return f"{name} is bfloat16, which TensorRT has from release {since} on", "use the recipe fp16, or a target with a newer JetPack"
    if not has_int64(release) and node.op != "Slice":
        for name in node.inputs:
            values = graph.constant(name) if name and graph.elem_type(name) == onnx.TensorProto.INT64 else None
            if values is not None and values.size and (values.min() < _INT32.min or values.max() > _INT32.max):
                return f"{name} holds values beyond int32, which this release narrows to", "keep such values out of the model"
    return None


def _mixed_types(graph: Graph, node: Node) -> Fault | None:
    """ONNX asks for one element type where a schema gives inputs one type; some exporters leave float16 beside float32."""
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op, domain="")
    except onnx.defs.SchemaError:
        return None
    seen: dict[str, tuple[str, int]] = {}
    for at, name in enumerate(node.inputs):
        held = graph.elem_type(name) if name else 0
        formal = schema.inputs[min(at, len(schema.inputs) - 1)]
        if not held or formal.type_str.startswith("tensor(") or (at >= len(schema.inputs) - 1 and not formal.is_homogeneous):
            continue
        other, kind = seen.setdefault(formal.type_str, (name, held))
        if kind != held:
            one, two = (onnx.helper.tensor_dtype_to_np_dtype(each).name for each in (kind, held))
            return f"{other} is {one} and {name} is {two}; TensorRT takes one type", "put a Cast before it, so that all its inputs are of one type"
    return None

"""A graph of bfloat16 as float32 arithmetic that rounds what each node makes: ONNX Runtime's CPU has no kernels for the former."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def computes_in_bfloat16(proto: onnx.ModelProto) -> bool:
    """Whether a graph makes any number of bfloat16."""
    import onnx

    return any(_to(node) == onnx.TensorProto.BFLOAT16 for node in proto.graph.node)


def rounded_in_float32(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same arithmetic with float32 between the roundings, as processors add up products of bfloat16.

    Args:
        proto: a graph whose types are all inferred.
    """
    import onnx
    from onnx import numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(proto)
    graph = result.graph
    narrow = {info.name for info in graph.value_info if info.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    nodes = [made for node in proto.graph.node for made in _rounded(node, narrow)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return result


def _rounded(node: onnx.NodeProto, narrow: set[str]) -> Iterator[onnx.NodeProto]:
    import onnx
    from onnx import helper

    made = type(node).FromString(node.SerializeToString())
    outputs = [name for name in node.output if name in narrow]
    for at, name in enumerate(node.output):
        if name in outputs:
            made.output[at] = f"{name}/unrounded"
    if _to(node) == onnx.TensorProto.BFLOAT16:
        made = helper.make_node("Identity", node.input, made.output, name=node.name)
    yield made
    for name in outputs:
        yield helper.make_node("Cast", [f"{name}/unrounded"], [f"{name}/rounded"], name=f"{name}/Round", to=onnx.TensorProto.BFLOAT16)
        yield helper.make_node("Cast", [f"{name}/rounded"], [name], name=f"{name}/Back", to=onnx.TensorProto.FLOAT)


def _to(node: onnx.NodeProto) -> int:
    """The element type that a Cast makes; 0 for any other node."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "to"), 0) if node.op_type == "Cast" else 0

"""In which precision a graph computes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgekit.engine.onnxruntime.products import bits_of
from edgekit.graph.quantized import PRODUCTS

if TYPE_CHECKING:
    import onnx


def precision_of(proto: onnx.ModelProto) -> str:
    """What most convolutions and matrix products compute in.

    Args:
        proto: a graph whose integers are written as Q/DQ, before any runtime rewrites it.

    Returns:
        ``int8``, ``float16`` or ``float32``; ``dynamic int8`` where activations are rounded at run time; ``int8 weights``,
        ``int4 weights`` or ``int2 weights`` where weights alone are integers.
    """
    makers = {name: node for node in proto.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    found = Counter(_form(node, makers, constants) for node in proto.graph.node if node.op_type in PRODUCTS)
    return found.most_common(1)[0][0] if found else "float32"


def _form(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]) -> str:
    import onnx

    flow, weight = (_dequantizer(name, makers) for name in node.input[:2])
    if weight is None:
        tensor = constants.get(node.input[1])
        return "float16" if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT16 else "float32"
    if flow is not None:
        maker = makers.get(flow.input[0])
        return "dynamic int8" if maker is not None and maker.op_type == "DynamicQuantizeLinear" else "int8"
    return f"int{_bits(weight, constants)} weights" if weight.input[0] in constants else "float32"


def _dequantizer(name: str, makers: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    maker = makers.get(name)
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _bits(weight: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> int:
    import onnx

    tensor = constants[weight.input[0]]
    zeros = constants.get(weight.input[2]) if len(weight.input) > 2 else None
    kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
    return bits_of(onnx.numpy_helper.to_array(tensor), None if zeros is None else onnx.numpy_helper.to_array(zeros), kind)

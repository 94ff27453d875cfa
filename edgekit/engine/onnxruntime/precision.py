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
        ``int8``, ``float16``, ``bfloat16`` or ``float32``; ``int16, int8 weights`` or the like where activations have other
        integers; ``dynamic int8`` where activations are rounded at run time; ``int8 weights``, ``int4 weights`` or
        ``int2 weights`` where weights alone are integers.
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
        halves = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
        return halves.get(tensor.data_type, "float32") if tensor is not None else "float32"
    if flow is not None:
        maker = makers.get(flow.input[0])
        if maker is not None and maker.op_type == "DynamicQuantizeLinear":
            return "dynamic int8"
        stored = f"int{_bits(weight, constants)}" if weight.input[0] in constants else "int8"
        integers = "int16" if _is_wide(flow, constants) else "int8"
        return integers if integers == stored else f"{integers}, {stored} weights"
    return f"int{_bits(weight, constants)} weights" if weight.input[0] in constants else "float32"


def _dequantizer(name: str, makers: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    maker = makers.get(name)
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _is_wide(flow: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether a DequantizeLinear reads integers of 16 bits, by its zero point, which such have."""
    import onnx

    zeros = constants.get(flow.input[2]) if len(flow.input) > 2 else None
    return zeros is not None and zeros.data_type in (onnx.TensorProto.INT16, onnx.TensorProto.UINT16)


def _bits(weight: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> int:
    import onnx

    tensor = constants[weight.input[0]]
    zeros = constants.get(weight.input[2]) if len(weight.input) > 2 else None
    kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
    return bits_of(onnx.numpy_helper.to_array(tensor), None if zeros is None else onnx.numpy_helper.to_array(zeros), kind)

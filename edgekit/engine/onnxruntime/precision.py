"""In which precision a graph computes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def precision_of(proto: onnx.ModelProto) -> str:
    """``int8``, ``float16`` or ``float32``: what most convolutions and matrix products compute in.

    Args:
        proto: a graph whose integers are written as Q/DQ, before any runtime rewrites it.
    """
    import onnx

    made_by = {name: node.op_type for node in proto.graph.node for name in node.output}
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    found: Counter[str] = Counter()
    for node in proto.graph.node:
        if node.op_type in WEIGHTED:
            reads = [made_by.get(name, "") for name in node.input[:2]]
            is_half = types.get(node.input[1]) == onnx.TensorProto.FLOAT16
            found["int8" if reads == ["DequantizeLinear"] * 2 else "float16" if is_half else "float32"] += 1
    return found.most_common(1)[0][0] if found else "float32"

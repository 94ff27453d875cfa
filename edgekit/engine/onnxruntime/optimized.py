"""What ONNX Runtime makes of an engine when it opens it: its kernels, and what of the arithmetic stays in float."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.engine.onnxruntime.precision import WEIGHTED
from edgekit.engine.onnxruntime.products import INT8_PRODUCT
from edgekit.plugins import version_of

if TYPE_CHECKING:
    import onnx

_ERRORS_ONLY = 3
_INTEGER = frozenset({"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "ConvInteger", "MatMulInteger"})
_FLOAT = WEIGHTED | {"FusedConv", "FusedGemm", "FusedMatMul", "MatMulNBits"}


def kernels(path: Path, opened: dict[str, Any], arch: str) -> dict[str, Any]:
    """What ONNX Runtime rewrites an engine to.

    Args:
        path: the engine.
        opened: what its session is opened with.
        arch: the processor architecture these are for.

    Returns:
        ``optimized_by``: version and processor architecture; ``operators``: how many of each are left;
        ``integer_nodes``, ``float_nodes``: of these, convolutions and matrix products in integers and in float.
    """
    import os

    import onnx

    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        dumped = Path(folder) / "optimized.onnx"
        _dump(path, dumped, opened)
        graph = onnx.load(dumped, load_external_data=False).graph
    operators = Counter(node.op_type for node in graph.node)
    rounding = sum(_rounds_activations(node) for node in graph.node)
    return {
        "optimized_by": f"onnxruntime {version_of('onnxruntime')['onnxruntime']} on {os.uname().machine}, by the rules of {arch}",
        "operators": dict(sorted(operators.items())),
        "integer_nodes": sum(operators[op] for op in _INTEGER) + rounding,
        "float_nodes": sum(operators[op] for op in _FLOAT) - rounding,
    }


def _rounds_activations(node: onnx.NodeProto) -> bool:
    """Whether a product by weights of few bits rounds what it multiplies them with."""
    levels = [attribute.i for attribute in node.attribute if attribute.name == "accuracy_level"]
    return node.op_type == "MatMulNBits" and levels == [INT8_PRODUCT]


def fails_as_on_x86(proto: onnx.ModelProto) -> bool:
    """Whether a session on x86 fails to open an int8 graph by its own rule for int8 activations.

    ONNX Runtime 1.31 rewrites them to uint8 there, and forgets a type where it made a Gemm of MatMul and Add. By ARM's
    rule such a graph opens, but convolutions run several times slower on x86, so only such graphs ask for it.
    """
    import onnx

    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    is_int8 = any(node.op_type == "QuantizeLinear" and kinds.get(node.input[2]) == onnx.TensorProto.INT8 for node in proto.graph.node)
    products = {node.output[0] for node in proto.graph.node if node.op_type == "MatMul"}
    return is_int8 and any(node.op_type == "Add" and not products.isdisjoint(node.input) for node in proto.graph.node)


def misread_fusion(proto: onnx.ModelProto) -> str:
    """The rewrites that would make ONNX Runtime compute a graph wrongly, with semicolons between them; "" if there is none.

    ONNX Runtime 1.31 lets a MaxPool do the work of a Pad before it; but what a MaxPool pads with is never a maximum,
    whereas the zeros of a Pad are where all else is negative. And between integers it rounds the weights of a node that was
    left in float, with one scale for all of them.
    """
    found = {node.op_type for node in _all_nodes(proto.graph)}
    pads = "Pad_Fusion" if found.issuperset(("Pad", "MaxPool")) else ""
    return ";".join(filter(None, (pads, "WeightBiasQuantization" if _keeps_float_weights(proto) else "")))


def _keeps_float_weights(proto: onnx.ModelProto) -> bool:
    """Whether a node multiplies what was stored as integers with weights that were not."""
    dequantized = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    constants = {tensor.name for tensor in proto.graph.initializer}
    return any(node.op_type in WEIGHTED and node.input[0] in dequantized and node.input[1] in constants for node in proto.graph.node)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from _all_nodes(inner)


def _dump(path: Path, dumped: Path, opened: dict[str, Any]) -> None:
    import onnxruntime

    levels = {
        "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    session = onnxruntime.SessionOptions()
    session.log_severity_level = _ERRORS_ONLY
    session.intra_op_num_threads = 1
    session.graph_optimization_level = levels[opened.get("graph_optimization", "all")]
    session.optimized_model_filepath = str(dumped)
    for key, value in sorted(opened.get("session_config", {}).items()):
        session.add_session_config_entry(key, value)
    onnxruntime.InferenceSession(str(path), session, providers=["CPUExecutionProvider"])

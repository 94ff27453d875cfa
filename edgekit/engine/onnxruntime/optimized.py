"""What ONNX Runtime makes of an engine when it opens it: its kernels, and what of the arithmetic stays in float."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.engine.onnxruntime.products import INT8_PRODUCT, weights_alone
from edgekit.engine.onnxruntime.trial import is_opened
from edgekit.graph.quantized import PRODUCTS
from edgekit.plugins import version_of

if TYPE_CHECKING:
    import onnx

    from edgekit.engine.onnxruntime.options import OnnxRuntimeOptions

_ERRORS_ONLY = 3
_GEMM = "MatMulAddFusion"
_INTEGER = frozenset({"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "ConvInteger", "MatMulInteger"})
_FLOAT = PRODUCTS | {"FusedConv", "FusedGemm", "FusedMatMul", "MatMulNBits"}


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


def settled(path: Path, proto: onnx.ModelProto, options: OnnxRuntimeOptions, arch: str) -> tuple[str, dict[str, Any]]:
    """The rewrites that an engine is to be opened without, and the kernels that it then has.

    Of a MatMul and an Add, ONNX Runtime makes a Gemm, for which it has an integer kernel only where the result is stored
    as integers; for the MatMul alone it has one in any case. On x86 whichever leaves less in float is taken.

    Args:
        path: the engine.
        proto: what is in it.
        options: of the target.
        arch: the target's processor architecture.
    """
    is_arm, weights_at_once = arch != "x86_64", weights_alone(proto)

    def tried(*rewrites: str) -> tuple[str, dict[str, Any]]:
        without = ";".join(filter(None, rewrites))
        return without, kernels(path, options.for_session(as_on_arm=is_arm, without=without, weights_at_once=weights_at_once), arch)

    without, found = tried(misread_fusion(proto), "" if is_arm else broken_rewrites(proto))
    is_stored = any(node.op_type == "DequantizeLinear" for node in proto.graph.node)
    if is_arm or not is_stored or not found["float_nodes"] or _GEMM in without or not _has_biased_product(proto):
        return without, found
    other = tried(without, _GEMM)
    return other if other[1]["integer_nodes"] > found["integer_nodes"] else (without, found)


def fails_as_on_x86(proto: onnx.ModelProto) -> bool:
    """Whether a session on x86 fails to open an int8 graph by its own rule for int8 activations.

    ONNX Runtime 1.31 rewrites them to uint8 there, and forgets a type where it made a Gemm of MatMul and Add. By ARM's
    rule such a graph opens, but convolutions run several times slower on x86, so only such graphs ask for it.
    """
    return _stores_int8(proto) and (_has_biased_product(proto) or not is_opened(proto))


def broken_rewrites(proto: onnx.ModelProto) -> str:
    """The rewrites without which a session on x86 opens an int8 graph that it fails to open otherwise; "" if it opens.

    The first makes the Gemm of :func:`fails_as_on_x86`. The second copies Q/DQ over Reshape and Transpose, from opset 21
    on with the type that their integers had before they were made uint8. Without both a vision transformer ran three
    times as fast as by ARM's rule.
    """
    return f"{_GEMM};QDQPropagationTransformer" if _stores_int8(proto) and not is_opened(proto) else ""


def _has_biased_product(proto: onnx.ModelProto) -> bool:
    products = {node.output[0] for node in proto.graph.node if node.op_type == "MatMul"}
    return any(node.op_type == "Add" and not products.isdisjoint(node.input) for node in proto.graph.node)


def _stores_int8(proto: onnx.ModelProto) -> bool:
    import onnx

    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    return any(node.op_type == "QuantizeLinear" and kinds.get("".join(node.input[2:3])) == onnx.TensorProto.INT8 for node in proto.graph.node)


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
    return any(node.op_type in PRODUCTS and node.input[0] in dequantized and node.input[1] in constants for node in proto.graph.node)


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

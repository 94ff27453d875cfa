"""The lowest version of each operator that can run it, and the lowest runtime that has that version.

Source: https://github.com/google-ai-edge/LiteRT, ``tflite/tools/versioning/op_version.cc`` (22f0209bb81f) and
``runtime_version.cc`` (05215c291e48), for the operators and types that the lowerings here emit.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.engine.tflite.draft import DraftOperator, DraftTensor

_INT8_IS_2 = frozenset(
    {
        "ADD",
        "ARG_MAX",
        "ARG_MIN",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "GATHER",
        "GELU",
        "LOGISTIC",
        "LOG_SOFTMAX",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MIRROR_PAD",
        "PAD",
        "PADV2",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT_V",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TOPK_V2",
        "TRANSPOSE",
    }
)

_OF_INT16 = {
    **dict.fromkeys(("LEAKY_RELU", "QUANTIZE"), 2),
    **dict.fromkeys(
        (
            "ADD",
            "AVERAGE_POOL_2D",
            "BATCH_MATMUL",
            "BROADCAST_TO",
            "CONCATENATION",
            "DEQUANTIZE",
            "LOGISTIC",
            "MAX_POOL_2D",
            "MEAN",
            "MIRROR_PAD",
            "PAD",
            "PADV2",
            "REDUCE_MAX",
            "REDUCE_MIN",
            "RELU",
            "RELU6",
            "SOFTMAX",
            "TANH",
            "TRANSPOSE_CONV",
        ),
        3,
    ),
    **dict.fromkeys(("CONV_2D", "MAXIMUM", "MINIMUM", "MUL", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPLIT"), 4),
    **dict.fromkeys(("DEPTHWISE_CONV_2D", "SUB", "TRANSPOSE"), 5),
    "FULLY_CONNECTED": 7,
}
_OF_INT4_WEIGHTS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10}

_OF_TYPE = {
    "int32": {"ABS": 5, "SIGN": 2},
    "int64": {"ADD": 4, "MUL": 5, "SUB": 4},
    "bool": {"GATHER": 3, "GATHER_ND": 5, "STRIDED_SLICE": 3, "TRANSPOSE": 3},
}
"""Versions that brought types of numbers that are not quantized."""

_RUNTIME = {
    ("ABS", 1): "1.13.0",
    ("ABS", 5): "2.12.0",
    ("ADD", 1): "1.5.0",
    ("ADD", 2): "1.14.0",
    ("ADD", 3): "2.4.0",
    ("ADD", 4): "2.6.0",
    ("ARG_MAX", 1): "1.9.0",
    ("ARG_MAX", 2): "1.14.0",
    ("ARG_MIN", 1): "1.9.0",
    ("ARG_MIN", 2): "1.14.0",
    ("ATAN2", 1): "2.10.0",
    ("AVERAGE_POOL_2D", 1): "1.5.0",
    ("AVERAGE_POOL_2D", 2): "1.14.0",
    ("AVERAGE_POOL_2D", 3): "2.3.0",
    ("BATCH_MATMUL", 1): "2.3.0",
    ("BATCH_MATMUL", 2): "2.3.0",
    ("BATCH_MATMUL", 3): "2.4.0",
    ("BROADCAST_TO", 2): "2.5.0",
    ("BROADCAST_TO", 3): "2.5.0",
    ("CAST", 1): "1.5.0",
    ("CEIL", 1): "1.14.0",
    ("CONCATENATION", 1): "1.5.0",
    ("CONCATENATION", 2): "1.14.0",
    ("CONCATENATION", 3): "2.3.0",
    ("CONV_2D", 1): "1.5.0",
    ("CONV_2D", 2): "1.14.0",
    ("CONV_2D", 3): "1.14.0",
    ("CONV_2D", 4): "2.3.0",
    ("CONV_2D", 5): "2.4.0",
    ("CONV_2D", 6): "2.9.0",
    ("CONV_2D", 7): "2.11.0",
    ("COS", 1): "1.14.0",
    ("CUMSUM", 1): "2.4.0",
    ("DEPTHWISE_CONV_2D", 1): "1.5.0",
    ("DEPTHWISE_CONV_2D", 2): "1.12.0",
    ("DEPTHWISE_CONV_2D", 3): "1.14.0",
    ("DEPTHWISE_CONV_2D", 5): "2.3.0",
    ("DEPTHWISE_CONV_2D", 7): "2.11.0",
    ("DEPTH_TO_SPACE", 1): "2.1.0",
    ("DEPTH_TO_SPACE", 2): "2.5.0",
    ("DEQUANTIZE", 2): "1.14.0",
    ("DEQUANTIZE", 3): "1.15.0",
    ("DEQUANTIZE", 5): "2.7.0",
    ("DEQUANTIZE", 6): "2.18.0",
    ("DIV", 1): "1.6.0",
    ("DIV", 2): "2.3.0",
    ("ELU", 1): "1.14.0",
    ("EQUAL", 1): "1.14.0",
    ("EXP", 1): "1.7.0",
    ("FLOOR", 1): "1.9.0",
    ("FLOOR_MOD", 1): "1.13.0",
    ("FULLY_CONNECTED", 1): "1.5.0",
    ("FULLY_CONNECTED", 10): "2.11.0",
    ("FULLY_CONNECTED", 12): "2.17.0",
    ("FULLY_CONNECTED", 3): "1.14.0",
    ("FULLY_CONNECTED", 4): "1.14.0",
    ("FULLY_CONNECTED", 5): "2.0.0",
    ("FULLY_CONNECTED", 7): "2.3.0",
    ("FULLY_CONNECTED", 9): "2.3.0",
    ("GATHER", 1): "1.6.0",
    ("GATHER", 2): "1.14.0",
    ("GATHER", 3): "1.15.0",
    ("GATHER_ND", 1): "1.14.0",
    ("GATHER_ND", 5): "2.16.0",
    ("GELU", 1): "2.9.0",
    ("GELU", 2): "2.9.0",
    ("GREATER", 1): "1.14.0",
    ("GREATER_EQUAL", 1): "1.14.0",
    ("HARD_SWISH", 1): "1.15.0",
    ("LEAKY_RELU", 1): "1.13.1",
    ("LEAKY_RELU", 2): "2.3.0",
    ("LESS", 1): "1.14.0",
    ("LESS_EQUAL", 1): "1.14.0",
    ("LOCAL_RESPONSE_NORMALIZATION", 1): "1.5.0",
    ("LOG", 1): "1.14.0",
    ("LOGICAL_AND", 1): "1.11.0",
    ("LOGICAL_NOT", 1): "1.11.0",
    ("LOGICAL_OR", 1): "1.11.0",
    ("LOGISTIC", 1): "1.14.0",
    ("LOGISTIC", 2): "1.14.0",
    ("LOGISTIC", 3): "2.3.0",
    ("LOG_SOFTMAX", 1): "1.14.0",
    ("LOG_SOFTMAX", 2): "1.14.0",
    ("MAXIMUM", 1): "1.14.0",
    ("MAXIMUM", 2): "1.14.0",
    ("MAXIMUM", 3): "2.3.0",
    ("MAXIMUM", 4): "2.3.0",
    ("MAX_POOL_2D", 1): "1.5.0",
    ("MAX_POOL_2D", 2): "1.14.0",
    ("MAX_POOL_2D", 3): "2.3.0",
    ("MEAN", 1): "1.6.0",
    ("MEAN", 2): "1.14.0",
    ("MEAN", 3): "2.4.0",
    ("MINIMUM", 1): "1.14.0",
    ("MINIMUM", 2): "1.14.0",
    ("MINIMUM", 3): "2.3.0",
    ("MINIMUM", 4): "2.3.0",
    ("MIRROR_PAD", 1): "1.13.1",
    ("MIRROR_PAD", 2): "2.3.0",
    ("MIRROR_PAD", 3): "2.12.0",
    ("MUL", 1): "1.5.0",
    ("MUL", 2): "1.14.0",
    ("MUL", 3): "1.15.0",
    ("MUL", 4): "2.3.0",
    ("MUL", 5): "2.6.0",
    ("NEG", 1): "1.9.0",
    ("NON_MAX_SUPPRESSION_V4", 1): "2.1.0",
    ("NOT_EQUAL", 1): "1.14.0",
    ("ONE_HOT", 1): "1.11.0",
    ("PAD", 1): "1.5.0",
    ("PAD", 2): "1.14.0",
    ("PAD", 3): "2.4.0",
    ("PAD", 4): "2.6.0",
    ("PADV2", 1): "1.9.0",
    ("PADV2", 2): "1.14.0",
    ("PADV2", 3): "2.4.0",
    ("PADV2", 4): "2.6.0",
    ("POW", 1): "1.10.0",
    ("PRELU", 1): "1.8.0",
    ("QUANTIZE", 1): "1.14.0",
    ("QUANTIZE", 2): "1.15.0",
    ("REDUCE_ALL", 1): "2.6.0",
    ("REDUCE_ANY", 1): "1.11.0",
    ("REDUCE_MAX", 1): "1.11.0",
    ("REDUCE_MAX", 2): "1.14.0",
    ("REDUCE_MAX", 3): "2.5.0",
    ("REDUCE_MIN", 1): "1.11.0",
    ("REDUCE_MIN", 2): "1.14.0",
    ("REDUCE_MIN", 3): "2.5.0",
    ("REDUCE_PROD", 1): "1.11.0",
    ("RELU", 1): "1.5.0",
    ("RELU", 2): "2.1.0",
    ("RELU", 3): "2.5.0",
    ("RELU6", 1): "1.5.0",
    ("RELU6", 2): "1.14.0",
    ("RELU6", 3): "2.5.0",
    ("RELU_N1_TO_1", 1): "1.5.0",
    ("RESHAPE", 1): "1.5.0",
    ("RESIZE_BILINEAR", 1): "1.7.0",
    ("RESIZE_BILINEAR", 2): "1.14.0",
    ("RESIZE_BILINEAR", 3): "2.2.0",
    ("RESIZE_BILINEAR", 4): "2.5.0",
    ("RESIZE_NEAREST_NEIGHBOR", 1): "1.13.1",
    ("RESIZE_NEAREST_NEIGHBOR", 2): "1.14.0",
    ("RESIZE_NEAREST_NEIGHBOR", 3): "2.3.0",
    ("RESIZE_NEAREST_NEIGHBOR", 4): "2.4.0",
    ("ROUND", 1): "1.14.0",
    ("RSQRT", 1): "1.10.0",
    ("SCATTER_ND", 1): "2.1.0",
    ("SELECT_V2", 1): "2.2.0",
    ("SIGN", 1): "2.11.0",
    ("SIGN", 2): "2.12.0",
    ("SIN", 1): "1.9.0",
    ("SLICE", 1): "1.14.0",
    ("SLICE", 2): "1.14.0",
    ("SLICE", 4): "2.4.0",
    ("SLICE", 5): "2.5.0",
    ("SOFTMAX", 1): "1.5.0",
    ("SOFTMAX", 2): "1.14.0",
    ("SOFTMAX", 3): "2.3.0",
    ("SPACE_TO_DEPTH", 1): "1.5.0",
    ("SPACE_TO_DEPTH", 2): "1.14.0",
    ("SPLIT", 1): "1.5.0",
    ("SPLIT", 2): "1.14.0",
    ("SPLIT", 3): "1.14.0",
    ("SPLIT", 4): "2.3.0",
    ("SPLIT_V", 1): "1.13.1",
    ("SPLIT_V", 2): "2.3.0",
    ("SQRT", 1): "1.10.0",
    ("SQUARE", 1): "1.12.0",
    ("SQUARED_DIFFERENCE", 1): "1.13.1",
    ("STRIDED_SLICE", 1): "1.6.0",
    ("STRIDED_SLICE", 2): "1.14.0",
    ("STRIDED_SLICE", 3): "2.1.0",
    ("STRIDED_SLICE", 4): "2.2.0",
    ("SUB", 1): "1.6.0",
    ("SUB", 2): "1.14.0",
    ("SUB", 3): "2.3.0",
    ("SUB", 4): "2.4.0",
    ("SUB", 5): "2.4.0",
    ("SUM", 1): "1.10.0",
    ("SUM", 2): "1.15.0",
    ("TANH", 1): "1.14.0",
    ("TANH", 2): "1.14.0",
    ("TANH", 3): "2.3.0",
    ("TILE", 1): "1.10.1",
    ("TILE", 3): "2.8.0",
    ("TOPK_V2", 1): "1.7.0",
    ("TOPK_V2", 2): "1.14.0",
    ("TRANSPOSE", 1): "1.6.0",
    ("TRANSPOSE", 2): "1.14.0",
    ("TRANSPOSE", 3): "1.15.0",
    ("TRANSPOSE", 4): "2.3.0",
    ("TRANSPOSE", 5): "2.4.0",
    ("TRANSPOSE", 6): "2.12.0",
    ("TRANSPOSE_CONV", 1): "1.9.0",
    ("TRANSPOSE_CONV", 2): "2.2.0",
    ("TRANSPOSE_CONV", 3): "2.3.0",
    ("WHERE", 1): "1.14.0",
}


def operator_version(operator: DraftOperator, tensors: Sequence[DraftTensor]) -> int:
    """The lowest version of its operator that can execute it."""
    data = [tensors[index] for index in operator.inputs if index >= 0]
    output = tensors[operator.outputs[0]]
    is_int8 = data[0].dtype == "int8"
    by_rank = _rank_version(operator.op, data)
    if "int16" in (output.dtype, data[0].dtype):
        return max(by_rank, _OF_INT16.get(operator.op, 1))
    if by_rank:
        return by_rank
    if operator.op in _OF_TYPE.get(data[0].dtype, {}):
        return _OF_TYPE[data[0].dtype][operator.op]
    if len(data) > 1 and data[1].dtype == "int4" and operator.op in _OF_INT4_WEIGHTS:
        return _OF_INT4_WEIGHTS[operator.op]
    special = _SPECIAL.get(operator.op)
    if special is not None:
        return special(operator, data, is_int8, output)
    return 2 if is_int8 and operator.op in _INT8_IS_2 else 1


def runtime_version(versions: Sequence[tuple[str, int]]) -> str:
    """The lowest TFLite runtime that has all of these operators in these versions."""
    found = [_RUNTIME[pair] for pair in versions if pair in _RUNTIME]
    return max(found, key=lambda version: tuple(int(part) for part in version.split(".")), default="1.5.0")


def _rank_version(op: str, data: Sequence[DraftTensor]) -> int:
    """The version asked for by tensors of more than four axes; 0 if that asks for none."""
    rank = max(len(tensor.shape) for tensor in data)
    if op == "TRANSPOSE" and rank > 4:
        return 6 if rank > 5 else 4
    if rank > 4 and op in ("PAD", "PADV2", "STRIDED_SLICE"):
        return 4
    if rank > 4 and op == "SLICE":
        return 5
    broadcasts = len(data) > 1 and data[0].shape != data[1].shape
    if rank > 4 and broadcasts and op in ("SUB", "MAXIMUM", "MINIMUM", "DIV"):
        return 2 if op == "DIV" else 3
    return 0


def _has_float_flow(data: Sequence[DraftTensor]) -> bool:
    """Whether float32 is multiplied by int8, which rounds it at run time."""
    return data[0].dtype == "float32" and data[1].dtype == "int8"


def _is_by_channel(tensor: DraftTensor) -> bool:
    return tensor.quant is not None and not tensor.quant.is_per_tensor


def _conv(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    if data[0].shape[3] != data[1].shape[3]:
        return 6
    if _has_float_flow(data):
        return 5 if _is_by_channel(data[1]) else 2
    return 3 if is_int8 else 1


def _depthwise(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    if is_int8:
        return 3
    return 2 if (operator.options["dilationHFactor"], operator.options["dilationWFactor"]) != (1, 1) else 1


def _fully_connected(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    if _has_float_flow(data) and _is_by_channel(data[1]):
        return 12
    if operator.options.get("keepNumDims"):
        return 5
    if _has_float_flow(data):
        return 9 if operator.options.get("asymmetricQuantizeInputs") else 3
    return 4 if is_int8 else 1


def _dequantize(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    if data[0].dtype == "float16":
        return 3
    if data[0].dtype in ("int4", "int2"):
        return 6
    return 5 if _is_by_channel(data[0]) else 2


def _mul(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    one, other, result = data[0].quant, data[1].quant, output.quant
    if one is not None and other is not None and result is not None and one.scale[0] * other.scale[0] / result.scale[0] >= 1:
        return 3
    return 2 if is_int8 else 1


def _resize(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    aligned = operator.op == "RESIZE_NEAREST_NEIGHBOR" and operator.options["alignCorners"]
    if operator.options["halfPixelCenters"] or aligned:
        return 3
    return 2 if is_int8 else 1


def _transpose_conv(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    if len(data) == 4:
        return 3
    return 2 if data[1].dtype == "int8" else 1


def _broadcast(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    return 3 if is_int8 else 2


def _split(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    return {"int8": 2, "int32": 3}.get(data[1].dtype, 1)


def _tile(operator: DraftOperator, data: Sequence[DraftTensor], is_int8: bool, output: DraftTensor) -> int:
    return 3 if is_int8 else 1


_SPECIAL = {
    "BROADCAST_TO": _broadcast,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "DEQUANTIZE": _dequantize,
    "MUL": _mul,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SPLIT": _split,
    "TILE": _tile,
    "TRANSPOSE_CONV": _transpose_conv,
}

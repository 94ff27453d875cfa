"""The one table of lowerings: ONNX's operations by name.

Where LiteRT's int8 kernel is slower than Dequantize, the float32 kernel and Quantize together, a row has no ``integer``, but
a ``slow_integer`` for processors that compute in integers alone: XNNPACK takes these three in one go, and the result is
rounded once. Measured on x86-64 with LiteRT 2.3.0, 200,000 elements, microseconds: HARD_SWISH 1,280 against 31, PRELU 2,130
against 31; BATCH_MATMUL of two computed sides 341,000 against 20,000.
"""

from __future__ import annotations

import dataclasses

from edgekit.engine.tflite.lowering import activation, arithmetic, convolution, dense, indexing, logic, pooling, reduction, resize, shape
from edgekit.engine.tflite.lowering.contract import (
    ANY,
    FLOAT,
    INT32,
    NUMBERS,
    TRUTHS,
    Lowering,
    all_quantized,
    always,
    channels_last,
    flow_quantized,
    plain,
    same,
    unmoved,
)

_PAIR = Lowering(
    lower=arithmetic.lower_pair,
    check=arithmetic.check_pair,
    integer=arithmetic.integer_pair,
    activation=arithmetic.has_activation,
    types=NUMBERS,
)
_PAIR_OF_INT32 = dataclasses.replace(_PAIR, types=INT32)
_RESHAPE = Lowering(lower=shape.lower_reshape, wish=shape.reshape_wish, integer=flow_quantized, moves=always, types=ANY)
_REDUCE = Lowering(
    lower=reduction.lower,
    check=reduction.check,
    wish=reduction.wish,
    integer=reduction.integer,
    moves=reduction.moves,
    types=NUMBERS,
)
_REDUCE_TRUTHS = dataclasses.replace(_REDUCE, types=ANY)
_ARG = Lowering(lower=indexing.lower_arg, check=indexing.check_arg, wish=indexing.arg_wish, types=NUMBERS)
_CLIP = Lowering(lower=activation.lower_clip, check=activation.check_clip, integer=flow_quantized)
_SOFTMAX = Lowering(lower=activation.lower_softmax, wish=same, integer=all_quantized)
_LOG_SOFTMAX = dataclasses.replace(_SOFTMAX, wide=False)


def _single(op: str, types: frozenset[str] = FLOAT) -> Lowering:
    return Lowering(lower=arithmetic.single(op), types=types)


def _several(op: str, types: frozenset[str]) -> Lowering:
    return Lowering(lower=logic.lowering(op), check=logic.checking(op), types=types)


LOWERINGS: dict[str, Lowering] = {
    "Abs": _single("ABS", INT32),
    "Add": _PAIR,
    "And": _several("LOGICAL_AND", TRUTHS),
    "ArgMax": _ARG,
    "ArgMin": _ARG,
    "AveragePool": Lowering(
        lower=pooling.lower_average,
        check=pooling.check,
        wish=channels_last,
        integer=pooling.integer_average,
        activation=always,
    ),
    "Cast": Lowering(lower=logic.lower_cast, types=ANY),
    "Ceil": _single("CEIL"),
    "Clip": _CLIP,
    "Concat": Lowering(lower=shape.lower_concat, wish=same, integer=shape.integer_concat, moves=shape.alike, types=ANY),
    "Conv": Lowering(
        lower=convolution.lower,
        check=convolution.check,
        wish=channels_last,
        integer=convolution.integer,
        dynamic=convolution.dynamic,
        activation=always,
    ),
    "ConvTranspose": Lowering(
        lower=convolution.lower_transposed,
        check=convolution.check_transposed,
        wish=channels_last,
        integer=convolution.integer_transposed,
    ),
    "Cos": _single("COS"),
    "CumSum": Lowering(lower=indexing.lower_sums, check=indexing.check_sums, wish=same, types=NUMBERS),
    "DepthToSpace": Lowering(
        lower=shape.lower_depth_to_space,
        check=shape.check_depth_to_space,
        wish=channels_last,
        integer=flow_quantized,
        moves=always,
        wide=False,
    ),
    "Div": _PAIR_OF_INT32,
    "Dropout": Lowering(lower=shape.lower_reshape, wish=unmoved, integer=flow_quantized, moves=always, types=ANY),
    "Elu": Lowering(lower=arithmetic.single("ELU"), check=activation.check_elu, integer=all_quantized, wide=False),
    "Equal": _several("EQUAL", ANY),
    "Exp": _single("EXP"),
    "Expand": Lowering(lower=indexing.lower_expand, check=indexing.check_expand, types=ANY),
    "Flatten": _RESHAPE,
    "Floor": _single("FLOOR"),
    "Gather": Lowering(
        lower=indexing.lower_gather,
        wish=indexing.gather_wish,
        integer=indexing.integer_gather,
        moves=indexing.moves_gather,
        wide=False,
        types=ANY,
    ),
    "GatherND": Lowering(lower=indexing.lower_gather_nd, wish=plain, types=ANY),
    "Gelu": Lowering(lower=activation.lower_gelu, integer=all_quantized, wide=False),
    "Gemm": Lowering(
        lower=dense.lower_gemm,
        check=dense.check_gemm,
        wish=dense.wish,
        integer=dense.integer_gemm,
        dynamic=dense.dynamic,
        activation=always,
    ),
    "GlobalAveragePool": Lowering(lower=reduction.lower_global_average, wish=unmoved, integer=flow_quantized),
    "GlobalMaxPool": Lowering(lower=reduction.lower_global_max, wish=unmoved, integer=flow_quantized, moves=always),
    "Greater": _several("GREATER", ANY),
    "GreaterOrEqual": _several("GREATER_EQUAL", ANY),
    "HardSigmoid": Lowering(lower=activation.lower_hard_sigmoid, integer=activation.integer_hard_sigmoid),
    "HardSwish": Lowering(lower=activation.lower_hard_swish, slow_integer=all_quantized, wide=False),
    "Identity": Lowering(lower=shape.lower_reshape, wish=unmoved, integer=flow_quantized, moves=always, types=ANY),
    "LRN": Lowering(lower=indexing.lower_neighbours, check=indexing.check_neighbours, wish=channels_last),
    "LayerNormalization": Lowering(lower=reduction.lower_layer_normalization, check=reduction.check_layer_normalization, wish=same),
    "LeakyRelu": Lowering(lower=activation.lower_leaky_relu, integer=all_quantized),
    "Less": _several("LESS", ANY),
    "LessOrEqual": _several("LESS_EQUAL", ANY),
    "Log": _single("LOG"),
    "LogSoftmax": _LOG_SOFTMAX,
    "MatMul": Lowering(
        lower=dense.lower_matmul,
        check=dense.check_matmul,
        wish=dense.wish,
        integer=dense.integer_matmul,
        slow_integer=dense.integer_of_two,
        dynamic=dense.dynamic,
        activation=dense.is_dense,
    ),
    "Max": _PAIR,
    "MaxPool": Lowering(
        lower=pooling.lower_max,
        check=pooling.check_max,
        wish=channels_last,
        integer=all_quantized,
        activation=always,
        moves=always,
    ),
    "Min": _PAIR,
    "Mod": _several("FLOOR_MOD", NUMBERS),
    "Mul": _PAIR,
    "Neg": _single("NEG", NUMBERS),
    "Not": _single("LOGICAL_NOT", TRUTHS),
    "OneHot": Lowering(lower=indexing.lower_one_hot, check=indexing.check_one_hot, wish=plain, types=ANY),
    "Or": _several("LOGICAL_OR", TRUTHS),
    "PRelu": Lowering(lower=activation.lower_prelu, check=activation.check_prelu, slow_integer=all_quantized, wide=False),
    "Pad": Lowering(lower=shape.lower_pad, wish=same, check=shape.check_pad, integer=flow_quantized, moves=shape.moves_pad, types=NUMBERS),
    "Pow": _PAIR_OF_INT32,
    "QuantizeLinear": Lowering(lower=shape.lower_quantize),
    "Reciprocal": Lowering(lower=arithmetic.lower_reciprocal),
    "ReduceMax": _REDUCE_TRUTHS,
    "ReduceMean": dataclasses.replace(_REDUCE, types=FLOAT),
    "ReduceMin": _REDUCE_TRUTHS,
    "ReduceProd": _REDUCE,
    "ReduceSum": _REDUCE,
    # Zero is on every scale, so a ReLU may stand before or after rounding.
    "Relu": Lowering(lower=activation.lower_clip, integer=flow_quantized, moves=always),
    "Reshape": _RESHAPE,
    "Resize": Lowering(lower=resize.lower, check=resize.check, wish=resize.wish, integer=flow_quantized, moves=resize.moves),
    "Round": _single("ROUND"),
    "Sigmoid": Lowering(lower=activation.lower_sigmoid, integer=all_quantized),
    "Sign": _single("SIGN", INT32),
    "Sin": _single("SIN"),
    "Slice": Lowering(lower=shape.lower_slice, wish=same, check=shape.check_slice, integer=flow_quantized, moves=always, types=ANY),
    "Softmax": _SOFTMAX,
    "SpaceToDepth": Lowering(lower=shape.lower_space_to_depth, wish=channels_last, integer=flow_quantized, moves=always, wide=False),
    "Split": Lowering(lower=shape.lower_split, wish=same, integer=flow_quantized, moves=always, types=NUMBERS),
    "Sqrt": _single("SQRT"),
    "Squeeze": _RESHAPE,
    "Sub": _PAIR,
    "Tanh": Lowering(lower=activation.lower_tanh, integer=all_quantized),
    "Tile": Lowering(lower=indexing.lower_tile, wish=same, integer=flow_quantized, moves=always, wide=False, types=ANY),
    "TopK": Lowering(lower=indexing.lower_top_k, wish=same, types=NUMBERS),
    "Transpose": Lowering(lower=shape.lower_transpose, wish=shape.transpose_wish, integer=flow_quantized, moves=always, types=ANY),
    "Unsqueeze": _RESHAPE,
    "Where": _several("SELECT_V2", ANY),
    "Xor": _several("NOT_EQUAL", TRUTHS),
    "tflite.Atan2": _several("ATAN2", FLOAT),
    "tflite.Scatter": Lowering(lower=indexing.lower_scatter, wish=plain, types=NUMBERS),
    "tflite.Suppress": Lowering(lower=indexing.lower_suppression, wish=plain, types=INT32),
}

"""The rule of each operator; what is not here keeps its channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.graph.channels import elementwise, moves, products
from edgekit.graph.channels.walk import Walk
from edgekit.graph.node import Node

Rule = Callable[[Walk, Node], None]

_SAME = (
    "Abs Cast Ceil Celu Clip Cos Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu"
    " Round Selu Shrink Sigmoid Sign Sin Softplus Softsign Sqrt Tanh ThresholdedRelu"
)
_BROADCAST = "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor"
_REDUCE = "ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
_POOL = "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool"

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_SAME.split(), elementwise.same),
    **dict.fromkeys(_BROADCAST.split(), elementwise.broadcast),
    **dict.fromkeys(_REDUCE.split(), elementwise.reduce),
    **dict.fromkeys(_POOL.split(), elementwise.pool),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "LpNormalization", "LRN", "Softmax"), elementwise.along_axis),
    "BatchNormalization": elementwise.by_channel,
    "InstanceNormalization": elementwise.by_channel,
    "GroupNormalization": elementwise.group_norm,
    "LayerNormalization": elementwise.layer_norm,
    "Resize": elementwise.resize,
    "Conv": products.conv,
    "ConvTranspose": products.conv_transpose,
    "Gemm": products.gemm,
    "MatMul": products.matmul,
    "Concat": moves.concat,
    "Expand": moves.expand,
    "Flatten": moves.reshape,
    "Gather": moves.gather,
    "Pad": moves.pad,
    "Reshape": moves.reshape,
    "Slice": moves.slice_,
    "Split": moves.split,
    "Squeeze": moves.squeeze,
    "Tile": moves.expand,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.unsqueeze,
}

"""Every operator against ONNX Runtime, to 1e-5 of the largest number."""

import numpy as np
import onnx
import pytest
import torch

from edgekit.graph.trainable import trainable
from edgekit.graph.trainable.table import FUNCTIONS

UNARY = [
    "Abs", "Ceil", "Celu<alpha=0.7>", "Cos", "Elu<alpha=0.5>", "Erf", "Exp", "Floor", "Gelu", 'Gelu<approximate="tanh">',
    "HardSigmoid<alpha=0.3>", "HardSigmoid", "HardSwish", "LeakyRelu", "LeakyRelu<alpha=0.3>", "Mish", "Neg", "Reciprocal", "Relu",
    "Round", "Selu", "Selu<alpha=1.5, gamma=1.1>", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh", "Identity", "Dropout",
    "Softmax", "Softmax<axis=1>", "LogSoftmax<axis=1>", "Flatten", "Flatten<axis=-1>", "Flatten<axis=0>", "Transpose",
    "Transpose<perm=[0,2,1,3]>", "GlobalAveragePool", "GlobalMaxPool", "DepthToSpace<blocksize=2>",
    'DepthToSpace<blocksize=2, mode="CRD">', "SpaceToDepth<blocksize=2>", "Cast<to=6>", "Shape", "Shape<start=1, end=-1>", "Size",
    "ArgMax", "ArgMax<axis=1, keepdims=0>", "ArgMin<axis=-1>", "Squeeze",
]  # fmt: skip
REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"]
POOLS = [
    "kernel_shape=[2,2]",
    "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]",
    "kernel_shape=[3,2], strides=[2,1], pads=[0,1,1,0]",
    'kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER"',
    'kernel_shape=[3,2], strides=[2,2], auto_pad="SAME_LOWER"',
    'kernel_shape=[3,2], strides=[2,2], auto_pad="VALID"',
    "kernel_shape=[3,3], strides=[2,2], ceil_mode=1",
    "kernel_shape=[2,2], strides=[3,3], ceil_mode=1, pads=[1,1,1,1]",
    "kernel_shape=[3,3], strides=[2,2], ceil_mode=1, pads=[1,0,1,1]",
]


def number(*shape, seed=0, low=None):
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return values if low is None else np.abs(values) + np.float32(low)


def ints(*values):
    return np.array(values, np.int64)


PLAIN = [
    *[(f"net (float[2,4,6,8] x) => (y) {{ y = {one}(x) }}", {}) for one in UNARY],
    *[(f"net (float[2,4,6,8] x) => (y) {{ p = Abs(x)  y = {one}(p) }}", {}) for one in ("Sqrt", "Log", "ReduceLogSum")],
    *[(f"net (float[2,4,6,8] x) => (y) {{ y = {one}(x, a) }}", {"a": number(4, 1, 8, low=0.5)}) for one in ("Add", "Sub", "Mul", "Div")],
    *[(f"net (float[2,4,6,8] x) => (y) {{ y = {one}(x, a) }}", {"a": number(4, 1, 8)}) for one in ("Max", "Min", "Sum", "Mean", "PRelu")],
    *[(f"net (float[2,4,6,8] x) => (y) {{ y = {one}(x, a, b) }}", {"a": number(8), "b": number(6, 1)}) for one in ("Max", "Min", "Sum", "Mean")],
    *[
        (f"net (float[2,4,6,8] x) => (y) {{ c = {one}(x, a)  y = Where(c, x, b) }}", {"a": number(8), "b": number(6, 1)})
        for one in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")
    ],
    *[
        (f"net (float[2,4] x) => (y) {{ c = Greater(x, a)  d = Less(x, b)  e = {one}(c, d)  y = Not(e) }}", {"a": number(4), "b": number(4, seed=1)})
        for one in ("And", "Or")
    ],
    ("net (float[2,4,6,8] x) => (y) { p = Abs(x)  y = Pow(p, e) }", {"e": np.float32(1.7)}),
    ("net (float[2,4,6,8] x) => (y) { y = Pow(x, e) }", {"e": np.int64(2)}),
    ("net (float[2,4] x) => (y) { s = Shape(x)  y = Div(s, d) }", {"d": ints(-3)}),
    ("net (float[2,4,6,8] x) => (y) { y = Clip(x, low, high) }", {"low": np.float32(-0.5), "high": np.float32(1)}),
    ("net (float[2,4,6,8] x) => (y) { y = Clip(x, , high) }", {"high": np.float32(0.25)}),
    ("net (float[2,4,6,8] x) => (y) { y = Clip(x) }", {}),
    ("net (float[2,4,6,8] x) => (y) { y = MatMul(x, w) }", {"w": number(8, 5)}),
    ("net (float[4,8] x) => (y) { y = MatMul(x, w) }", {"w": number(8)}),
    ("net (float[4,8] x) => (y) { y = Gemm<alpha=0.5, beta=2.0, transB=1>(x, w, b) }", {"w": number(5, 8), "b": number(5)}),
    ("net (float[4,8] x) => (y) { y = Gemm<transA=1>(x, w) }", {"w": number(4, 3)}),
    ('net (float[2,4,6,8] x) => (y) { y = Einsum<equation="bhid, bhjd -> bhij">(x, x) }', {}),
    ('net (float[2,4,6,8] x) => (y) { y = Einsum<equation="...ij,jk->...ik">(x, w) }', {"w": number(8, 3)}),
    *[(f"net (float[2,4,6,8] x) => (y) {{ y = {one}(x) }}", {}) for one in REDUCTIONS],
    *[(f"net (float[2,4,6,8] x) => (y) {{ y = {one}<keepdims=0>(x, a) }}", {"a": ints(1, -1)}) for one in REDUCTIONS],
    *[(f"net (float[2,4,6,8] x) => (y) {{ y = {one}<noop_with_empty_axes=1>(x) }}", {}) for one in ("ReduceSum", "ReduceMean", "ReduceMax")],
    (
        "net (float[2,4,6,8] x) => (y) { y = BatchNormalization<epsilon=0.01>(x, s, b, m, v) }",
        {"s": number(4), "b": number(4, seed=1), "m": number(4, seed=2), "v": number(4, low=0.1)},
    ),
    ("net (float[2,4,6,8] x) => (y) { y = LayerNormalization(x, s, b) }", {"s": number(8), "b": number(8, seed=1)}),
    ("net (float[2,4,6,8] x) => (y) { y = LayerNormalization<axis=2, epsilon=0.1>(x, s) }", {"s": number(6, 8)}),
    ("net (float[2,4,6,8] x) => (y) { y = InstanceNormalization(x, s, b) }", {"s": number(4), "b": number(4, seed=1)}),
    ("net (float[2,4,6,8] x) => (y) { y = GroupNormalization<num_groups=2>(x, s, b) }", {"s": number(4), "b": number(4, seed=1)}),
    *[(f"net (float[2,4,7,8] x) => (y) {{ y = MaxPool<{one}>(x) }}", {}) for one in [*POOLS, "kernel_shape=[2,3], dilations=[2,1]"]],
    *[(f"net (float[2,4,7,8] x) => (y) {{ y = AveragePool<{one}>(x) }}", {}) for one in POOLS],
    *[(f"net (float[2,4,7,8] x) => (y) {{ y = AveragePool<count_include_pad=1, {one}>(x) }}", {}) for one in POOLS if "ceil" not in one],
    ("net (float[2,4,9] x) => (y) { y = AveragePool<kernel_shape=[3], strides=[2], pads=[1,0]>(x) }", {}),
    ("net (float[1,2,4,5,6] x) => (y) { y = MaxPool<kernel_shape=[2,2,2], strides=[2,1,2]>(x) }", {}),
    ("net (float[2,4,6,8] x) => (y) { y = Reshape(x, s) }", {"s": ints(0, -1, 16)}),
    ("net (float[2,4,6,8] x) => (y) { s = Shape(x)  g = Gather(s, i)  u = Unsqueeze(g, z)  c = Concat<axis=0>(u, m)  y = Reshape(x, c) }",
     {"i": np.int64(0), "z": ints(0), "m": ints(-1)}),
    ("net (float[2,1,6,1] x) => (y) { y = Squeeze(x, a) }", {"a": ints(1, -1)}),
    ("net (float[2,6] x) => (y) { y = Unsqueeze(x, a) }", {"a": ints(-1, 1)}),
    ("net (float[2,4,6] x) => (y) { y = Concat<axis=-1>(x, a, x) }", {"a": number(2, 4, 1)}),
    ("net (float[2,7,6] x) => (a, b) { a, b = Split<axis=1>(x, s) }", {"s": ints(3, 4)}),
    ("net (float[2,7,6] x) => (a, b, c) { a, b, c = Split<axis=1, num_outputs=3>(x) }", {}),
    ("net (float[2,7,6] x) => (y) { y = Slice(x, s, e, a, t) }", {"s": ints(-5, 1), "e": ints(2**62, -1), "a": ints(1, 2), "t": ints(2, 1)}),
    ("net (float[2,7,6] x) => (y) { y = Slice(x, s, e, a, t) }", {"s": ints(-1, 4), "e": ints(-100, 0), "a": ints(1, -1), "t": ints(-1, -2)}),
    ("net (float[2,7,6] x) => (y) { y = Slice(x, s, e) }", {"s": ints(0, 2), "e": ints(1, 4)}),
    ("net (float[2,7,6] x) => (y) { y = Gather<axis=1>(x, i) }", {"i": np.array([[0, -1], [3, 2]])}),
    ("net (float[2,7,6] x) => (y) { y = Gather<axis=-1>(x, i) }", {"i": np.int64(-2)}),
    ("net (float[2,1,6] x) => (y) { y = Expand(x, s) }", {"s": ints(4, 1, 3, 1)}),
    ("net (float[2,1,6] x) => (y) { y = Tile(x, s) }", {"s": ints(2, 3, 1)}),
    ("net (float[2,4,6] x) => (y) { y = Pad(x, p, v) }", {"p": ints(0, 1, 2, 0, 0, -1), "v": np.float32(1.5)}),
    ('net (float[2,4,6] x) => (y) { y = Pad<mode="reflect">(x, p, , a) }', {"p": ints(1, 2, 3, 2), "a": ints(1, -1)}),
    ('net (float[2,4,6] x) => (y) { y = Pad<mode="edge">(x, p) }', {"p": ints(0, 1, 2, 1, 0, 3)}),
    ('net (float[2,4,6] x) => (y) { y = Pad<mode="wrap">(x, p) }', {"p": ints(0, 1, 2, 1, 0, 3)}),
    ("net (float[2,4] x) => (y) { s = Shape(x)  f = ConstantOfShape<value = float[1] {2.5}>(s)  y = Add(x, f) }", {}),
    ("net (float[2,4] x) => (y) { r = Range(a, b, c)  y = Mul(x, r) }", {"a": np.float32(1), "b": np.float32(9), "c": np.float32(2)}),
    ("net (float[2,4] x) => (y) { c = Constant<value_floats=[1.0, 2.0, 3.0, 4.0]>()  y = Mul(x, c) }", {}),
    ("net (float[2,4] x) => (y) { s = Constant<value = int64[2] {4, 2}>()  y = Reshape(x, s) }", {}),
    *[("net (float[2,3,5] x) => (y) { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }", {"s": np.float32(0.02), "z": zero})
      for zero in (np.uint8(100), np.int8(-3), np.int16(300), np.uint16(3000))],
    ("net (float[2,3,5] x) => (y) { q = QuantizeLinear<axis=1>(x, s, z)  y = DequantizeLinear<axis=1>(q, s, z) }",
     {"s": number(3, low=0.01), "z": np.int8([0, 1, -2])}),
    ("net (float[2,3] x) => (y) { w = DequantizeLinear<axis=0, block_size=2>(q, s)  y = MatMul(x, w) }",
     {"q": np.arange(-6, 6, dtype=np.int8).reshape(3, 4), "s": number(2, 4, low=0.01)}),
]  # fmt: skip
CONVOLUTIONS = [
    ("Conv<pads=[1,1,1,1]>(x, w, b)", (6, 4, 3, 3)),
    ("Conv<strides=[2,1], dilations=[2,1], pads=[2,1,2,1]>(x, w, b)", (6, 4, 3, 3)),
    ("Conv<group=4, pads=[1,1,1,1]>(x, w, b)", (4, 1, 3, 3)),
    ("Conv<group=2, pads=[0,1,2,0]>(x, w)", (6, 2, 3, 2)),
    ('Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w, b)', (6, 4, 3, 2)),
    ('Conv<auto_pad="SAME_LOWER", strides=[3,2]>(x, w, b)', (6, 4, 4, 3)),
    ('Conv<auto_pad="VALID">(x, w, b)', (6, 4, 3, 3)),
    ("ConvTranspose(x, w, b)", (4, 6, 3, 3)),
    ("ConvTranspose<strides=[2,3], pads=[1,0,0,2], output_padding=[1,2]>(x, w, b)", (4, 6, 3, 3)),
    ("ConvTranspose<group=2, strides=[2,2], dilations=[2,1], pads=[1,1,1,1]>(x, w, b)", (4, 3, 2, 3)),
    ('ConvTranspose<strides=[2,2], auto_pad="SAME_UPPER">(x, w, b)', (4, 6, 3, 3)),
    ('ConvTranspose<strides=[2,2], auto_pad="SAME_LOWER">(x, w, b)', (4, 6, 3, 3)),
    ("ConvTranspose<strides=[2,2], output_shape=[14,17]>(x, w, b)", (4, 6, 3, 3)),
]
PLAIN += [
    (f"net (float[2,4,7,8] x) => (y) {{ y = {text} }}", {"w": number(*shape), "b": number(6 if shape[0] == 6 or "Transpose" in text else shape[0])})
    for text, shape in CONVOLUTIONS
]
PLAIN += [
    ("net (float[2,4,9] x) => (y) { y = Conv<strides=[2], pads=[1,0]>(x, w, b) }", {"w": number(6, 4, 3), "b": number(6)}),
    ("net (float[1,2,5,6,7] x) => (y) { y = Conv<pads=[1,1,1,1,1,1]>(x, w, b) }", {"w": number(3, 2, 3, 3, 3), "b": number(3)}),
    ("net (float[2,4,5] x) => (y) { y = ConvTranspose<strides=[2], output_padding=[1]>(x, w, b) }", {"w": number(4, 3, 3), "b": number(3)}),
]
COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
RESIZES = [
    *[(f'Resize<mode="linear", coordinate_transformation_mode="{way}">(x, , f)', ints()) for way in COORDINATES],
    *[(f'Resize<coordinate_transformation_mode="{way}">(x, , f)', ints()) for way in COORDINATES],
    *[
        (f'Resize<nearest_mode="{mode}", coordinate_transformation_mode="asymmetric">(x, , f)', ints())
        for mode in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ],
    ('Resize<mode="linear">(x, , , s)', ints(2, 3, 11, 4)),
    ('Resize<mode="linear", axes=[2,3]>(x, , , s)', ints(11, 4)),
    ("Resize<axes=[-1]>(x, , , s)", ints(5)),
]
RECURRENT = [
    ("LSTM<hidden_size=5>(x, w, r, b)", 4, 1),
    ('LSTM<hidden_size=5, direction="bidirectional">(x, w, r, b, , h, c)', 4, 2),
    ('LSTM<hidden_size=5, direction="reverse">(x, w, r)', 4, 1),
    ("GRU<hidden_size=5>(x, w, r, b)", 3, 1),
    ('GRU<hidden_size=5, linear_before_reset=1, direction="bidirectional">(x, w, r, b, , h)', 3, 2),
    ('RNN<hidden_size=5, direction="reverse">(x, w, r, b)', 1, 1),
]
PLAIN += [
    (
        f"net (float[6,2,3] x) => (y, z) {{ y, z = {text} }}",
        {
            "w": number(ways, 5 * gates, 3),
            "r": number(ways, 5 * gates, 5, seed=1),
            "b": number(ways, 10 * gates, seed=2),
            "h": number(ways, 2, 5, seed=3),
            "c": number(ways, 2, 5, seed=4),
        },
    )
    for text, gates, ways in RECURRENT
]
PLAIN += [
    (
        f"net (float[2,3,7,6] x) => (y) {{ y = {text} }}",
        {"f": np.float32([1, 1, 2, 1.5])} if "f)" in text else {"s": sizes},
    )
    for text, sizes in RESIZES
]


@pytest.mark.parametrize(("text", "constants"), PLAIN, ids=[f"{at}-{text.partition('{')[2].strip(' }')[:60]}" for at, (text, _) in enumerate(PLAIN)])
def test_an_operator_computes_what_onnx_runtime_computes(graph_of, by_onnx_runtime, text, constants):
    proto = graph_of(text, **{name: value for name, value in constants.items() if f"{name}" in text})
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    x = number(*shape, seed=7)

    expected = by_onnx_runtime(proto, {"x": x})
    with torch.no_grad():
        got = trainable(proto)({"x": torch.from_numpy(x)})

    assert list(got) == list(expected)
    for name, values in expected.items():
        assert tuple(got[name].shape) == values.shape
        np.testing.assert_allclose(got[name].numpy(), values, rtol=1e-5, atol=1e-5 * max(float(np.abs(values).max()), 1e-6))


def test_every_operator_that_is_computed_is_in_the_test_above():
    tried = {node.op_type for text, _ in PLAIN for node in onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}').graph.node}

    assert tried - {"Constant"} == set(FUNCTIONS)

"""Every operation that the table names, in float32, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from edgekit.engine.tflite.lowering.table import LOWERINGS

RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


PICTURE = "(float[1,6,9,7] x) => (y)"
SPLITS = {2: "y, z", 3: "y, z, v", 4: "y, z, v, u", 6: "y, z, v, u, t, s"}
ROWS = "(float[3,10] x) => (y)"
CASES = {
    "conv": (f"{PICTURE} {{ y = Conv(x, w, b) }}", {"w": normal(4, 6, 3, 3), "b": normal(4)}),
    "conv without bias": (f"{PICTURE} {{ y = Conv(x, w) }}", {"w": normal(4, 6, 1, 1)}),
    "conv in groups": (f"{PICTURE} {{ y = Conv<group=2, pads=[1,1,1,1]>(x, w, b) }}", {"w": normal(8, 3, 3, 3), "b": normal(8)}),
    "depthwise conv": (f"{PICTURE} {{ y = Conv<group=6, pads=[1,1,1,1]>(x, w, b) }}", {"w": normal(6, 1, 3, 3), "b": normal(6)}),
    "depthwise conv with multiplier": (f"{PICTURE} {{ y = Conv<group=6>(x, w, b) }}", {"w": normal(12, 1, 3, 3), "b": normal(12)}),
    "dilated depthwise conv": (f"{PICTURE} {{ y = Conv<group=6, dilations=[2,2], pads=[2,2,2,2]>(x, w) }}", {"w": normal(6, 1, 3, 3)}),
    "conv of one channel": ("(float[1,1,9,7] x) => (y) { y = Conv(x, w) }", {"w": normal(4, 1, 3, 3)}),
    "conv and relu": (f"{PICTURE} {{ z = Conv(x, w) y = Relu(z) }}", {"w": normal(4, 6, 3, 3)}),
    "conv and relu6": (f"{PICTURE} {{ z = Conv(x, w) y = Clip(z, l, h) }}", {"w": normal(4, 6, 3, 3), "l": np.float32(0), "h": np.float32(6)}),
    "conv transposed": (f"{PICTURE} {{ y = ConvTranspose<strides=[2,2]>(x, w, b) }}", {"w": normal(6, 4, 2, 2), "b": normal(4)}),
    "conv transposed, cut evenly": (
        f"{PICTURE} {{ y = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(x, w, b) }}",
        {"w": normal(6, 4, 4, 4), "b": normal(4)},
    ),
    "conv transposed, torch's": (
        f"{PICTURE} {{ y = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]>(x, w, b) }}",
        {"w": normal(6, 4, 3, 3), "b": normal(4)},
    ),
    "conv transposed, same upper": (
        f'{PICTURE} {{ y = ConvTranspose<strides=[2,2], auto_pad="SAME_UPPER">(x, w, b) }}',
        {"w": normal(6, 4, 3, 3), "b": normal(4)},
    ),
    "conv transposed, same lower": (
        f'{PICTURE} {{ y = ConvTranspose<strides=[2,2], auto_pad="SAME_LOWER">(x, w, b) }}',
        {"w": normal(6, 4, 3, 3), "b": normal(4)},
    ),
    "conv transposed, gaps": (f"{PICTURE} {{ y = ConvTranspose<strides=[3,3]>(x, w, b) }}", {"w": normal(6, 4, 2, 2), "b": normal(4)}),
    "conv transposed and relu": (f"{PICTURE} {{ z = ConvTranspose<strides=[2,2]>(x, w) y = Relu(z) }}", {"w": normal(6, 4, 2, 2)}),
    "conv of a sequence": (
        "(float[2,6,19] x) => (y) { z = Conv<pads=[2,1], strides=[2], dilations=[2]>(x, w, b) y = Relu(z) }",
        {"w": normal(4, 6, 3), "b": normal(4)},
    ),
    "pooling of a sequence": (
        "(float[2,6,19] x) => (y, z) { y = MaxPool<kernel_shape=[3], strides=[2], pads=[1,1]>(x) z = AveragePool<kernel_shape=[4]>(x) }",
        {},
    ),
    "conv transposed of a sequence": (
        "(float[2,6,19] x) => (y) { y = ConvTranspose<strides=[2], output_padding=[1]>(x, w) }",
        {"w": normal(6, 4, 3)},
    ),
    "batch normalization before conv": (
        f"{PICTURE} {{ z = BatchNormalization(x, s, b, m, v) a = Relu(z) y = Conv(a, w) }}",
        {"s": normal(6), "b": normal(6), "m": normal(6), "v": np.abs(normal(6)) + 1, "w": normal(4, 6, 1, 1)},
    ),
    "gemm": (f"{ROWS} {{ y = Gemm<transB=1>(x, w, b) }}", {"w": normal(5, 10), "b": normal(5)}),
    "gemm, not transposed": (f"{ROWS} {{ y = Gemm(x, w, b) }}", {"w": normal(10, 5), "b": normal(1, 5)}),
    "gemm with factors": (f"{ROWS} {{ y = Gemm<alpha=0.5, beta=2.0>(x, w, b) }}", {"w": normal(10, 5), "b": normal(5)}),
    "gemm with a bias for each row": (f"{ROWS} {{ y = Gemm(x, w, b) }}", {"w": normal(10, 5), "b": normal(3, 1)}),
    "gemm with one bias": (f"{ROWS} {{ y = Gemm(x, w, b) }}", {"w": normal(10, 5), "b": normal(1)}),
    "gemm with a computed bias": (f"{ROWS} {{ b = Relu(x) y = Gemm(x, w, b) }}", {"w": normal(10, 10)}),
    "gemm of a transposed input": ("(float[10,3] x) => (y) { y = Gemm<transA=1>(x, w) }", {"w": normal(10, 5)}),
    "gemm and relu": (f"{ROWS} {{ z = Gemm(x, w, b) y = Relu(z) }}", {"w": normal(10, 5), "b": normal(5)}),
    "matmul": (f"{ROWS} {{ y = MatMul(x, w) }}", {"w": normal(10, 5)}),
    "matmul and bias": (f"{ROWS} {{ z = MatMul(x, w) y = Add(z, b) }}", {"w": normal(10, 5), "b": normal(5)}),
    "matmul and bias and relu": (f"{ROWS} {{ z = MatMul(x, w) a = Add(b, z) y = Relu(a) }}", {"w": normal(10, 5), "b": normal(5)}),
    "matmul of three axes": ("(float[2,3,10] x) => (y) { z = MatMul(x, w) y = Add(z, b) }", {"w": normal(10, 5), "b": normal(5)}),
    "matmul of two computed": ("(float[2,3,10] x, float[2,10,4] z) => (y) { y = MatMul(x, z) }", {}),
    "matmul, constant first": ("(float[10,3] x) => (y) { y = MatMul(w, x) }", {"w": normal(5, 10)}),
    "maxpool": (f"{PICTURE} {{ y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) }}", {}),
    "maxpool with ceil_mode": (f"{PICTURE} {{ y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x) }}", {}),
    "maxpool with padding": (f"{PICTURE} {{ y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x) }}", {}),
    "maxpool with padding after relu": (f"{PICTURE} {{ z = Relu(x) y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,0,0]>(z) }}", {}),
    "averagepool": (f"{PICTURE} {{ y = AveragePool<kernel_shape=[3,3], strides=[2,2]>(x) }}", {}),
    "averagepool of all": (f"{PICTURE} {{ y = AveragePool<kernel_shape=[9,7]>(x) }}", {}),
    "global averagepool": (f"{PICTURE} {{ y = GlobalAveragePool(x) }}", {}),
    "global maxpool": (f"{PICTURE} {{ y = GlobalMaxPool(x) }}", {}),
    "mean over height and width": (f"{PICTURE} {{ y = ReduceMean<keepdims=0>(x, a) }}", {"a": ints(2, 3)}),
    "mean over channels": (f"{PICTURE} {{ y = ReduceMean(x, a) }}", {"a": ints(1)}),
    "mean over all": (f"{PICTURE} {{ y = ReduceMean(x) }}", {}),
    "mean over nothing": (f"{PICTURE} {{ y = ReduceMean<noop_with_empty_axes=1>(x) }}", {}),
    "sum": (f"{PICTURE} {{ y = ReduceSum<keepdims=0>(x, a) }}", {"a": ints(-1)}),
    "greatest": (f"{PICTURE} {{ y = ReduceMax(x, a) }}", {"a": ints(1, 2)}),
    "least": (f"{PICTURE} {{ y = ReduceMin<keepdims=0>(x, a) }}", {"a": ints(1)}),
    "relu": (f"{PICTURE} {{ y = Relu(x) }}", {}),
    "relu6": (f"{PICTURE} {{ y = Clip(x, l, h) }}", {"l": np.float32(0), "h": np.float32(6)}),
    "clip to -1, 1": (f"{PICTURE} {{ y = Clip(x, l, h) }}", {"l": np.float32(-1), "h": np.float32(1)}),
    "clip elsewhere": (f"{PICTURE} {{ y = Clip(x, l, h) }}", {"l": np.float32(-0.3), "h": np.float32(0.7)}),
    "clip below": (f"{PICTURE} {{ y = Clip(x, l) }}", {"l": np.float32(-0.3)}),
    "clip above": (f"{PICTURE} {{ y = Clip(x, , h) }}", {"h": np.float32(0.3)}),
    "clip nowhere": (f"{PICTURE} {{ y = Clip(x) }}", {}),
    "leaky relu": (f"{PICTURE} {{ y = LeakyRelu<alpha=0.1>(x) }}", {}),
    "prelu": (f"{PICTURE} {{ y = PRelu(x, s) }}", {"s": normal(6, 1, 1)}),
    "prelu with one slope": (f"{PICTURE} {{ y = PRelu(x, s) }}", {"s": normal(1)}),
    "prelu of rows": (f"{ROWS} {{ y = PRelu(x, s) }}", {"s": normal(10)}),
    "prelu after conv": (f"{PICTURE} {{ z = Conv(x, w) y = PRelu(z, s) }}", {"w": normal(4, 6, 3, 3), "s": normal(4, 1, 1)}),
    "sigmoid": (f"{PICTURE} {{ y = Sigmoid(x) }}", {}),
    "tanh": (f"{PICTURE} {{ y = Tanh(x) }}", {}),
    "softmax of rows": (f"{ROWS} {{ y = Softmax(x) }}", {}),
    "softmax over channels": (f"{PICTURE} {{ z = Conv(x, w) y = Softmax<axis=1>(z) }}", {"w": normal(4, 6, 3, 3)}),
    "softmax over height": (f"{PICTURE} {{ y = Softmax<axis=2>(x) }}", {}),
    "log softmax": (f"{ROWS} {{ y = LogSoftmax<axis=1>(x) }}", {}),
    "hardswish": (f"{PICTURE} {{ y = HardSwish(x) }}", {}),
    "hardsigmoid of torch": (f"{PICTURE} {{ y = HardSigmoid<alpha=0.16666667163372, beta=0.5>(x) }}", {}),
    "hardsigmoid of keras": (f"{PICTURE} {{ y = HardSigmoid<alpha=0.2, beta=0.5>(x) }}", {}),
    "elu": (f"{PICTURE} {{ y = Elu(x) }}", {}),
    "gelu": (f"{PICTURE} {{ y = Gelu(x) }}", {}),
    "gelu by tanh": (f'{PICTURE} {{ y = Gelu<approximate="tanh">(x) }}', {}),
    "silu": (f"{PICTURE} {{ z = Sigmoid(x) y = Mul(x, z) }}", {}),
    "layer normalization": (f"{ROWS} {{ y = LayerNormalization(x, s, b) }}", {"s": normal(10), "b": normal(10)}),
    "layer normalization without bias": (f"{ROWS} {{ y = LayerNormalization(x, s) }}", {"s": normal(10)}),
    "layer normalization of three axes": (f"{PICTURE} {{ y = LayerNormalization<axis=1>(x, s, b) }}", {"s": normal(6, 9, 7), "b": normal(6, 9, 7)}),
    "matmul and a bias of more axes": ("(float[2,3,6] x) => (y) { p = MatMul(x, w) y = Add(p, b) }", {"w": normal(6, 5), "b": normal(1, 1, 1, 5)}),
    "hardsigmoid that falls": (f"{PICTURE} {{ y = HardSigmoid<alpha=-0.3, beta=0.4>(x) }}", {}),
    "add of two": ("(float[1,6,9,7] x, float[1,6,9,7] z) => (y) { y = Add(x, z) }", {}),
    "add and relu": ("(float[1,6,9,7] x, float[1,6,9,7] z) => (y) { a = Add(x, z) y = Relu(a) }", {}),
    "add of a number": (f"{PICTURE} {{ y = Add(x, c) }}", {"c": np.float32(0.5)}),
    "add of a number for each channel": (f"{PICTURE} {{ y = Add(x, c) }}", {"c": normal(6, 1, 1)}),
    "add of a row": (f"{PICTURE} {{ y = Add(x, c) }}", {"c": normal(7)}),
    "add of a smaller picture": ("(float[1,6,9,7] x, float[1,6,1,1] z) => (y) { y = Add(x, z) }", {}),
    "add of fewer axes": ("(float[2,6,9,7] x, float[9,7] z) => (y) { a = Conv(x, w) y = Add(a, z) }", {"w": normal(6, 6, 1, 1)}),
    "sub": (f"{PICTURE} {{ y = Sub(c, x) }}", {"c": normal(6, 1, 1)}),
    "mul": ("(float[1,6,9,7] x, float[1,6,1,1] z) => (y) { y = Mul(x, z) }", {}),
    "div by a number": (f"{PICTURE} {{ y = Div(x, c) }}", {"c": np.float32(3)}),
    "div of a number": (f"{PICTURE} {{ z = Exp(x) y = Div(c, z) }}", {"c": np.float32(3)}),
    "sum of three": (f"{PICTURE} {{ a = Relu(x) b = Neg(x) y = Sum(x, a, b) }}", {}),
    "max": (f"{PICTURE} {{ y = Max(x, c) }}", {"c": np.float32(0.1)}),
    "min": (f"{PICTURE} {{ z = Neg(x) y = Min(x, z) }}", {}),
    "pow": (f"{PICTURE} {{ z = Abs(x) y = Pow(z, c) }}", {"c": np.float32(2)}),
    "abs": (f"{PICTURE} {{ y = Abs(x) }}", {}),
    "neg": (f"{PICTURE} {{ y = Neg(x) }}", {}),
    "exp": (f"{PICTURE} {{ y = Exp(x) }}", {}),
    "log": (f"{PICTURE} {{ z = Exp(x) y = Log(z) }}", {}),
    "sqrt": (f"{PICTURE} {{ z = Abs(x) y = Sqrt(z) }}", {}),
    "reciprocal": (f"{PICTURE} {{ z = Exp(x) y = Reciprocal(z) }}", {}),
    "floor": (f"{PICTURE} {{ y = Floor(x) }}", {}),
    "ceil": (f"{PICTURE} {{ y = Ceil(x) }}", {}),
    "sin": (f"{PICTURE} {{ y = Sin(x) }}", {}),
    "cos": (f"{PICTURE} {{ y = Cos(x) }}", {}),
    "flatten": (f"{PICTURE} {{ y = Flatten(x) }}", {}),
    "reshape": (f"{PICTURE} {{ y = Reshape(x, s) }}", {"s": ints(2, 3, 63)}),
    "squeeze": (f"{PICTURE} {{ z = GlobalAveragePool(x) y = Squeeze(z, a) }}", {"a": ints(2, 3)}),
    "unsqueeze": ("(float[1,6] x) => (y) { z = Unsqueeze(x, a) y = Conv(z, w) }", {"a": ints(2, 3), "w": normal(4, 6, 1, 1)}),
    "identity": (f"{PICTURE} {{ z = Identity(x) y = Relu(z) }}", {}),
    "dropout": (f"{PICTURE} {{ z = Dropout(x) y = Relu(z) }}", {}),
    "transpose": (f"{PICTURE} {{ y = Transpose<perm=[0,2,3,1]>(x) }}", {}),
    "transpose of rows": (f"{ROWS} {{ y = Transpose(x) }}", {}),
    "concat of channels": (f"{PICTURE} {{ z = Relu(x) y = Concat<axis=1>(x, z) }}", {}),
    "concat of rows": (f"{PICTURE} {{ z = Relu(x) y = Concat<axis=-1>(x, z, x) }}", {}),
    "concat with a constant": (f"{PICTURE} {{ y = Concat<axis=1>(x, c) }}", {"c": normal(1, 2, 9, 7)}),
    **{f"split into {n}": (f"(float[1,12,9,7] x) => ({outs}) {{ {outs} = Split<axis=1, num_outputs={n}>(x) }}", {}) for n, outs in SPLITS.items()},
    "split": ("(float[1,6,9,7] x) => (y, z) { y, z = Split<axis=1>(x, s) }", {"s": ints(2, 4)}),
    "slice": (f"{PICTURE} {{ y = Slice(x, b, e, a) }}", {"b": ints(1, 2), "e": ints(5, 1000), "a": ints(1, 2)}),
    "slice with steps": (f"{PICTURE} {{ y = Slice(x, b, e, a, s) }}", {"b": ints(0, 6), "e": ints(9, -100), "a": ints(2, 3), "s": ints(2, -1)}),
    "pad": (f"{PICTURE} {{ y = Pad(x, p) }}", {"p": ints(0, 1, 2, 3, 0, 0, 1, 0)}),
    "pad with a number": (f"{PICTURE} {{ y = Pad(x, p, v) }}", {"p": ints(0, 0, 2, 3, 0, 0, 1, 0), "v": np.float32(1.5)}),
    "pad of some axes": (f"{PICTURE} {{ y = Pad(x, p, , a) }}", {"p": ints(1, 2, 3, 4), "a": ints(2, -1)}),
    "pad by reflection": (f'{PICTURE} {{ y = Pad<mode="reflect">(x, p) }}', {"p": ints(0, 0, 2, 3, 0, 0, 1, 1)}),
    "depth to space": ("(float[1,8,3,5] x) => (y) { y = DepthToSpace<blocksize=2>(x) }", {}),
    "space to depth": ("(float[1,2,6,4] x) => (y) { y = SpaceToDepth<blocksize=2>(x) }", {}),
    "resize": (
        f'{PICTURE} {{ y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , s) }}',
        {"s": np.float32([1, 1, 2, 2])},
    ),
}
WAYS = ((" ", "("), (" ", "<"), ('"', '"'), ('"', "<"))
NOT_ALONE = {"QuantizeLinear", "tflite.Atan2", "tflite.Scatter", "tflite.Suppress"}


@pytest.mark.parametrize("case", CASES)
def test_engine_computes_what_onnx_runtime_computes(case, graph, assert_same):
    text, constants = CASES[case]

    assert_same(graph(text, **constants))


def test_every_row_of_the_table_is_tried():
    tried = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_operators_*.py"))

    assert [op for op in LOWERINGS if not any(f"{before}{op}{after}" in tried for before, after in WAYS) and op not in NOT_ALONE] == []


RESIZES = [
    (mode, how, rounding, sizes)
    for mode, roundings in (("nearest", ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")), ("linear", ("floor",)))
    for how in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
    for rounding in roundings
    for sizes in ((18, 14), (27, 28), (5, 4), (9, 14), (13, 11))
]


@pytest.mark.parametrize(("mode", "how", "rounding", "sizes"), RESIZES)
def test_resize_is_exact_or_refused(mode, how, rounding, sizes, graph, store, assert_same):
    from edgekit.engine.tflite import TfliteBackend
    from edgekit.target import Runtime, Target

    text = f'{PICTURE} {{ y = Resize<mode="{mode}", coordinate_transformation_mode="{how}", nearest_mode="{rounding}">(x, , , s) }}'
    proto = graph(text, s=ints(1, 6, *sizes))
    target = Target(schema=1, name="t", arch="aarch64", runtimes=(Runtime("tflite"),), sources={})

    if TfliteBackend().refusals(store(proto), target):
        # What the exporters of torch and Keras write must not be refused.
        assert not (mode == "nearest" and sizes == (18, 14) and (how, rounding) in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")))
        assert not (mode == "linear" and how in ("half_pixel", "align_corners", "asymmetric"))
    else:
        # ONNX Runtime counts half_pixel_symmetric in single precision, and lands beside whole pixels.
        assert_same(proto, wanted=ReferenceEvaluator(proto).run if how == "half_pixel_symmetric" else None)

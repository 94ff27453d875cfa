"""Operations in integers, against ONNX Runtime on the same Q/DQ graph."""

import numpy as np
import pytest

from edgekit.engine.tflite import TfliteBackend
from edgekit.engine.tflite.draft import Draft
from edgekit.engine.tflite.graph import Quant
from edgekit.errors import EdgekitError
from edgekit.target import Runtime, Target

RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


ZERO, SIX = np.float32(0), np.float32(6)
PICTURE = "(float[1,6,9,7] x) => (y)"
ROWS = "(float[3,10] x) => (y)"
# By name: the graph, its constants, whether XNNPACK computes all of it, and how many steps the output may be apart.
# One step is the rounding of one operation. It is more for operations of several parts, for those whose output LiteRT
# fixes at another scale, and for AveragePool where its input, at whose scale it must write, has the coarser one.
CASES = {
    "conv": (f"{PICTURE} {{ y = Conv(x, w, b) }}", {"w": normal(4, 6, 3, 3), "b": normal(4)}, True, 1),
    "conv without bias": (f"{PICTURE} {{ y = Conv(x, w) }}", {"w": normal(4, 6, 1, 1)}, True, 1),
    "conv with padding": (f"{PICTURE} {{ y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b) }}", {"w": normal(4, 6, 3, 3), "b": normal(4)}, True, 1),
    "conv with padding at the start": (
        f"{PICTURE} {{ y = Conv<pads=[2,2,0,0], strides=[2,2]>(x, w, b) }}",
        {"w": normal(4, 6, 3, 3), "b": normal(4)},
        True,
        1,
    ),
    "conv in groups": (f"{PICTURE} {{ y = Conv<group=2, pads=[1,1,1,1]>(x, w, b) }}", {"w": normal(8, 3, 3, 3), "b": normal(8)}, True, 1),
    "depthwise conv": (f"{PICTURE} {{ y = Conv<group=6, pads=[1,1,1,1]>(x, w, b) }}", {"w": normal(6, 1, 3, 3), "b": normal(6)}, True, 1),
    "depthwise conv with multiplier": (f"{PICTURE} {{ y = Conv<group=6>(x, w, b) }}", {"w": normal(12, 1, 3, 3), "b": normal(12)}, True, 1),
    "conv and relu": (f"{PICTURE} {{ z = Conv(x, w, b) y = Relu(z) }}", {"w": normal(4, 6, 3, 3), "b": normal(4)}, True, 1),
    "conv and relu6": (f"{PICTURE} {{ z = Conv(x, w) y = Clip(z, l, h) }}", {"w": normal(4, 6, 3, 3), "l": ZERO, "h": SIX}, True, 1),
    "conv and clip": (f"{PICTURE} {{ z = Conv(x, w) y = Clip(z, l, h) }}", {"w": normal(4, 6, 3, 3), "l": ZERO, "h": np.float32(1)}, True, 1),
    "conv transposed": (f"{PICTURE} {{ y = ConvTranspose<strides=[2,2]>(x, w, b) }}", {"w": normal(6, 4, 2, 2), "b": normal(4)}, True, 1),
    "conv transposed, torch's": (
        f"{PICTURE} {{ y = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]>(x, w, b) }}",
        {"w": normal(6, 4, 3, 3), "b": normal(4)},
        True,
        1,
    ),
    "conv of a sequence": ("(float[2,6,19] x) => (y) { z = Conv<pads=[1,1]>(x, w, b) y = Relu(z) }", {"w": normal(4, 6, 3), "b": normal(4)}, True, 1),
    "gemm": (f"{ROWS} {{ y = Gemm<transB=1>(x, w, b) }}", {"w": normal(5, 10), "b": normal(5)}, True, 1),
    "gemm, not transposed": (f"{ROWS} {{ y = Gemm(x, w, b) }}", {"w": normal(10, 5), "b": normal(5)}, True, 1),
    "gemm and relu": (f"{ROWS} {{ z = Gemm(x, w, b) y = Relu(z) }}", {"w": normal(10, 5), "b": normal(5)}, True, 1),
    "matmul": (f"{ROWS} {{ y = MatMul(x, w) }}", {"w": normal(10, 5)}, True, 1),
    "matmul of three axes": ("(float[2,3,10] x) => (y) { y = MatMul(x, w) }", {"w": normal(10, 5)}, True, 1),
    "add": ("(float[1,6,9,7] x, float[1,6,9,7] z) => (y) { y = Add(x, z) }", {}, True, 1),
    "add and relu": ("(float[1,6,9,7] x, float[1,6,9,7] z) => (y) { a = Add(x, z) y = Relu(a) }", {}, True, 1),
    "add of a constant": (f"{PICTURE} {{ y = Add(x, c) }}", {"c": normal(6, 1, 1)}, True, 1),
    "sub": ("(float[1,6,9,7] x, float[1,6,9,7] z) => (y) { y = Sub(x, z) }", {}, True, 1),
    "mul": ("(float[1,6,9,7] x, float[1,6,1,1] z) => (y) { y = Mul(x, z) }", {}, True, 1),
    "max": ("(float[1,6,9,7] x, float[1,6,9,7] z) => (y) { y = Max(x, z) }", {}, False, 1),
    "relu": (f"{PICTURE} {{ y = Relu(x) }}", {}, True, 1),
    "leaky relu": (f"{PICTURE} {{ y = LeakyRelu<alpha=0.1>(x) }}", {}, True, 1),
    "sigmoid": (f"{PICTURE} {{ y = Sigmoid(x) }}", {}, True, 2),
    "tanh": (f"{PICTURE} {{ y = Tanh(x) }}", {}, True, 2),
    "hardsigmoid of torch": (f"{PICTURE} {{ y = HardSigmoid<alpha=0.16666667163372, beta=0.5>(x) }}", {}, True, 2),
    "hardsigmoid of keras": (f"{PICTURE} {{ y = HardSigmoid<alpha=0.2, beta=0.5>(x) }}", {}, True, 2),
    "elu": (f"{PICTURE} {{ y = Elu(x) }}", {}, True, 1),
    "gelu": (f"{PICTURE} {{ y = Gelu(x) }}", {}, False, 1),
    "softmax of rows": (f"{ROWS} {{ y = Softmax(x) }}", {}, False, 2),
    "softmax over channels": (f"{PICTURE} {{ y = Softmax<axis=1>(x) }}", {}, False, 2),
    "log softmax": (f"{ROWS} {{ y = LogSoftmax(x) }}", {}, False, 4),
    "maxpool": (f"{PICTURE} {{ y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) }}", {}, True, 1),
    "maxpool with padding": (f"{PICTURE} {{ y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x) }}", {}, True, 1),
    "averagepool, leaving padding out": (f"{PICTURE} {{ y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) }}", {}, False, 3),
    "averagepool": (f"{PICTURE} {{ y = AveragePool<kernel_shape=[3,3], strides=[2,2]>(x) }}", {}, True, 1),
    "averagepool, counting padding": (
        f"{PICTURE} {{ y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1>(x) }}",
        {},
        True,
        1,
    ),
    "global averagepool": (f"{PICTURE} {{ y = GlobalAveragePool(x) }}", {}, True, 1),
    "global maxpool": (f"{PICTURE} {{ y = GlobalMaxPool(x) }}", {}, True, 1),
    "mean over height and width": (f"{PICTURE} {{ y = ReduceMean<keepdims=0>(x, a) }}", {"a": ints(2, 3)}, True, 1),
    "mean over channels": (f"{PICTURE} {{ y = ReduceMean(x, a) }}", {"a": ints(1)}, True, 1),
    "greatest": (f"{PICTURE} {{ y = ReduceMax(x, a) }}", {"a": ints(1)}, True, 1),
    "reshape": (f"{PICTURE} {{ y = Reshape(x, s) }}", {"s": ints(2, 3, 63)}, True, 1),
    "flatten and gemm": (f"{PICTURE} {{ z = Conv(x, v) f = Flatten(z) y = Gemm(f, w) }}", {"v": normal(4, 6, 3, 3), "w": normal(140, 5)}, True, 1),
    "gemm and a picture of it": (
        "(float[2,10] x) => (y) { d = Gemm(x, w, b) r = Relu(d) p = Reshape(r, s) y = ConvTranspose<strides=[2,2]>(p, k) }",
        {"w": normal(10, 24), "b": normal(24), "s": ints(2, 4, 3, 2), "k": normal(4, 3, 2, 2)},
        True,
        1,
    ),
    "transpose": (f"{PICTURE} {{ y = Transpose<perm=[0,2,3,1]>(x) }}", {}, True, 1),
    "concat": ("(float[1,6,9,7] x, float[1,2,9,7] z) => (y) { y = Concat<axis=1>(x, z) }", {}, True, 1),
    "split into halves": ("(float[1,6,9,7] x) => (y, z) { y, z = Split<axis=1, num_outputs=2>(x) }", {}, True, 1),
    "split": ("(float[1,6,9,7] x) => (y, z) { y, z = Split<axis=1>(x, s) }", {"s": ints(2, 4)}, True, 1),
    "slice": (f"{PICTURE} {{ y = Slice(x, b, e, a) }}", {"b": ints(1, 2), "e": ints(5, 6), "a": ints(1, 2)}, True, 1),
    "slice with steps": (f"{PICTURE} {{ y = Slice(x, b, e, a, s) }}", {"b": ints(0), "e": ints(9), "a": ints(2), "s": ints(2)}, False, 1),
    "pad": (f"{PICTURE} {{ y = Pad(x, p) }}", {"p": ints(0, 0, 2, 3, 0, 0, 1, 0)}, True, 1),
    "pad with a number": (f"{PICTURE} {{ y = Pad(x, p, v) }}", {"p": ints(0, 0, 2, 3, 0, 0, 1, 0), "v": np.float32(1.5)}, False, 1),
    "depth to space": ("(float[1,8,3,5] x) => (y) { y = DepthToSpace<blocksize=2>(x) }", {}, True, 1),
    "space to depth": ("(float[1,2,6,4] x) => (y) { y = SpaceToDepth<blocksize=2>(x) }", {}, True, 1),
    "resize to the nearest": (
        f'{PICTURE} {{ y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , s) }}',
        {"s": np.float32([1, 1, 2, 2])},
        False,
        1,
    ),
    "resize linearly": (
        f'{PICTURE} {{ y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(x, , s) }}',
        {"s": np.float32([1, 1, 2, 2])},
        True,
        1,
    ),
    "squeeze and excite": (
        f"{PICTURE} {{ g = GlobalAveragePool(x) c = Conv(g, w) r = Relu(c) d = Conv(r, v) s = Sigmoid(d) y = Mul(x, s) }}",
        {"w": normal(3, 6, 1, 1), "v": normal(6, 3, 1, 1)},
        True,
        2,
    ),
    "div by a number": (f"{PICTURE} {{ y = Div(x, c) }}", {"c": np.float32(3)}, True, 1),
    "clip between": (f"{PICTURE} {{ y = Clip(x, l, h) }}", {"l": np.float32(-0.3), "h": np.float32(0.7)}, False, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_engine_is_as_near_to_onnx_runtime_as_rounding_lets_it(case, graph, quantize, assert_close_in_steps):
    text, constants, delegated, steps = CASES[case]

    built = assert_close_in_steps(quantize(graph(text, **constants)), steps=steps)

    assert built.engine.details["float_operators"] == {}
    assert built.runs_delegated() == delegated


WIDE_STEPS = {
    "tanh": 3,
    "softmax of rows": 3,
    "softmax over channels": 4,
    "averagepool, leaving padding out": 2,
    "averagepool": 3,
    "averagepool, counting padding": 2,
}
"""Steps that the output of int16 may be apart, where it is more than one."""
NOT_WIDE = {"conv and clip", "add of a constant", "elu", "gelu", "log softmax", "depth to space", "space to depth"}
"""Without an int16 kernel, with a constant of int8, or with a bound that integers around 0 do not imply."""


@pytest.mark.parametrize("case", CASES)
def test_with_int16_it_is_as_near_and_what_has_no_such_kernel_is_float(case, graph, quantize, assert_close_in_steps):
    text, constants, _, _ = CASES[case]

    built = assert_close_in_steps(quantize(graph(text, **constants), dtype=np.int16), steps=WIDE_STEPS.get(case, 1))

    assert bool(built.engine.details["float_operators"]) == (case in NOT_WIDE)


@pytest.mark.parametrize("alpha", [-0.2, 0.0])
def test_a_hard_sigmoid_that_does_not_rise_is_computed_in_float32(alpha, graph, quantize, assert_close_in_steps):
    built = assert_close_in_steps(quantize(graph(f"{PICTURE} {{ y = HardSigmoid<alpha={alpha}, beta=0.5>(x) }}")), steps=1)

    assert built.engine.details["float_nodes"] == ["HardSigmoid_0"]


@pytest.mark.parametrize("scale", [0.0, -0.5, np.inf, np.nan])
def test_scales_that_are_not_above_zero_are_refused(scale, graph, store):
    text = "(float[1,4] x) => (y) { a = QuantizeLinear(x, s, z) y = DequantizeLinear(a, s, z) }"

    target = Target(schema=1, name="board", arch="aarch64", runtimes=(Runtime("tflite"),), sources={})

    found = TfliteBackend().refusals(store(graph(text, s=np.float32(scale), z=np.int8(0))), target)

    assert found[0].reason == f"its scale is {scale}, not above zero and finite"


@pytest.mark.parametrize("scale", [0.0, -0.5, 1e-60, 1e60, np.inf, np.nan])
def test_no_file_gets_a_scale_that_would_end_the_interpreter(scale):
    with pytest.raises(EdgekitError, match="its scale would be"):
        Draft().tensor("t", (1, 4), "int8", Quant((scale,), (0,)))


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("HARD_SWISH", f"{PICTURE} {{ z = Conv(x, w) y = HardSwish(z) }}"),
        ("PRELU", f"{PICTURE} {{ z = Conv(x, w) y = PRelu(z, s) }}"),
        ("BATCH_MATMUL", "(float[2,3,10] x, float[2,10,4] z) => (y) { y = MatMul(x, z) }"),
    ],
)
def test_what_litert_computes_slower_in_integers_stays_in_float32(op, text, graph, quantize, assert_close_in_steps):
    proto = quantize(graph(text, w=normal(4, 6, 3, 3), s=normal(4, 1, 1)))

    built = assert_close_in_steps(proto, steps=2)

    assert built.engine.details["float_operators"] == {op: 1}
    assert built.runs_delegated()

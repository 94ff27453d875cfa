"""Q/DQ as other tools write it, on TFLite: the same numbers, or a refusal that says what to do."""

import numpy as np
import pytest

from edgekit.errors import UnsupportedError

RNG = np.random.default_rng(4)
PAIR = "x_q = QuantizeLinear(x, sx, zx) xd = DequantizeLinear(x_q, sx, zx)"
OUT = "y_q = QuantizeLinear(r, sy, zy) y = DequantizeLinear(y_q, sy, zy)"
SCALES = {"sx": np.float32(0.02), "zx": np.int8(3), "sy": np.float32(0.05), "zy": np.int8(-10)}


def test_float_weights_behind_q_dq_become_integers(graph, assert_close_in_steps):
    weighted = "w_q = QuantizeLinear<axis=0>(w, sw, zw) wd = DequantizeLinear<axis=0>(w_q, sw, zw) r = Conv(xd, wd)"
    text = f"(float[1,3,8,8] x) => (y) {{ {PAIR} {weighted} {OUT} }}"
    weights = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)

    built = assert_close_in_steps(graph(text, w=weights, sw=np.full(4, 0.03, np.float32), zw=np.zeros(4, np.int8), **SCALES))

    assert built.engine.details["float_operators"] == {}
    assert built.engine.bytes < weights.nbytes + 4000


def test_unsigned_weights_around_128_are_computed_in_integers(graph, assert_close_in_steps):
    """ONNX Runtime's quantizer writes them for weight_type = QUInt8, symmetric."""
    text = f"(float[1,3,8,8] x) => (y) {{ {PAIR} wd = DequantizeLinear(w, sw, zw) r = Conv(xd, wd) {OUT} }}"

    built = assert_close_in_steps(graph(text, w=RNG.integers(1, 256, (4, 3, 3, 3)).astype(np.uint8), sw=np.float32(0.03), zw=np.uint8(128), **SCALES))

    assert built.engine.details["float_operators"] == {}


def test_unsigned_weights_off_128_are_computed_in_float(graph, assert_close_in_steps):
    text = f"(float[1,3,8,8] x) => (y) {{ {PAIR} wd = DequantizeLinear(w, sw, zw) r = Conv(xd, wd) {OUT} }}"

    built = assert_close_in_steps(graph(text, w=RNG.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8), sw=np.float32(0.01), zw=np.uint8(121), **SCALES))

    assert built.engine.details["float_operators"] == {"CONV_2D": 1}


def test_an_axis_counted_from_the_end_is_that_axis(graph, assert_close_in_steps):
    """NNCF writes -2 for the rows of a Gemm with transB."""
    text = f"(float[2,6] x) => (y) {{ {PAIR} wd = DequantizeLinear<axis=-2>(w, sw, zw) r = Gemm<transB=1>(xd, wd, b) {OUT} }}"
    weights = {"w": RNG.integers(-127, 128, (3, 6)).astype(np.int8), "sw": np.float32([0.01, 0.02, 0.03]), "zw": np.zeros(3, np.int8)}

    assert assert_close_in_steps(graph(text, b=np.float32([0.5, -1, 0]), **weights, **SCALES)).engine.details["float_operators"] == {}


def test_scales_for_each_channel_of_what_is_computed_name_the_node_and_nncfs_option(graph, build):
    text = "(float[1,3,8,8] x) => (y) { q = QuantizeLinear<axis=1>(x, s, z) d = DequantizeLinear<axis=1>(q, s, z) y = Relu(d) }"

    with pytest.raises(UnsupportedError) as caught:
        build(graph(text, s=np.float32([0.1, 0.2, 0.3]), z=np.zeros(3, np.uint8)))

    assert caught.value.refusals[0].startswith("QuantizeLinear_0 (QuantizeLinear 1x3x8x8 -> 1x3x8x8): it has a scale for each channel")
    assert "per_channel=False" in caught.value.refusals[0]


def test_scales_found_anew_for_each_input_are_refused_with_what_to_do(graph, build):
    text = "(float[2,4] x) => (y) { q, s, z = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, z) f = Cast<to=1>(i) y = Mul(f, s) }"

    with pytest.raises(UnsupportedError) as caught:
        build(graph(text, w=RNG.integers(-127, 128, (4, 3)).astype(np.int8)))

    assert caught.value.refusals[0].startswith("MatMulInteger_1")
    assert "with the recipe dynamic_wi8_afp32" in caught.value.refusals[0]


def test_scales_for_each_channel_before_a_depthwise_convolution_go_into_its_weights(graph, assert_close_in_steps):
    """NNCF's default for networks with ReLU6."""
    text = f"(float[1,3,8,8] x) => (y) {{ {PAIR} wd = DequantizeLinear<axis=0>(w, sw, zw) c = Conv(xd, wd, b) a = Clip(c, low, high)"
    text += " c_q = QuantizeLinear<axis=1>(a, sc, zc) cd = DequantizeLinear<axis=1>(c_q, sc, zc)"
    text += f" vd = DequantizeLinear<axis=0>(v, sw, zw) r = Conv<group=4>(cd, vd) {OUT} }}"
    numbers = {
        "w": RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), "v": RNG.integers(-127, 128, (4, 1, 3, 3)).astype(np.int8),
        "sw": np.float32([0.01, 0.02, 0.01, 0.015]), "zw": np.zeros(4, np.int8), "b": np.float32([0.1, -0.2, 0.3, 0]),
        "sc": np.float32([6 / 255, 0.01, 0.004, 0.02]), "zc": np.zeros(4, np.uint8), "low": np.float32(0), "high": np.float32(6),
    }  # fmt: skip

    assert assert_close_in_steps(graph(text, **numbers, **SCALES)).operators == {"QUANTIZE": 1, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "DEQUANTIZE": 1}

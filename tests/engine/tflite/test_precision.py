"""What Q/DQ graphs say, in every form that quantizers write it, and what the engine makes of it."""

import numpy as np
import onnx
import pytest

from edgekit.engine.tflite.graph import Constant, Quant
from edgekit.engine.tflite.lowering.convolution import integer_bias
from edgekit.errors import UnsupportedError

RNG = np.random.default_rng(9)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


W, B = normal(4, 3, 3, 3), normal(4)
INNER = "x_q = QuantizeLinear(x, sx, zx) xd = DequantizeLinear(x_q, sx, zx) wd = DequantizeLinear<axis=0>(w, sw, zw)"
OUT = "y_q = QuantizeLinear(r, sy, zy) y = DequantizeLinear(y_q, sy, zy)"


def parts(**changed):
    numbers = {
        "sx": np.float32(0.02), "zx": np.int8(3), "sy": np.float32(0.05), "zy": np.int8(-10),
        "w": np.clip(np.rint(W / 0.03), -127, 127).astype(np.int8), "sw": np.float32([0.03, 0.031, 0.029, 0.03]), "zw": np.zeros(4, np.int8),
    }  # fmt: skip
    return numbers | changed


def tensors(built):
    return {detail["name"]: detail for detail in built.interpreter(delegate=False).get_tensor_details()}


def test_a_float_bias_becomes_int32_at_the_scale_of_the_products(graph, assert_close_in_steps):
    bias = np.float32([0.3, -0.2, 0.1, 0.0])
    proto = graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv(xd, wd, b) {OUT} }}", b=bias, **parts())

    built = assert_close_in_steps(proto)

    found = tensors(built)["b"]
    assert found["dtype"] is np.int32
    np.testing.assert_allclose(found["quantization_parameters"]["scales"], np.float32(0.02) * np.float32([0.03, 0.031, 0.029, 0.03]), rtol=1e-6)
    np.testing.assert_array_equal(
        built.interpreter(delegate=False).get_tensor(found["index"]), np.rint(bias / (0.02 * np.float64([0.03, 0.031, 0.029, 0.03])))
    )


def test_weights_have_a_scale_for_each_output_channel(graph, build):
    found = tensors(build(graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv(xd, wd) {OUT} }}", **parts())))["w"]

    assert found["shape"].tolist() == [4, 3, 3, 3]
    assert found["quantization_parameters"]["quantized_dimension"] == 0
    np.testing.assert_array_equal(found["quantization_parameters"]["scales"], parts()["sw"])


def test_scales_of_depthwise_weights_lie_along_the_last_axis(graph, assert_close_in_steps):
    weights = np.clip(np.rint(normal(3, 1, 3, 3) / 0.03), -127, 127).astype(np.int8)
    proto = graph(
        f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv<group=3>(xd, wd) {OUT} }}",
        **parts(w=weights, sw=np.float32([0.03, 0.02, 0.01]), zw=np.zeros(3, np.int8)),
    )

    found = tensors(assert_close_in_steps(proto))["w"]

    assert found["shape"].tolist() == [1, 3, 3, 3]
    assert found["quantization_parameters"]["quantized_dimension"] == 3


def test_one_scale_for_all_weights(graph, assert_close_in_steps):
    built = assert_close_in_steps(
        graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv(xd, wd) {OUT} }}".replace("<axis=0>", ""), **parts(sw=np.float32(0.03), zw=np.int8(0)))
    )

    assert built.engine.details["float_operators"] == {}


def test_uint8_activations_become_int8_and_stay_the_same_numbers(graph, assert_close_in_steps):
    built = assert_close_in_steps(
        graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv(xd, wd) {OUT} }}", **parts(zx=np.uint8(131), zy=np.uint8(118)))
    )

    assert tensors(built)["x_quantized"]["quantization"] == (pytest.approx(0.02), 3)
    assert built.engine.details["float_operators"] == {}


@pytest.mark.parametrize("kept", ["c = Conv(xd, wd) r = Relu(c)", "r = Conv(xd, wd)"])
def test_a_relu_may_be_there_or_be_implied_by_the_zero_point(kept, graph, assert_close_in_steps):
    proto = graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} {kept} {OUT} }}", **parts(zy=np.int8(-128)))

    assert assert_close_in_steps(proto).operators == {"QUANTIZE": 1, "CONV_2D": 1, "DEQUANTIZE": 1}


def test_a_clip_that_rounding_implies_is_left_out(graph, assert_close_in_steps):
    """255 steps of 1/255 from zero point -128 hold 0 to 1 and nothing else."""
    text = f"(float[1,3,8,8] x) => (y) {{ {INNER} m = MaxPool<kernel_shape=[2,2]>(xd) r = Clip(m, low, high) {OUT} }}"
    proto = graph(text, low=np.float32(0), high=np.float32(1), **parts(sy=np.float32(1 / 255), zy=np.int8(-128)))

    assert set(assert_close_in_steps(proto).operators) == {"QUANTIZE", "MAX_POOL_2D", "DEQUANTIZE"}


def test_a_pool_at_another_scale_than_its_input_is_rescaled_after_it(graph, assert_close_in_steps):
    proto = graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = MaxPool<kernel_shape=[2,2], strides=[2,2]>(xd) {OUT} }}", **parts())

    built = assert_close_in_steps(proto)

    assert built.operators["QUANTIZE"] == 2
    assert tensors(built)["r_raw"]["quantization"] == (pytest.approx(0.02), 3)


def test_parts_of_a_concat_are_rescaled_to_the_output(graph, assert_close_in_steps):
    text = "(float[1,3,8,8] x, float[1,3,8,8] z) => (y) { x_q = QuantizeLinear(x, sx, zx) xd = DequantizeLinear(x_q, sx, zx)"
    text += f" z_q = QuantizeLinear(z, sy, zy) zd = DequantizeLinear(z_q, sy, zy) r = Concat<axis=1>(xd, zd) {OUT} }}"

    assert assert_close_in_steps(graph(text, **parts())).operators["QUANTIZE"] == 3


@pytest.mark.parametrize(
    ("op", "builtin", "fixed"), [("Sigmoid", "LOGISTIC", (1 / 256, -128)), ("Tanh", "TANH", (1 / 128, 0)), ("Softmax", "SOFTMAX", (1 / 256, -128))]
)
def test_what_litert_fixes_is_written_at_its_scale_and_rescaled(op, builtin, fixed, graph, assert_close_in_steps):
    proto = graph(f"(float[4,10] x) => (y) {{ {INNER.split(' wd')[0]} r = {op}(xd) {OUT} }}", **parts(sy=np.float32(0.01), zy=np.int8(0)))

    built = assert_close_in_steps(proto)

    assert (built.operators[builtin], built.operators["QUANTIZE"]) == (1, 2)
    assert tensors(built)["r_raw"]["quantization"] == fixed


def test_scales_pass_over_what_only_moves_values(graph, assert_close_in_steps):
    """No Q/DQ stands around Transpose and Reshape; they still move integers."""
    text = f"(float[1,3,8,8] x) => (y) {{ {INNER} t = Transpose<perm=[0,1,3,2]>(xd) r = Conv(t, wd) {OUT} }}"

    built = assert_close_in_steps(graph(text, **parts()))

    assert built.engine.details["float_operators"] == {}


def test_scales_pass_backwards_too(graph, assert_close_in_steps):
    text = f"(float[1,3,8,8] x) => (y) {{ {INNER} c = Conv(xd, wd) m = MaxPool<kernel_shape=[2,2]>(c) r = Flatten(m) {OUT} }}"

    built = assert_close_in_steps(graph(text, **parts()))

    assert built.engine.details["float_operators"] == {}
    assert built.operators["QUANTIZE"] == 1


def test_an_operation_without_scales_around_it_stays_float(graph, assert_close_in_steps):
    text = f"(float[1,3,8,8] x) => (y) {{ a = Exp(x) {INNER.replace('(x,', '(a,')} c = Conv(xd, wd) n = Neg(c) {OUT.replace('(r,', '(n,')} }}"

    built = assert_close_in_steps(graph(text, **parts()))

    assert built.engine.details["float_operators"] == {"EXP": 1, "CONV_2D": 1, "NEG": 1}
    assert built.engine.details["float_nodes"] == ["Exp_0", "Conv_4", "Neg_5"]


def test_a_value_that_is_also_read_unrounded_is_computed_unrounded(graph, assert_close_in_steps):
    text = f"(float[1,3,8,8] x) => (y) {{ a = Relu(x) {INNER.replace('(x,', '(a,')} c = Conv(xd, wd) p = Conv(a, v) s = Add(c, p)"
    text += f" {OUT.replace('(r,', '(s,')} }}"

    assert_close_in_steps(graph(text, v=normal(4, 3, 3, 3), **parts()))


def test_two_scales_of_one_value(graph, assert_close_in_steps):
    text = f"(float[1,3,8,8] x) => (y, z) {{ {INNER} c = Conv(xd, wd) r = Relu(c) {OUT}"
    text += " r_q = QuantizeLinear(r, sx, zx) z = DequantizeLinear(r_q, sx, zx) }"

    assert_close_in_steps(graph(text, **parts()))


def test_from_one_scale_to_another(graph, assert_close_in_steps):
    text = f"(float[1,3,8,8] x) => (y) {{ {INNER} r_q = QuantizeLinear(xd, sr, zr) r = DequantizeLinear(r_q, sr, zr) {OUT} }}"

    assert assert_close_in_steps(graph(text, sr=np.float32(0.03), zr=np.int8(0), **parts())).operators == {"QUANTIZE": 3, "DEQUANTIZE": 1}


def test_weights_alone_in_int8_are_dequantized_by_the_runtime(graph, assert_same):
    proto = graph(
        "(float[1,3,8,8] x) => (y) { wd = DequantizeLinear<axis=0>(w, sw, zw) y = Conv(x, wd, b) }",
        b=B,
        **{key: parts()[key] for key in ("w", "sw", "zw")},
    )

    built = assert_same(proto)

    assert built.operators["DEQUANTIZE"] == 1
    assert tensors(built)["w"]["dtype"] is np.int8
    assert built.engine.precision == "int8 weights"


def test_float16_weights_are_dequantized_by_the_runtime(graph, assert_same):
    text = "(float[1,3,8,8] x) => (y) { wf = Cast<to=1>(w) bf = Cast<to=1>(b) c = Conv(x, wf, bf) f = Flatten(c) vf = Cast<to=1>(v) y = Gemm(f, vf) }"
    proto = graph(text, w=W.astype(np.float16), b=B.astype(np.float16), v=normal(144, 5).astype(np.float16))

    built = assert_same(proto)

    assert built.engine.precision == "float16"
    assert built.operators["DEQUANTIZE"] == 3
    assert {name: tensors(built)[name]["dtype"] for name in ("w", "b", "v")} == dict.fromkeys("wbv", np.float16)
    assert built.runs_delegated()


@pytest.mark.parametrize(("io_dtype", "zero_points"), [("int8", (3, -10)), ("uint8", (131, 118))])
def test_integer_ports(io_dtype, zero_points, graph, assert_close_in_steps):
    built = assert_close_in_steps(graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv(xd, wd) {OUT} }}", **parts()), io_dtype=io_dtype)

    ports = (*built.engine.inputs, *built.engine.outputs)
    assert [(port.name, port.dtype, port.zero_point) for port in ports] == [("x", io_dtype, zero_points[0]), ("y", io_dtype, zero_points[1])]
    assert [port.scale for port in ports] == pytest.approx([0.02, 0.05])
    assert built.operators["DEQUANTIZE"] == 0


def test_integer_ports_need_a_scale(graph, build):
    with pytest.raises(UnsupportedError, match=r"x \(port 1x3x8x8\): it shall be int8 and is not quantized; use a recipe that quantizes"):
        build(graph("(float[1,3,8,8] x) => (y) { y = Relu(x) }"), io_dtype="int8")


def test_ports_that_are_integers_in_the_source_stay_so(graph, build):
    text = "(int8[1,3,8,8] x_q) => (int8[1,4,6,6] y_q) { xd = DequantizeLinear(x_q, sx, zx) wd = DequantizeLinear<axis=0>(w, sw, zw)"
    text += " r = Conv(xd, wd) y_q = QuantizeLinear(r, sy, zy) }"

    built = build(graph(text, **parts()))

    assert built.operators == {"CONV_2D": 1}
    assert [port.dtype for port in (*built.engine.inputs, *built.engine.outputs)] == ["int8", "int8"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"zx": np.int16(3)}, "its int16 have another zero point than the middle"),
        ({"sx": np.float32([0.1, 0.2, 0.3]), "zx": np.zeros(3, np.int8)}, "it has a scale for each channel of what is computed"),
    ],
)
def test_numbers_that_tflite_has_no_form_for_are_refused(changed, reason, graph, build):
    with pytest.raises(UnsupportedError, match=reason):
        build(graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv(xd, wd) {OUT} }}", **parts(**changed)))


def test_computed_scales_are_refused(graph, build):
    text = "(float[1,3,8,8] x, float[1] s) => (y) { k = Squeeze(s) q = QuantizeLinear(x, k, z) y = DequantizeLinear(q, k, z) }"

    with pytest.raises(UnsupportedError, match="its scale k is computed"):
        build(graph(text, z=np.int8(0)))


def test_asymmetric_weights_stay_float(graph, assert_close_in_steps):
    """LiteRT's int8 convolutions take symmetric weights only."""
    built = assert_close_in_steps(graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv(xd, wd) {OUT} }}", **parts(zw=np.int8([40, 0, -40, 9]))))

    assert built.engine.details["float_operators"] == {"CONV_2D": 1}


def test_a_dead_channel_with_a_large_bias_neither_overflows_nor_loses_the_bias(graph, assert_close_in_steps):
    """Channel 1 has weights of 1e-10: at their scale its bias of 2 is 10^12 steps, more than int32 holds."""
    scales = np.float32([0.03, 1e-12, 0.029, 1e-40])
    built = assert_close_in_steps(
        graph(f"(float[1,3,8,8] x) => (y) {{ {INNER} r = Conv(xd, wd, b) {OUT} }}", b=np.float32([0.1, 2, -0.1, -2]), **parts(sw=scales))
    )

    found = tensors(built)["b"]["quantization_parameters"]["scales"]
    assert np.all(found >= np.finfo(np.float32).tiny)
    assert built.runs_delegated()


def test_bias_of_a_dead_channel_by_hand():
    """2 / (2^30 x 0.5) is the least scale at which a bias of 2 takes 2^30 steps; weights of scale 1e-12 become 0."""
    weights = Constant(np.full((2, 1), 100, np.int8), Quant((0.25, 1e-12), (0, 0)))

    fitted, bias, quant = integer_bias(weights, np.float32([1, 2]), Quant((0.5,), (0,)))

    assert fitted.stored.ravel().tolist() == [100, 0]
    assert fitted.quant is not None
    assert fitted.quant.scale == pytest.approx((0.25, 2**-28), rel=1e-6)
    assert bias.tolist() == [8, 2**30]
    assert quant.scale == pytest.approx((0.125, 2**-29), rel=1e-6)


def test_what_onnxruntime_quantizes_is_built_in_integers(graph, assert_close_in_steps, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    text = "(float[1,3,16,16] x) => (y) { a = Conv<pads=[1,1,1,1]>(x, w, b) c = Relu(a) d = Conv<pads=[1,1,1,1], group=4>(c, v) e = Clip(d, l, h)"
    text += " f = Conv<pads=[1,1,1,1]>(e, u) g = Add(c, f) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(g) p = GlobalAveragePool(m)"
    text += " q = Flatten(p) y = Gemm(q, k, b) }"
    proto = graph(text, w=W, b=B, v=normal(4, 1, 3, 3), u=normal(4, 4, 3, 3), k=normal(4, 4), l=np.float32(0), h=np.float32(6))
    onnx.save(proto, tmp_path / "float.onnx")
    feeds = iter([{"x": normal(1, 3, 16, 16)} for _ in range(8)])

    class Reader(CalibrationDataReader):
        def get_next(self):
            return next(feeds, None)

    files = (tmp_path / "float.onnx", tmp_path / "int8.onnx")
    quantize_static(*files, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)

    built = assert_close_in_steps(onnx.load(files[1]), steps=3)

    assert built.engine.details["float_operators"] == {}
    assert built.engine.precision == "int8"
    assert built.runs_delegated()


def test_weights_that_are_quantized_in_the_graph_are_stored_as_integers(graph, assert_close_in_steps):
    """Training with fake quantization leaves float weights behind a Q/DQ pair."""
    text = f"(float[1,3,8,8] x) => (y) {{ {INNER.split(' wd')[0]} w_q = QuantizeLinear<axis=0>(f, sw, zw)"
    text += f" wd = DequantizeLinear<axis=0>(w_q, sw, zw) r = Conv(xd, wd) {OUT} }}"

    built = assert_close_in_steps(graph(text, f=W, **parts()))

    assert built.engine.details["float_operators"] == {}
    assert tensors(built)["w_q"]["dtype"] is np.int8


@pytest.mark.parametrize("zero_point", [-128, 0])
def test_a_relu_that_its_producer_does_not_apply_is_computed_in_integers(zero_point, graph, assert_close_in_steps):
    text = f"(float[1,3,8,8] x) => (y) {{ {INNER.replace('<axis=0>', '<axis=1>')} c = ConvTranspose<strides=[2,2]>(xd, wd) r = Relu(c) {OUT} }}"
    proto = graph(text, **parts(w=np.clip(np.rint(normal(3, 4, 2, 2) / 0.03), -127, 127).astype(np.int8), zy=np.int8(zero_point)))

    built = assert_close_in_steps(proto)

    assert built.engine.details["float_operators"] == {}
    assert built.runs_delegated()


@pytest.mark.parametrize("op", ["Gelu", "Sigmoid"])
def test_what_somebody_wants_in_float_is_computed_so_between_integers(op, graph, quantize, assert_close_in_steps):
    text = f"(float[1,3,8,8] x) => (y) {{ c = Conv(x, w)  g = {op}(c)  y = Conv(g, v) }}"
    model = quantize(graph(text, w=normal(4, 3, 3, 3), v=normal(2, 4, 1, 1)))
    wanted = next(node for node in model.graph.node if node.op_type == op)
    wanted.metadata_props.add(key="edgekit.kept_float", value="true")

    built = assert_close_in_steps(model, steps=2)

    assert sum(built.engine.details["float_operators"].values()) == 1

import numpy as np
import onnx
import pytest

from edgekit.errors import SamplesError, SourceError, UsageError
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.quantize import Quantize

QDQ = ["QuantizeLinear", "DequantizeLinear"]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def numbers_anew():
    """Every test draws the same numbers, whichever ran before it."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def normal(*shape, scale=1.0):
    return (RNG.normal(size=shape) * scale).astype(np.float32)


def constants(proto):
    return {one.name: onnx.numpy_helper.to_array(one) for one in proto.graph.initializer}


def node(proto, name):
    return next(one for one in proto.graph.node if one.name == name)


CONV = "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w, b)  y = Relu(c) }"


def conv_weights():
    return {"w": normal(4, 3, 3, 3), "b": normal(4)}


def test_a_convolution_with_its_activation_gets_one_pair_at_its_input_and_one_behind_the_activation(model_of, samples_of, quantize, schemes, ops):
    model = model_of(CONV, **conv_weights())
    quantized = quantize(model, schemes["x86"], samples_of(x=[normal(1, 3, 8, 8) for _ in range(4)]))

    assert ops(quantized) == [*QDQ, "Conv", "Relu", *QDQ]
    assert [value.name for value in quantized.graph.input] == ["x"]
    assert [value.name for value in quantized.graph.output] == ["y"]
    assert quantized.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_weights_are_int8_with_a_scale_for_each_channel_and_the_bias_has_the_product_of_both_scales(model_of, samples_of, quantize, schemes, stored):
    weights = conv_weights()
    model = model_of(CONV, **weights)
    quantized = quantize(model, schemes["x86"], samples_of(x=[normal(1, 3, 8, 8) for _ in range(4)]), correct_bias=False)
    held, conv = constants(quantized), node(quantized, "Conv_0")
    weight = next(one for one in quantized.graph.node if one.output[0] == conv.input[1])
    bias = next(one for one in quantized.graph.node if one.output[0] == conv.input[2])
    expected_scale = np.abs(weights["w"]).max(axis=(1, 2, 3)) / 127

    assert [attribute.i for attribute in weight.attribute if attribute.name == "axis"] == [0]
    np.testing.assert_allclose(held[weight.input[1]], expected_scale, rtol=1e-6)
    assert held[weight.input[0]].dtype == np.int8
    np.testing.assert_array_equal(held[weight.input[0]], np.rint(weights["w"] / expected_scale[:, None, None, None]))
    assert held[weight.input[2]].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(held[bias.input[1]], expected_scale * stored(quantized, "x")[0], rtol=1e-6)
    assert held[bias.input[0]].dtype == np.int32
    np.testing.assert_array_equal(held[bias.input[0]], np.rint(weights["b"] / held[bias.input[1]].astype(np.float64)))


def test_per_tensor_weights_have_one_scale(model_of, samples_of, quantize, schemes):
    import msgspec

    weights = conv_weights()
    scheme = msgspec.structs.replace(schemes["x86"], weights="int8 symmetric per-tensor")
    quantized = quantize(model_of(CONV, **weights), scheme, samples_of(x=[normal(1, 3, 8, 8) for _ in range(4)]))
    weight = next(one for one in quantized.graph.node if one.output[0] == node(quantized, "Conv_0").input[1])

    assert constants(quantized)[weight.input[1]] == np.float32(np.abs(weights["w"]).max() / 127)
    assert not weight.attribute


def test_seven_bit_weights_stay_within_64(model_of, samples_of, quantize, schemes):
    import msgspec

    scheme = msgspec.structs.replace(schemes["x86"], reduce_range=True)
    quantized = quantize(model_of(CONV, **conv_weights()), scheme, samples_of(x=[normal(1, 3, 8, 8) for _ in range(4)]))
    weight = next(one for one in quantized.graph.node if one.output[0] == node(quantized, "Conv_0").input[1])

    assert np.abs(constants(quantized)[weight.input[0]]).max() == 64


def test_min_max_ranges_hold_all_that_was_seen_of_the_samples_that_calibrate(model_of, samples_of, quantize, schemes, stored):
    arrays = [np.full((1, 3, 8, 8), value, np.float32) for value in (-1.0, 3.0, -1.0, 3.0)]
    quantized = quantize(model_of(CONV, **conv_weights()), schemes["x86"], samples_of(x=arrays), observer="minmax")

    assert stored(quantized, "x") == (np.float32(4 / 255), 64)


def test_symmetric_activations_have_zero_point_zero_and_a_float_bias(model_of, samples_of, quantize, schemes, ops):
    quantized = quantize(model_of(CONV, **conv_weights()), schemes["tensorrt"], samples_of(x=[normal(1, 3, 8, 8) for _ in range(4)]))
    held = constants(quantized)
    pairs = [one for one in quantized.graph.node if one.op_type == "QuantizeLinear"]

    assert ops(quantized) == [*QDQ, "Conv", "Relu"]
    assert [held[one.input[2]].item() for one in pairs] == [0]
    assert held[pairs[0].input[2]].dtype == np.int8
    assert held[node(quantized, "Conv_0").input[2]].dtype == np.float32


@pytest.mark.parametrize("target", ["x86", "tflite", "tensorrt"])
@pytest.mark.parametrize(
    ("text", "weights"),
    [
        (CONV, {"w": (4, 3, 3, 3), "b": (4,)}),
        ("net (float[1,6,9,9] x) => (float[1,6,5,5] y) { y = Conv<group=6, strides=[2,2], pads=[1,1,1,1]>(x, w) }", {"w": (6, 1, 3, 3)}),
        (
            "net (float[1,6,9,7] x) => (float[1,4,9,7] y) { y = Conv<group=2, dilations=[2,1], pads=[2,1,2,1]>(x, w, b) }",
            {"w": (4, 3, 3, 3), "b": (4,)},
        ),
        ('net (float[1,6,9,7] x) => (float[1,4,5,4] y) { y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w, b) }', {"w": (4, 6, 3, 3), "b": (4,)}),
        ("net (float[1,4,20] x) => (float[1,8,18] y) { y = Conv(x, w) }", {"w": (8, 4, 3)}),
        ("net (float[1,6,5,5] x) => (float[1,4,10,10] y) { y = ConvTranspose<strides=[2,2]>(x, w, b) }", {"w": (6, 4, 2, 2), "b": (4,)}),
        (
            "net (float[1,6,5,5] x) => (float[1,8,10,10] y)"
            "{ y = ConvTranspose<strides=[2,2], group=2, pads=[1,1,1,1], output_padding=[1,1]>(x, w, b) }",
            {"w": (6, 4, 3, 3), "b": (8,)},
        ),
        ("net (float[2,16] x) => (float[2,5] y) { y = Gemm<transB=1>(x, w, b) }", {"w": (5, 16), "b": (5,)}),
        ("net (float[2,16] x) => (float[2,5] y) { y = Gemm<alpha=0.5, beta=2.0>(x, w, b) }", {"w": (16, 5), "b": (1, 5)}),
        ("net (float[2,16] x) => (float[2,5] y) { y = Gemm(x, w) }", {"w": (16, 5)}),
        ("net (float[2,16] x) => (float[2,5] y) { m = MatMul(x, w)  a = Add(m, b)  y = Relu(a) }", {"w": (16, 5), "b": (5,)}),
        ("net (float[2,3,16] x) => (float[2,3,5] y) { m = MatMul(x, w)  y = Add(b, m) }", {"w": (16, 5), "b": (5,)}),
        ("net (float[2,3,16] x) => (float[2,3,3] y) { t = Transpose<perm=[0,2,1]>(x)  y = MatMul(x, t) }", {}),
        ("net (float[1,4,8,8] x) => (float[1,8,4,4] y) { m = MaxPool<kernel_shape=[2,2],strides=[2,2]>(x)  y = Concat<axis=1>(m, m) }", {}),
        ("net (float[1,4] x) => (float[1,4] y) { m = Mul(x, w)  s = Sigmoid(m)  a = Add(s, x)  y = Softmax(a) }", {"w": (4,)}),
    ],
)
def test_what_is_quantized_stays_close_to_float(text, weights, target, model_of, samples_of, quantize, schemes, run, sqnr_db):
    model = model_of(text, **{name: normal(*shape) for name, shape in weights.items()})
    shape = model.signature.inputs[0].shape
    samples = samples_of(x=[normal(*shape) for _ in range(12)])
    quantized = quantize(model, schemes[target], samples, observer="minmax")
    calibrating = list(samples.feeds("calibrating", model.signature))  # others may lie outside of the range of so few
    reference = np.stack([run(model, **feed)[0] for feed in calibrating])
    found = np.stack([run(quantized, **feed)[0] for feed in calibrating])

    assert sqnr_db(reference, found) > 30.0


def test_a_bias_moves_by_what_rounding_the_weights_shifts_the_output_on_average(model_of, samples_of, quantize, schemes, run):
    """Padding, strides, groups: on the samples that calibrate, each channel's mean becomes that of the float model."""
    weight = normal(6, 2, 3, 3)
    weight[:, 0, 0, 0] = 40.0  # beside it the others lose most of their digits
    text = "net (float[1,4,9,9] x) => (float[1,6,5,5] y) { y = Conv<strides=[2,2], pads=[0,1,2,1], group=2>(x, w) }"
    model, samples = model_of(text, w=weight), samples_of(x=[np.abs(normal(1, 4, 9, 9)) + 1.0 for _ in range(8)])
    feeds = list(samples.feeds("calibrating", model.signature))

    def means(net):
        return np.mean([run(net, **feed)[0] for feed in feeds], axis=(0, 1, 3, 4))

    found = {}
    for corrected in (False, True):
        quantized = quantize(model, schemes["tensorrt"], samples, correct_bias=corrected)
        node(quantized, "Conv_0").input[0] = "x"  # the weights alone are rounded
        found[corrected] = means(quantized)

    assert np.abs(found[False] - means(model)).max() > 0.1
    np.testing.assert_allclose(found[True], means(model), atol=1e-4)


def test_a_dead_channel_does_not_make_its_integer_bias_overflow(model_of, samples_of, quantize, schemes, run):
    weights = conv_weights()
    weights["w"][2] *= 1e-12
    weights["b"][2] = 3.0
    model = model_of(CONV, **weights)
    arrays = [normal(1, 3, 8, 8) for _ in range(4)]
    quantized = quantize(model, schemes["x86"], samples_of(x=arrays))
    held = constants(quantized)
    bias = next(values for values in held.values() if values.dtype == np.int32)

    assert np.abs(bias.astype(np.int64)).max() <= 2**30
    np.testing.assert_allclose(run(quantized, x=arrays[0])[0][0, 2], 3.0, atol=0.05)


def test_a_convolution_whose_weights_are_computed_stays_float_and_is_named(model_of, samples_of, schemes, tmp_path):
    text = "net (float[1,3,8,8] x, float[4,3,3,3] w) => (float[1,4,6,6] y) { y = Conv(x, w) }"
    samples = samples_of(x=[normal(1, 3, 8, 8) for _ in range(3)], w=[normal(4, 3, 3, 3) for _ in range(3)])
    (tmp_path / "out").mkdir()
    quantized = Quantize()(model_of(text), Supplies(samples=samples, scheme=schemes["x86"]), tmp_path / "out")

    assert list(quantized.history[-1].did["left_float"]) == ["Conv_0"]
    assert [one.op_type for one in onnx.load(quantized.path).graph.node] == ["Conv"]


def test_an_operator_the_scheme_does_not_name_stays_float_between_two_pairs(model_of, samples_of, quantize, schemes, ops):
    text = "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w)  e = Erf(c)  y = Conv(e, v) }"
    quantized = quantize(
        model_of(text, w=normal(4, 3, 3, 3), v=normal(4, 4, 1, 1)), schemes["x86"], samples_of(x=[normal(1, 3, 8, 8) for _ in range(4)])
    )

    assert ops(quantized) == [*QDQ, "Conv", *QDQ, "Erf", *QDQ, "Conv", *QDQ]


def test_the_same_step_twice_gives_the_same_bytes_and_leaves_its_input_alone(model_of, samples_of, quantize, schemes):
    model = model_of(CONV, **conv_weights())
    before = model.path.read_bytes()
    samples = samples_of(x=[normal(1, 3, 8, 8) for _ in range(6)])
    first, second = quantize(model, schemes["x86"], samples), quantize(model, schemes["x86"], samples)

    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert model.path.read_bytes() == before


def test_calibration_is_shared_by_schemes_and_observers(model_of, samples_of, schemes, tmp_path):
    kept = {}

    def shared(name, decided_by, make):
        key = (name, repr(sorted(decided_by.items(), key=str)))
        if key not in kept:
            folder = tmp_path / f"shared{len(kept)}"
            folder.mkdir()
            make(folder)
            kept[key] = folder
        return kept[key]

    model, samples = model_of(CONV, **conv_weights()), samples_of(x=[normal(1, 3, 8, 8) for _ in range(4)])
    for index, (target, observer) in enumerate((("x86", "minmax"), ("tflite", "mse"), ("tensorrt", "mse"))):
        out = tmp_path / f"out{index}"
        out.mkdir()
        Quantize(observer=observer)(model, Supplies(samples=samples, scheme=schemes[target], shared=shared), out)

    assert len(kept) == 1


def test_a_subgraph_goes_on_reading_what_it_read(model_of, samples_of, quantize, schemes, run, sqnr_db):
    text = """net (float[1,3,4,4] x) => (float[1,3,4,4] y) {
        c = Conv(x, w)
        s = ReduceSum<keepdims=0>(c)
        p = Greater(s, zero)
        y = If(p) <then_branch = a () => (float[1,3,4,4] t) { t = Relu(c) }, else_branch = b () => (float[1,3,4,4] e) { e = Neg(c) }>
    }"""
    model = model_of(text, w=normal(3, 3, 1, 1), zero=np.float32(0.0))
    arrays = [normal(1, 3, 4, 4) for _ in range(4)]
    quantized = quantize(model, schemes["x86"], samples_of(x=arrays))

    assert sqnr_db(run(model, x=arrays[0])[0], run(quantized, x=arrays[0])[0]) > 25.0


def test_samples_that_make_the_model_overflow_are_refused(model_of, samples_of, quantize, schemes):
    model = model_of("net (float[1,4] x) => (float[1,2] y) { e = Exp(x)  y = MatMul(e, w) }", w=normal(4, 2))

    with pytest.raises(SourceError, match="infinite or not a number"):
        quantize(model, schemes["x86"], samples_of(x=[np.full((1, 4), 1e4, np.float32) for _ in range(3)]))


def test_without_samples_or_scheme_it_says_what_to_do(model_of, schemes, tmp_path):
    model = model_of(CONV, **conv_weights())

    with pytest.raises(SamplesError, match="needs samples"):
        Quantize()(model, Supplies(scheme=schemes["x86"]), tmp_path)
    with pytest.raises(UsageError, match="no quantization scheme"):
        Quantize()(model, Supplies(), tmp_path)


def test_float16_needs_no_samples():
    assert Quantize(mode="float16").needs == {Need.SCHEME}
    assert Quantize().needs == {Need.SCHEME, Need.SAMPLES}


def test_prescribed_scales_and_conversions_are_written_as_decided(model_of, samples_of, quantize, schemes, stored, run, sqnr_db):
    text = "net (float[1,4,8,8] x) => (float[1,8,8,8] y) { a = Conv(x, w)  s = Sigmoid(a)  y = Concat<axis=1>(s, a) }"
    model = model_of(text, w=normal(4, 4, 1, 1))
    samples = samples_of(x=[normal(1, 4, 8, 8) for _ in range(4)])
    quantized = quantize(model, schemes["tflite"], samples, observer="minmax")
    concat = node(quantized, "Concat_2")
    made = {one.output[0]: one for one in quantized.graph.node}
    held = constants(quantized)

    assert stored(quantized, "s") == (1 / 256, -128)
    assert stored(quantized, "a") == stored(quantized, "y")
    assert [held[made[name].input[1]].item() for name in concat.input] == [stored(quantized, "y")[0]] * 2
    feed = next(samples.feeds("calibrating", model.signature))
    assert sqnr_db(run(model, **feed)[0], run(quantized, **feed)[0]) > 32.0


def test_an_output_that_is_also_read_inside_is_stored_once(model_of, samples_of, quantize, schemes, ops):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y, float[1,4,8,8] z) { y = Conv(x, w)  z = Conv(y, v) }"
    quantized = quantize(
        model_of(text, w=normal(4, 4, 1, 1), v=normal(4, 4, 1, 1)), schemes["x86"], samples_of(x=[normal(1, 4, 8, 8) for _ in range(3)])
    )

    assert ops(quantized) == [*QDQ, "Conv", *QDQ, "Conv", *QDQ]
    assert [value.name for value in quantized.graph.output] == ["y", "z"]
    assert node(quantized, "Conv_1").input[0] == "y"


def test_two_nodes_with_one_weight_are_both_quantized(model_of, samples_of, quantize, schemes, run, sqnr_db):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w, b)  y = Conv(a, w, b) }"
    model = model_of(text, w=normal(4, 4, 1, 1), b=normal(4))
    arrays = [normal(1, 4, 8, 8) for _ in range(4)]
    quantized = quantize(model, schemes["x86"], samples_of(x=arrays))

    assert "w" not in constants(quantized)
    assert sqnr_db(run(model, x=arrays[0])[0], run(quantized, x=arrays[0])[0]) > 25.0


def test_a_deep_network_loses_no_more_than_with_onnx_runtimes_own_quantizer(model_of, samples_of, quantize, schemes, run, sqnr_db, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self, feeds):
            self._feeds = iter(feeds)

        def get_next(self):
            return next(self._feeds, None)

    layers = ["t0 = Relu(x)"]
    weights = {}
    for index in range(12):
        group = 16 if index % 3 == 1 else 1
        weights[f"w{index}"] = normal(16, 16 // group, 3, 3) * np.exp(normal(16, 1, 1, 1)) / np.float32(3.0 * (16 // group) ** 0.5)
        weights[f"b{index}"] = normal(16, scale=0.3)
        layers.append(f"c{index} = Conv<pads=[1,1,1,1], group={group}>(t{index}, w{index}, b{index})  t{index + 1} = Relu(c{index})")
    text = "net (float[1,16,16,16] x) => (float[1,16,16,16] y) {" + "\n".join(layers) + " y = Identity(t12) }"
    model = model_of(text, **weights)
    samples = samples_of(x=[normal(1, 16, 16, 16) for _ in range(20)])
    quantize_static(
        str(model.path), str(tmp_path / "theirs.onnx"), Reader(samples.feeds("calibrating", model.signature)),
        quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    ours, theirs = quantize(model, schemes["x86"], samples), onnx.load(tmp_path / "theirs.onnx")
    new = [normal(1, 16, 16, 16) for _ in range(10)]
    expected = np.stack([run(model, x=x)[0] for x in new])

    assert sqnr_db(expected, np.stack([run(ours, x=x)[0] for x in new])) > sqnr_db(expected, np.stack([run(theirs, x=x)[0] for x in new]))


def test_a_product_without_a_bias_gets_none(model_of, samples_of, quantize, schemes, run, sqnr_db):
    model = model_of("net (float[1,4,10,9] x) => (float[1,4,10,5] y) { y = MatMul(x, w) }", w=normal(9, 5))
    samples = [normal(1, 4, 10, 9) + 1 for _ in range(4)]
    quantized = quantize(model, schemes["x86"], samples_of(x=samples))

    assert [len(one.input) for one in quantized.graph.node if one.op_type == "MatMul"] == [2]
    assert sqnr_db(run(model, x=samples[-1])[0], run(quantized, x=samples[-1])[0]) > 30


def test_a_constant_may_be_weight_and_operand_at_once(model_of, samples_of, quantize, schemes, run, sqnr_db):
    text = "net (float[1,4,1,1] x) => (float[4,4,1,1] y) { c = Conv(x, w)  d = Mul(c, w)  y = Conv(d, w) }"
    model = model_of(text, w=normal(4, 4, 1, 1))
    samples = [normal(1, 4, 1, 1) for _ in range(4)]
    quantized = quantize(model, schemes["x86"], samples_of(x=samples))

    assert sqnr_db(run(model, x=samples[0])[0], run(quantized, x=samples[0])[0]) > 25


def test_a_constant_may_be_bias_and_operand_at_once(model_of, samples_of, quantize, schemes, run, sqnr_db):
    text = "net (float[1,3,6] x) => (float[1,3,4] y) { m = MatMul(x, w)  a = Add(m, b)  y = Mul(a, b) }"
    model = model_of(text, w=normal(6, 4), b=normal(4))
    samples = [normal(1, 3, 6) for _ in range(4)]
    quantized = quantize(model, schemes["x86"], samples_of(x=samples))

    assert sqnr_db(run(model, x=samples[0])[0], run(quantized, x=samples[0])[0]) > 30

"""Activations of 16 bits and weights of 4: types, numbers, and what they cost, against ONNX's own reference and sums by hand."""

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.errors import UsageError
from edgekit.numerics.affine import INT4_SYMMETRIC, INT8_SYMMETRIC
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.passes.quantize.round_weights import row_scales
from edgekit.target import Scheme

OPS = ("Conv", "Gemm", "Relu", "Sigmoid", "GlobalAveragePool", "Flatten")
WIDE = Scheme(activations="int16 symmetric", bias="float32", integer_ops=OPS, same_scale_ops=("Flatten",), fixed_output={"Sigmoid": (1 / 32768, 0)})
SCHEME = Scheme(integer_ops=OPS, same_scale_ops=("Flatten",), low_bit_static_ops=("Gemm",), int16_activations=WIDE)
NET = """net (float[1,4,6,6] x) => (float[1,3] y) {
    c = Conv(x, w, b)  s = Sigmoid(c)  p = GlobalAveragePool(s)  f = Flatten(p)  y = Gemm(f, v, k)
}"""


def normal(draw, *shape):
    return draw.normal(size=shape).astype(np.float32)


@pytest.fixture
def net(model_of, samples_of):
    """A Model, its weights and its samples."""
    draw = np.random.default_rng(3)
    weights = {"w": normal(draw, 8, 4, 3, 3), "b": normal(draw, 8), "v": normal(draw, 8, 3), "k": normal(draw, 3)}
    return model_of(NET, **weights), weights, samples_of(x=[normal(draw, 1, 4, 6, 6) for _ in range(6)])


def held(proto):
    return {one.name: onnx.numpy_helper.to_array(one) for one in proto.graph.initializer}


def stored(proto, op):
    """Integers and scales of the weights of the only node of an operator."""
    numbers, makers = held(proto), {one.output[0]: one for one in proto.graph.node}
    (node,) = [one for one in proto.graph.node if one.op_type == op]
    return tuple(numbers[name] for name in makers[node.input[1]].input)


def test_activations_of_16_bits_are_symmetric_reach_as_far_as_was_seen_and_leave_the_bias_in_float(net, quantized):
    model, _, samples = net
    proto, did = quantized(model, SCHEME, samples, activation_bits=16, observer="minmax", correct_bias=False)
    numbers = held(proto)
    seen = max(np.abs(feed["x"]).max() for feed in samples.feeds("calibrating", model.signature))

    zeros = [numbers[one.input[2]] for one in proto.graph.node if one.op_type == "QuantizeLinear"]
    assert {(zero.dtype.name, int(zero)) for zero in zeros} == {("int16", 0)}
    assert numbers["x/scale"] == pytest.approx(seen / 32767, rel=1e-6)
    assert numbers["s/scale"] == 1 / 32768
    assert stored(proto, "Conv")[0].dtype == np.int8
    makers = {one.output[0]: one.op_type for one in proto.graph.node}
    assert all(one.input[2] not in makers for one in proto.graph.node if one.op_type in ("Conv", "Gemm"))
    assert did["weights"] == {"int8": 2}
    assert did["left_float"] == {}


def test_16_bits_leave_the_error_of_the_weights_alone(net, quantized, sqnr_of):
    model, weights, samples = net
    feeds = list(samples.feeds("calibrating", model.signature))
    options = {"rounding": "nearest", "correct_bias": False, "observer": "minmax"}
    wide, _ = quantized(model, SCHEME, samples, activation_bits=16, **options)
    narrow, _ = quantized(model, SCHEME, samples, **options)
    rounded = onnx.load(model.path)
    for tensor in rounded.graph.initializer:
        if tensor.name in ("w", "v"):
            axis = (1, 2, 3) if tensor.name == "w" else (0,)
            scale = np.abs(weights[tensor.name]).max(axis=axis, keepdims=True) / 127
            tensor.CopyFrom(onnx.numpy_helper.from_array((np.rint(weights[tensor.name] / scale) * scale).astype(np.float32), tensor.name))
    wanted = onnx.load(model.path)

    assert sqnr_of(wanted, wide, feeds) == pytest.approx(sqnr_of(wanted, rounded, feeds), abs=0.5)
    assert sqnr_of(wanted, wide, feeds) > sqnr_of(wanted, narrow, feeds) + 3.0


def test_a_scheme_without_16_bits_is_refused_with_what_can_be_done(net, tmp_path):
    model, _, samples = net
    without = msgspec.structs.replace(SCHEME, int16_activations=None, lacks={"int16_activations": "there are no kernels: none at all"})

    with pytest.raises(UsageError) as caught:
        Quantize(activation_bits=16)(model, Supplies(samples=samples, scheme=without), tmp_path)

    assert caught.value.message == "quantize: there are no kernels: none at all"
    assert caught.value.hint == "--recipe static_wi8_ai8 --set quantize.min_sqnr_db=25"


def test_a_budget_keeps_nodes_in_float_with_16_bits_too(uneven, quantized, sqnr_of):
    model, samples = uneven
    feeds = list(samples.feeds("calibrating", model.signature))
    scheme = Scheme(int16_activations=msgspec.structs.replace(WIDE, integer_ops=("Conv",)))
    whole, _ = quantized(model, scheme, samples, activation_bits=16)
    proto, did = quantized(model, scheme, samples, activation_bits=16, min_sqnr_db=40.0, max_float_share=0.7)

    assert sorted(did["kept_float"]) == ["Conv_0", "Conv_2"]
    assert did["sqnr_db_all_integer"] == pytest.approx(sqnr_of(onnx.load(model.path), whole, feeds), abs=0.1)
    assert did["sqnr_db_on_samples"] == pytest.approx(sqnr_of(onnx.load(model.path), proto, feeds), abs=0.1)
    assert did["budget_reached"] is True


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
def test_products_that_take_4_bits_have_int4_weights_and_the_others_int8(net, quantized, rounding):
    model, _, samples = net
    proto, did = quantized(model, SCHEME, samples, weight_bits=4, rounding=rounding)
    few, scale, zero = stored(proto, "Gemm")

    onnx.checker.check_model(proto, full_check=True)
    assert (few.dtype.name, zero.dtype.name, scale.shape) == ("int4", "int4", (3,))
    assert np.abs(few.astype(int)).max() <= 7
    assert not zero.astype(int).any()
    assert stored(proto, "Conv")[0].dtype == np.int8
    assert did["weights"] == {"int4": 1, "int8": 1}


def test_with_8_bits_asked_for_no_weight_has_4(net, quantized):
    model, _, samples = net

    assert quantized(model, SCHEME, samples)[1]["weights"] == {"int8": 2}


def test_scales_of_4_bits_have_less_squared_error_than_those_that_reach_the_largest_weight():
    rows = np.random.default_rng(1).normal(size=(5, 400))
    scale = row_scales(rows, 5, INT4_SYMMETRIC, per_channel=True).astype(np.float64)[:, None]
    largest = np.abs(rows).max(axis=1, keepdims=True) / 7

    def error(step):
        return np.square(np.clip(np.rint(rows / step), -7, 7) * step - rows).sum(axis=1)

    grid = [error(largest * share) for share in np.linspace(0.3, 1.0, 200)]
    assert np.all(error(scale) < 0.75 * error(largest))
    assert np.all(error(scale) <= 1.01 * np.min(grid, axis=0))
    np.testing.assert_allclose(row_scales(rows, 5, INT8_SYMMETRIC, per_channel=True), np.abs(rows).max(axis=1) / 127, rtol=1e-6)


def test_rows_that_share_a_channel_share_its_scale_and_all_do_without_channels():
    rows = np.random.default_rng(2).normal(size=(6, 50))

    of_channels = row_scales(rows, 3, INT4_SYMMETRIC, per_channel=True)
    of_all = row_scales(rows, 3, INT4_SYMMETRIC, per_channel=False)

    np.testing.assert_array_equal(of_channels[:3], of_channels[3:])
    assert len(set(of_channels[:3].tolist())) == 3
    assert len(set(of_all.tolist())) == 1


def test_rounding_on_samples_makes_up_for_4_bits(model_of, samples_of, quantized, sqnr_of):
    """Inputs that are mixtures of four: 16 weights meet them, so that roundings can cancel."""
    draw = np.random.default_rng(8)
    mixing = normal(draw, 4, 16)
    model = model_of("net (float[1,16] x) => (float[1,8] y) { y = Gemm(x, w) }", w=normal(draw, 16, 8))
    samples = samples_of(x=[normal(draw, 1, 4) @ mixing + 0.05 * normal(draw, 1, 16) for _ in range(60)])
    feeds = list(samples.feeds("calibrating", model.signature))
    found = {
        rounding: sqnr_of(onnx.load(model.path), quantized(model, SCHEME, samples, weight_bits=4, rounding=rounding)[0], feeds)
        for rounding in ("nearest", "compensated")
    }

    assert found["compensated"] > found["nearest"] + 4.0


@pytest.mark.parametrize("options", [{"activation_bits": 16}, {"weight_bits": 4}])
def test_a_diagnosis_is_of_the_bits_that_were_asked_for(net, options, quantized, sqnr_of):
    model, _, samples = net
    proto, _ = quantized(model, SCHEME, samples, **options)

    found = Quantize(**options).diagnose(model, Supplies(samples=samples, scheme=SCHEME))

    feeds = list(samples.feeds("calibrating", model.signature))
    assert found.sqnr_db == pytest.approx(sqnr_of(onnx.load(model.path), proto, feeds), abs=0.1)
    assert {one.node for one in found.weights} == {"Conv_0", "Gemm_4"}

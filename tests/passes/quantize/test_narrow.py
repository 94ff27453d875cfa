import msgspec
import numpy as np
import onnx
import pytest

from edgekit.errors import UsageError
from edgekit.passes.quantize import Quantize

NET = "net (float[2,16] x) => (float[2,8] y) { a = MatMul(x, u)  b = MatMul(a, v)  y = MatMul(b, w) }"
BYTES = {"u": 16 * 32, "v": 32 * 4, "w": 4 * 8}
"""Of each node's weights in 8 bits."""


@pytest.fixture
def layers(model_of, samples_of):
    """Three products whose weights differ in size, and samples."""
    draw = np.random.default_rng(1)
    weights = {name: draw.normal(size=shape).astype(np.float32) for name, shape in (("u", (16, 32)), ("v", (32, 4)), ("w", (4, 8)))}
    return model_of(NET, **weights), samples_of(x=[draw.normal(size=(2, 16)).astype(np.float32) for _ in range(16)])


@pytest.fixture
def scheme(schemes):
    return msgspec.structs.replace(schemes["tflite"], low_bit_static_ops=("MatMul",))


def narrow_of(proto):
    """Weights stored in 4 bits, by name."""
    four = onnx.TensorProto.INT4
    return {one.name.split("/")[0] for one in proto.graph.initializer if one.data_type == four}


def bytes_of(narrow):
    return sum(size // 2 if name in narrow else size for name, size in BYTES.items())


@pytest.mark.parametrize("most", [672, 640, 420, 416, 400, 336])
def test_weights_fit_and_no_node_has_4_bits_without_need(layers, scheme, quantized, most):
    model, samples = layers
    proto, did = quantized(model, scheme, samples, weight_bits=4, max_weight_bytes=most)
    narrow = narrow_of(proto)

    assert bytes_of(narrow) == did["weight_bytes"] <= most
    assert all(bytes_of(narrow - {name}) > most for name in narrow)


def test_where_they_fit_in_8_bits_all_is_as_with_8_bits(layers, scheme, quantized):
    model, samples = layers
    proto, _ = quantized(model, scheme, samples, weight_bits=4, max_weight_bytes=672)
    whole, _ = quantized(model, scheme, samples)

    assert proto.graph.SerializeToString() == whole.graph.SerializeToString()


def test_the_node_goes_first_that_costs_least_for_the_bytes_it_saves(model_of, samples_of, scheme, quantized):
    """Of two products alike the one whose weights 4 bits hold exactly."""
    draw = np.random.default_rng(2)
    exact = draw.integers(-7, 8, (16, 16)).astype(np.float32)
    exact[0] = 7.0  # each column's largest, so that its scale is 1
    weights = {"u": draw.normal(size=(16, 16)).astype(np.float32), "v": exact}
    model = model_of("net (float[2,16] x) => (float[2,16] y) { a = MatMul(x, u)  y = MatMul(a, v) }", **weights)
    samples = samples_of(x=[draw.normal(size=(2, 16)).astype(np.float32) for _ in range(16)])

    proto, _ = quantized(model, scheme, samples, weight_bits=4, max_weight_bytes=400)

    assert narrow_of(proto) == {"v"}


def test_weights_that_do_not_fit_even_so_are_refused_with_what_they_take(layers, scheme, quantized):
    model, samples = layers
    with pytest.raises(UsageError, match="max_weight_bytes = 300: weights have 336 bytes with 4 bits") as caught:
        quantized(model, scheme, samples, weight_bits=4, max_weight_bytes=300)
    assert "--set quantize.max_weight_bytes=336" in caught.value.hint


def test_it_is_asked_for_along_with_4_bits_alone():
    with pytest.raises(ValueError, match="max_weight_bytes = 300: of weight_bits = 4 alone"):
        Quantize(max_weight_bytes=300)


@pytest.mark.parametrize("mode", ["dynamic", "weight_only", "float16"])
def test_what_only_static_quantization_heeds_is_refused_elsewhere(mode):
    with pytest.raises(ValueError, match=r"max_accuracy_drop = 0.1: of mode static alone"):
        Quantize(mode=mode, max_accuracy_drop=0.1)


@pytest.mark.parametrize("mode", ["dynamic", "float16"])
def test_modes_that_take_a_whole_graph_keep_no_nodes_by_name(mode):
    with pytest.raises(ValueError, match=r"keep_float = \('Conv',\), min_sqnr_db = 20.0: of mode static alone"):
        Quantize(mode=mode, min_sqnr_db=20.0, keep_float=("Conv",))


@pytest.mark.torch
def test_rounding_is_learned_in_the_bits_that_each_node_has(layers, scheme, quantized, sqnr_of):
    model, samples = layers
    options = {"weight_bits": 4, "max_weight_bytes": 420}
    compensated, _ = quantized(model, scheme, samples, **options)
    proto, did = quantized(model, scheme, samples, rounding="learned", **options)
    feeds = list(samples.feeds("calibrating", model.signature))

    assert narrow_of(proto) == narrow_of(compensated)
    assert did["weight_bytes"] <= 420
    before, after = (sqnr_of(onnx.load(model.path), one, feeds) for one in (compensated, proto))
    assert after > before - 1.0

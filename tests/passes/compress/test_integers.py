"""What compression gave weights is there in the integers of an engine, too."""

import zlib

import numpy as np
import onnx
import pytest

from edgekit.graph.structure import Structure, set_structures
from edgekit.passes.compress.cluster import Cluster
from edgekit.passes.contract import Supplies
from edgekit.passes.equalize import Equalize

TEXT = """net (float[1,4,12,12] x) => (float[1,10] y) {
    c = Conv<pads = [1, 1, 1, 1]>(x, w, b)
    r = Relu(c)
    f = Flatten(r)
    y = Gemm<transB = 1>(f, v, u)
}"""


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def network(model_of):
    """Channels differ in size, as they do where normalization was folded into them."""
    sizes = np.geomspace(0.1, 10.0, 16).astype(np.float32)[:, None, None, None]
    return model_of(TEXT, w=normal(16, 4, 3, 3) * sizes, b=normal(16), v=normal(10, 16 * 144, seed=1) / 48, u=normal(10, seed=2))


@pytest.fixture
def samples(samples_of):
    return samples_of(x=normal(12, 1, 4, 12, 12, seed=3))


def integers(proto, weight):
    """The integers that a weight became, a row an output channel."""
    found = next(
        one for one in proto.graph.initializer if one.name.startswith(f"{weight}") and one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1
    )
    array = onnx.numpy_helper.to_array(found)
    return array.reshape(len(array), -1)


def clustered(model, samples, **options):
    out = model.folder.parent / "clustered"
    out.mkdir()
    return Cluster(**options)(model, Supplies(samples=samples), out)


@pytest.mark.parametrize("scope", ["layer", "scaled"])
@pytest.mark.parametrize("runtime", ["x86", "tflite", "tensorrt"])
def test_sixteen_values_of_a_layer_are_sixteen_integers(network, samples, quantize, schemes, scope, runtime):
    proto = quantize(clustered(network, samples, scope=scope), schemes[runtime], samples)

    for weight in "wv":
        assert len(np.unique(integers(proto, weight))) <= 16


def test_values_of_a_channel_are_as_many_integers_of_it(network, samples, quantize, schemes):
    proto = quantize(clustered(network, samples, scope="channel", bits=3), schemes["tflite"], samples)

    for weight in "wv":
        assert max(len(np.unique(row)) for row in integers(proto, weight)) <= 8


@pytest.mark.parametrize("mode", ["weight_only", "dynamic"])
def test_integers_that_are_stored_without_samples_are_as_few(network, samples, quantize, schemes, mode):
    import msgspec

    scheme = msgspec.structs.replace(schemes["tflite"], weight_only_ops=("Conv", "Gemm"), dynamic_ops=("Conv", "Gemm"))
    proto = quantize(clustered(network, samples, scope="scaled"), scheme, None, mode=mode)

    assert len(np.unique(integers(proto, "v"))) <= 16


@pytest.mark.parametrize("scope", ["layer", "scaled"])
def test_compressed_the_integers_take_four_bits_each(network, samples, quantize, schemes, scope):
    """16 values have at most 4 bits of entropy; what DEFLATE takes for repetitions costs it a little more than it saves."""
    proto = quantize(clustered(network, samples, scope=scope), schemes["tflite"], samples)

    found = integers(proto, "v")
    assert 8 * len(zlib.compress(found.tobytes(), 9)) / found.size < 4.7


def test_pruned_weights_stay_zero_as_integers(network, samples, quantize, schemes):
    proto = onnx.load(network.path)
    for tensor in proto.graph.initializer:
        if tensor.name in "wv":
            value = onnx.numpy_helper.to_array(tensor).copy()
            value[np.abs(value) < np.quantile(np.abs(value), 0.7)] = 0.0
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    set_structures(proto, {"w": Structure("sparse"), "v": Structure("sparse")})
    onnx.save(proto, network.path)

    made = quantize(network, schemes["tflite"], samples)

    for weight in "wv":
        pruned = next(onnx.numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == weight) == 0.0
        assert np.all(integers(made, weight)[pruned.reshape(len(pruned), -1)] == 0)


def test_channels_of_shared_values_are_not_equalized(network, samples, tmp_path):
    model = clustered(network, samples)
    out = tmp_path / "equalized"
    out.mkdir()

    made = Equalize()(model, Supplies(samples=samples), out)

    assert onnx.load(made.path).graph == onnx.load(model.path).graph
    assert "share values" in made.history[-1].did["left_alone"]


@pytest.mark.slow
@pytest.mark.torch
def test_learned_rounding_leaves_shared_values_alone(network, samples, quantize, schemes):
    """The second layer keeps its own weights, and learns."""
    pytest.importorskip("torch")

    proto = quantize(clustered(network, samples, keep=("Gemm",)), schemes["tflite"], samples, rounding="learned")

    assert len(np.unique(integers(proto, "w"))) <= 16
    assert len(np.unique(integers(proto, "v"))) > 16

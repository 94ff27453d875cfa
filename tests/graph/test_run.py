import numpy as np
import pytest

from edgekit.errors import SamplesError, SourceError
from edgekit.graph.onnx_file import save
from edgekit.graph.run import Runner

NET = "net (float[1,3] x) => (float[1,3] y) { a = Relu(x)  b = ArgMax<axis=1>(a)  c = Neg(a)  y = Add(c, w) }"
X = np.float32([[1, -2, 3]])


@pytest.fixture
def bytes_of_net(onnx_text):
    return onnx_text(NET, w=np.float32([10, 20, 30])).SerializeToString()


def test_outputs_come_by_name(bytes_of_net):
    found = Runner(bytes_of_net)({"x": X})
    assert list(found) == ["y"]
    np.testing.assert_array_equal(found["y"], [[9, 20, 27]])


def test_inner_tensors_can_be_asked_for_with_their_own_types(bytes_of_net):
    found = Runner(bytes_of_net, outputs=["b", "y", "a"], threads=1)({"x": X})
    assert list(found) == ["b", "y", "a"]
    np.testing.assert_array_equal(found["a"], [[1, 0, 3]])
    assert found["b"].dtype == np.int64
    assert found["b"].item() == 2


def test_a_file_runs_too_also_with_weights_beside_it_and_inner_tensors(onnx_text, tmp_path):
    proto = onnx_text("net (float[2,64] x) => (float[2,64] y) { a = MatMul(x, w)  y = Neg(a) }", w=np.eye(64))
    save(proto, tmp_path, external_above_bytes=100)
    x = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    np.testing.assert_array_equal(Runner(tmp_path / "model.onnx", outputs=["a"])({"x": x})["a"], x)


def test_a_tensor_that_is_not_there_is_named(bytes_of_net):
    with pytest.raises(SourceError, match="produces nothing_like_it"):
        Runner(bytes_of_net, outputs=["a", "nothing_like_it"])


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ({}, "no values for the input x"),
        ({"x": X, "z": X}, "the model has no input z"),
        ({"x": X.astype(np.float64)}, "does not fit"),
        ({"x": np.zeros((2, 3), np.float32)}, "does not fit"),
        ({"x": "text"}, "does not fit"),
    ],
)
def test_inputs_that_do_not_fit_are_an_error_of_the_samples(bytes_of_net, feed, said):
    with pytest.raises(SamplesError, match=said) as caught:
        Runner(bytes_of_net)(feed)
    assert "\n" not in caught.value.message


def test_a_graph_that_fails_while_it_runs_is_an_error_of_the_source(onnx_text):
    proto = onnx_text("net (float[n] x, int64[m] s) => (float[k,l] y) { y = Reshape(x, s) }")
    with pytest.raises(SourceError, match="while it runs"):
        Runner(proto.SerializeToString())({"x": np.zeros(6, np.float32), "s": np.array([4, 4])})


@pytest.mark.parametrize("outputs", [None, ["y"]])
def test_what_is_no_graph_is_an_error_of_the_source(tmp_path, outputs):
    (tmp_path / "text.onnx").write_text("not a model")
    for model in (b"not a model", tmp_path / "text.onnx", tmp_path / "missing.onnx"):
        with pytest.raises(SourceError):
            Runner(model, outputs=outputs)


def test_nothing_is_printed(onnx_text, capfd):
    proto = onnx_text("net (float[1,3] x) => (float[1,3] y) { y = Relu(x) }", unused=np.zeros(5))
    Runner(proto.SerializeToString())({"x": X})
    assert capfd.readouterr() == ("", "")


def test_zeros_before_a_maximum_count(onnx_text):
    text = "net (float[1,1,4,4] x) => (float[1,1,2,2] y) { a = Sub(x, t)  b = Pad(a, p)  y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(b) }"
    proto = onnx_text(text, t=3.0, p=np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    found = Runner(proto.SerializeToString())({"x": np.zeros((1, 1, 4, 4), np.float32)})
    np.testing.assert_array_equal(found["y"], [[[[0, 0], [0, -3]]]])


def test_a_product_by_integer_weights_does_not_round_what_it_multiplies(onnx_text):
    text = "net (float[2,32] x) => (float[2,4] y) { w = DequantizeLinear<axis=1>(q, s)  y = MatMul(x, w) }"
    draw = np.random.default_rng(0)
    integers, scale = draw.integers(-127, 128, (32, 4)).astype(np.int8), np.full(4, 0.01, np.float32)
    x = draw.normal(size=(2, 32)).astype(np.float32)
    found = Runner(onnx_text(text, q=integers, s=scale).SerializeToString())({"x": x})
    np.testing.assert_allclose(found["y"], x @ (integers * scale), atol=1e-5)

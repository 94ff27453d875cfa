import numpy as np
import pytest

from edgekit.errors import SourceError
from edgekit.graph.signature import guess_layout, signature_of
from edgekit.model import Tensor


def test_names_types_and_shapes_are_those_of_the_graph(onnx_text):
    proto = onnx_text("net (float[n,3,8,8] x, int64[2] k) => (bool[n] y) { y = Foo(x, k) }")
    signature = signature_of(proto)
    assert signature.inputs == (Tensor("x", "float32", ("n", 3, 8, 8), "nchw"), Tensor("k", "int64", (2,)))
    assert signature.outputs == (Tensor("y", "bool", ("n",)),)


def test_weights_that_an_old_file_lists_as_inputs_are_left_out(onnx_text):
    proto = onnx_text("net (float[1,3] x, float[3] w) => (float[1,3] y) { y = Add(x, w) }", w=np.zeros(3))
    assert [tensor.name for tensor in signature_of(proto).inputs] == ["x"]


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 3, 224, 224), "nchw"),
        ((1, 1, 28, 28), "nchw"),
        (("batch", 4, "height", "width"), "nchw"),
        ((1, 224, 224, 3), "nhwc"),
        ((1, 28, 28, 1), "nhwc"),
        ((1, 64, 56, 56), ""),
        ((1, 3, 224), ""),
        ((3,), ""),
    ],
)
def test_the_layout_follows_from_where_a_pictures_channels_can_be(shape, layout):
    assert guess_layout(shape) == layout


def test_a_size_without_number_or_word_gets_a_word(onnx_text):
    proto = onnx_text("net (float[1,2] x) => (float[1,2] y) { y = Relu(x) }")
    proto.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    assert signature_of(proto).inputs[0].shape == ("x_0", 2)


def test_a_tensor_of_unknown_rank_or_type_is_refused(onnx_text):
    shapeless = onnx_text("net (float[1,2] x) => (float[1,2] y) { y = Relu(x) }")
    shapeless.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(SourceError, match="y: its shape is not known"):
        signature_of(shapeless)
    typeless = onnx_text("net (float[1,2] x) => (float[1,2] y) { y = Relu(x) }")
    typeless.graph.input[0].ClearField("type")
    with pytest.raises(SourceError, match="x: inputs and outputs must be tensors"):
        signature_of(typeless)

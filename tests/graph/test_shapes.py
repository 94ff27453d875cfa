import numpy as np
import onnx
import pytest

from edgekit.errors import SourceError
from edgekit.graph.onnx_file import infer_shapes
from edgekit.graph.shapes import outputs_sized_by_numbers


def shapes_of(proto):
    return {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for values in (proto.graph.value_info, proto.graph.output)
        for value in values
    }


def test_shapes_follow_weights_and_shape_arithmetic(onnx_text):
    proto = onnx_text(
        """net (float[1,3,8,8] x) => (float[a,b] y) {
        c = Conv(x, w)  s = Shape(c)  n = Gather(s, zero)  u = Unsqueeze(n, axis)  t = Concat<axis=0>(u, minus)  y = Reshape(c, t)
    }""",
        w=np.zeros((4, 3, 3, 3)),
        zero=np.array(0),
        axis=np.array([0]),
        minus=np.array([-1]),
    )
    found = shapes_of(infer_shapes(proto))
    assert found["c"] == [1, 4, 6, 6]
    assert found["y"] == [1, 144]


def test_the_source_and_its_weights_are_left_alone(onnx_text):
    weights = np.random.default_rng(0).normal(size=(64, 64))
    proto = onnx_text("net (float[2,64] x) => (float[2,64] y) { a = MatMul(x, w)  y = Add(a, b) }", w=weights, b=np.zeros(64))
    untouched = proto.SerializeToString()
    inferred = infer_shapes(proto)
    assert proto.SerializeToString() == untouched
    assert [value.name for value in inferred.graph.input] == ["x"]
    assert list(inferred.graph.initializer) == list(proto.graph.initializer)


def test_what_a_file_said_wrongly_before_is_forgotten(onnx_text):
    proto = onnx_text("net (float[1,4] x) => (float[1,4] y) { a = Relu(x)  y = Add(a, b) }", b=np.zeros(4))
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [7, 4]))
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [9]))
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("gone", onnx.TensorProto.FLOAT, [1]))
    assert shapes_of(infer_shapes(proto)) == {"a": [1, 4], "y": [1, 4]}


def test_what_a_file_said_is_kept_where_inference_is_silent(onnx_text):
    proto = onnx_text("net (float[2] x, int64[2] s) => (float[k,l] y) { a = Expand(x, s)  y = Relu(a) }")
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [3, 2]))
    found = shapes_of(infer_shapes(proto))
    assert found["a"][-1] == 2


def test_open_sizes_stay_open(onnx_text):
    proto = onnx_text("net (float[n,3] x) => (float[n,4] y) { a = Relu(x)  y = MatMul(a, w) }", w=np.zeros((3, 4)))
    assert shapes_of(infer_shapes(proto)) == {"a": ["n", 3], "y": ["n", 4]}


def test_wrongly_declared_outputs_are_set_right(onnx_text):
    assert shapes_of(infer_shapes(onnx_text("net (float[1,4] x) => (float[2,9] y) { y = Relu(x) }"))) == {"y": [1, 4]}
    assert shapes_of(infer_shapes(onnx_text("net (float[1,4] x) => (float[4] y) { y = Relu(x) }"))) == {"y": [1, 4]}


def test_what_an_output_declares_fills_what_inference_leaves_open(onnx_text):
    proto = onnx_text("net (float[n] x, int64[2] s) => (float[3,words] y) { y = Reshape(x, s) }")
    assert shapes_of(infer_shapes(proto)) == {"y": [3, "words"]}


def test_shapes_that_contradict_one_another_are_an_error(onnx_text):
    proto = onnx_text("net (float[1,4] x) => (float[1,2] y) { y = MatMul(x, w) }", w=np.zeros((5, 2)))
    with pytest.raises(SourceError, match="contradict") as caught:
        infer_shapes(proto)
    assert "\n" not in caught.value.message


def test_a_group_normalization_keeps_the_shape_that_onnx_says_nothing_about(onnx_text):
    proto = onnx_text(
        "net (float[1,6,4,5] x) => (float[a,b,c,d] y) { g = GroupNormalization<num_groups=3>(x, s, s)  y = MaxPool<kernel_shape=[2,2]>(g) }",
        s=np.ones(6),
    )
    found = infer_shapes(proto)
    assert shapes_of(found) == {"g": [1, 6, 4, 5], "y": [1, 6, 3, 4]}
    assert [node.op_type for node in found.graph.node] == ["GroupNormalization", "MaxPool"]


def test_outputs_sized_by_numbers_are_those_behind_what_selects(onnx_text):
    proto = onnx_text(
        """net (float[n,4] x) => (float[n,4] r, int64[2,a] i, float[b] g, int64[2] s) {
        r = Relu(x)  i = NonZero(x)  t = Transpose(i)  g = GatherND(x, t)  s = Shape(i)
    }"""
    )

    assert outputs_sized_by_numbers(proto.graph) == ["i", "g"]

"""bfloat16 as roundings in float32, against ONNX's own reference, which computes with ml_dtypes."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgekit.graph import onnx_file
from edgekit.graph.bfloat16 import computes_in_bfloat16, rounded_in_float32
from edgekit.graph.run import Runner

RNG = np.random.default_rng(4)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture
def graph():
    """A graph between Casts, its constants in bfloat16, all types inferred."""

    def make(body, **constants):
        head = '<ir_version: 10, opset_import: ["" : 21]> net (float[2,8] x) => (float[2,a] y) '
        proto = onnx.parser.parse_model(f"{head} {{ h = Cast<to = 16>(x)  {body}  y = Cast<to = 1>(r) }}")
        for name, value in constants.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(ml_dtypes.bfloat16), name))
        return onnx_file.infer_shapes(proto)

    return make


def test_each_node_rounds_what_it_makes_by_hand(graph):
    """1 + 2^-7 is one step above 1; a quarter of a step more is rounded off, once by each Add."""
    proto = graph("a = Add(h, quarter)  r = Add(a, quarter)", quarter=np.full(8, 2.0**-9, np.float32))
    x = np.full((2, 8), 1.0 + 2.0**-7, np.float32)

    (got,) = Runner(rounded_in_float32(proto).SerializeToString())({"x": x}).values()

    np.testing.assert_array_equal(got, x)


def test_elementwise_arithmetic_is_that_of_onnx_reference(graph):
    proto = graph("a = Mul(h, c)  b = Add(a, h)  r = Relu(b)", c=normal(8))
    x = normal(2, 8)

    (got,) = Runner(rounded_in_float32(proto).SerializeToString())({"x": x}).values()

    np.testing.assert_array_equal(got, ReferenceEvaluator(proto).run(None, {"x": x})[0])


def test_products_are_added_up_before_they_are_rounded(graph):
    weights, x = normal(8, 5), normal(2, 8)
    proto = graph("r = MatMul(h, w)", w=weights)
    stored, given = (one.astype(ml_dtypes.bfloat16).astype(np.float32) for one in (weights, x))

    (got,) = Runner(rounded_in_float32(proto).SerializeToString())({"x": x}).values()

    np.testing.assert_array_equal(got, (given @ stored).astype(ml_dtypes.bfloat16).astype(np.float32))


def test_a_graph_without_it_is_told_apart(graph):
    assert computes_in_bfloat16(graph("r = Relu(h)"))
    plain = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> n (float[2] x) => (float[2] y) { y = Relu(x) }')
    assert not computes_in_bfloat16(plain)

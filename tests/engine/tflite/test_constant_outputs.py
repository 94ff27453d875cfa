"""Outputs that no operator computes: LiteRT hands out a constant as any other tensor."""

import numpy as np
import pytest

from edgekit.engine.tflite import TfliteBackend
from edgekit.target import Runtime, Target

ROW = np.array([[1, -2, 0.5], [0, 3, 4]], np.float32)
X = np.array([[-1, 0, 1, 2]], np.float32)
PAIR = "a = QuantizeLinear(x, s, z) y = DequantizeLinear(a, s, z)"
CASES = {
    "an initializer": ("(float[1,4] x) => (float[1,4] y, float[2,3] k) { y = Relu(x) }", {"k": ROW}, ROW),
    "an initializer that is used, too": ("(float[1,4] x) => (float[1,4] y, float[1,4] k) { y = Add(x, k) }", {"k": X}, X),
    "another name of one": ("(float[1,4] x) => (y, k) { y = Relu(x) k = Identity(c) }", {"c": ROW}, ROW),
    "a node that says it": ("(float[1,4] x) => (y, k) { y = Relu(x) k = Constant<value_floats=[1.0, 2.0]>() }", {}, np.float32([1, 2])),
    "a scalar": ("(float[1,4] x) => (float[1,4] y, float k) { y = Relu(x) }", {"k": np.float32(2.5)}, np.float32(2.5)),
    "whole numbers": ("(float[1,4] x) => (float[1,4] y, int64[2] k) { y = Relu(x) }", {"k": np.array([3, -4])}, np.array([3, -4])),
    "half precision made whole": ("(float[1,4] x) => (y, k) { y = Relu(x) k = Cast<to=1>(c) }", {"c": ROW.astype(np.float16)}, ROW),
    "what nobody folded": ("(float[1,4] x) => (y, k) { y = Relu(x) k = Relu(c) }", {"c": ROW}, np.maximum(ROW, 0)),
    "a softmax over one": ("(float[1,4] x) => (y, k) { y = Relu(x) k = Softmax<axis=1>(c) }", {"c": ROW[:, :1]}, np.ones((2, 1), np.float32)),
    "a triangle": ("(float[1,4] x) => (y, k) { y = Relu(x) k = Trilu<upper=0>(c) }", {"c": ROW}, np.float32([[1, 0, 0], [0, 3, 0]])),
    "a triangle of truth values above the diagonal": (
        "(float[1,4] x) => (y, k) { y = Relu(x) k = Trilu(c, d) }",
        {"c": np.ones((2, 3), bool), "d": np.array(1)},
        np.array([[False, True, True], [False, False, True]]),
    ),
    "all there is": ("(float[1,4] x) => (float[2,3] k) { }", {"k": ROW}, ROW),
}


@pytest.mark.parametrize("case", CASES)
def test_a_constant_output_is_handed_out(case, graph, build):
    text, constants, wanted = CASES[case]

    built = build(graph(text, **constants))

    for delegate in (True, False):
        results = built.run(delegate=delegate, x=X)
        assert (results["k"].dtype, results["k"].shape) == (wanted.dtype, wanted.shape)
        assert np.array_equal(results["k"], wanted)
    port = next(port for port in built.engine.outputs if port.name == "k")
    assert (port.shape, port.dtype) == (wanted.shape, wanted.dtype.name)


def test_two_outputs_of_one_constant(graph, build):
    results = build(graph("(float[1,4] x) => (a, b) { a = Identity(c) b = Identity(c) }", c=ROW)).run(x=X)

    assert np.array_equal(results["a"], ROW)
    assert np.array_equal(results["b"], ROW)


def test_a_constant_picture_is_handed_out_channels_last(graph, build):
    picture = np.arange(2 * 3 * 5, dtype=np.float32).reshape(1, 2, 3, 5)

    built = build(graph("(float[1,4] x) => (float[1,4] y, float[1,2,3,5] k) { y = Relu(x) }", k=picture))

    assert [port.shape for port in built.engine.outputs] == [(1, 4), (1, 3, 5, 2)]
    assert np.array_equal(built.run(x=X)["k"], picture)


@pytest.mark.parametrize("io_dtype", ["float32", "int8", "uint8"])
def test_a_quantized_constant_is_handed_out_at_its_scale(io_dtype, graph, build):
    text = f"(float[1,4] x) => (y, k) {{ {PAIR} b = QuantizeLinear(c, s, z) k = DequantizeLinear(b, s, z) }}"
    proto = graph(text, c=ROW, s=np.float32(0.5), z=np.int8(-3))

    built = build(proto, io_dtype=io_dtype)

    assert built.engine.outputs[1].dtype == io_dtype
    assert np.array_equal(built.run(x=X)["k"], ROW)


def target(**options):
    return Target(schema=1, name="board", arch="aarch64", runtimes=(Runtime("tflite", options=options),), sources={})


def test_a_float_constant_is_no_integer_port(graph, store):
    proto = graph(
        "(float[1,4] x) => (y, k) { a = QuantizeLinear(x, s, z) y = DequantizeLinear(a, s, z) k = Identity(c) }",
        c=ROW,
        s=np.float32(0.5),
        z=np.int8(0),
    )

    (refusal,) = TfliteBackend().refusals(store(proto), target(io_dtype="int8"))

    assert refusal.line() == "k (port 2x3): it shall be int8 and is not quantized; use a recipe that quantizes, or io_dtype = float32"


def test_a_constant_of_a_type_that_tflite_lacks_is_refused(graph, store):
    proto = graph("(float[1,4] x) => (float[1,4] y, double[2,3] k) { y = Relu(x) }", k=ROW.astype(np.float64))

    (refusal,) = TfliteBackend().refusals(store(proto), target())

    assert refusal.line() == "k (port 2x3): it is a constant of float64, which TFLite cannot hand out here; leave this output out of the model"

"""A TFLite file, read whoever wrote it; expectations by hand or from LiteRT's own interpreter."""

import numpy as np
import pytest

from edgekit.engine.tflite.file import read_tflite
from edgekit.errors import SourceError

RNG = np.random.default_rng(3)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


NET = """(float[1,4,8,8] x) => (y) {
    c = Conv<pads=[1,1,1,1]>(x, w, b)  r = Relu(c)  d = Conv<pads=[1,1,1,1], group=6>(r, v, c6)
    u = ConvTranspose<strides=[2,2]>(d, t)  g = GlobalAveragePool(u)  f = Flatten(g)  y = Gemm<transB=1>(f, m, n) }"""
NUMBERS = {"w": (6, 4, 3, 3), "b": (6,), "v": (6, 1, 3, 3), "c6": (6,), "t": (6, 5, 2, 2), "m": (7, 5), "n": (7,)}


@pytest.fixture
def built(graph, build):
    return build(graph(NET, **{name: normal(*shape) for name, shape in NUMBERS.items()}))


def test_multiply_adds_and_parameters_are_those_one_counts_by_hand(built):
    layers = {layer.op: layer for layer in read_tflite(built.path).layers}

    assert layers["CONV_2D"].macs == 6 * 8 * 8 * 4 * 9
    assert layers["CONV_2D"].parameters == 6 * 4 * 9 + 6
    assert layers["CONV_2D"].weight_bytes == 4 * (6 * 4 * 9 + 6)
    assert layers["DEPTHWISE_CONV_2D"].macs == 6 * 8 * 8 * 9
    assert layers["TRANSPOSE_CONV"].macs == 6 * 8 * 8 * 5 * 4
    assert layers["FULLY_CONNECTED"].macs == 5 * 7
    assert layers["CONV_2D"].shape == (1, 8, 8, 6)
    assert layers["CONV_2D"].activation_bytes == 4 * 8 * 8 * 6


def test_ports_and_operators_are_those_that_the_interpreter_tells(built):
    found, interpreter = read_tflite(built.path), built.interpreter(delegate=False)

    for ports, details in ((found.inputs, interpreter.get_input_details()), (found.outputs, interpreter.get_output_details())):
        assert [(one.name, one.dtype, list(one.shape)) for one in ports] == [
            (one["name"], one["dtype"].__name__, one["shape"].tolist()) for one in details
        ]
    assert [layer.op for layer in found.layers] == [one["op_name"] for one in interpreter._get_ops_details()]
    assert found.signatures == ("serving_default",)


def test_a_port_of_integers_has_its_scale_and_zero_point(graph, build, quantize):
    proto = quantize(graph("(float[1,4,8,8] x) => (y) { y = Conv(x, w) }", w=normal(5, 4, 1, 1)))
    built = build(proto, io_dtype="int8")
    (port,), (wanted,) = read_tflite(built.path).inputs, built.engine.inputs

    assert (port.dtype, port.scale, port.zero_point) == ("int8", pytest.approx(wanted.scale), wanted.zero_point)


def test_half_a_file_is_refused(built, tmp_path):
    (tmp_path / "half.tflite").write_bytes(built.path.read_bytes()[:900])
    with pytest.raises(SourceError, match=r"half\.tflite: its tables point to what is not there"):
        read_tflite(tmp_path / "half.tflite")


def test_what_is_no_tflite_file_is_refused(tmp_path):
    (tmp_path / "text.tflite").write_bytes(b"no model at all")
    with pytest.raises(SourceError, match="no TFLite file"):
        read_tflite(tmp_path / "text.tflite")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        read_tflite(tmp_path / "none.tflite")

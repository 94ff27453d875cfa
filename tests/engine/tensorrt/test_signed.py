"""Q/DQ of other tools in the form that TensorRT reads, number by number."""

import numpy as np
import onnx
import pytest

from edgekit.engine.tensorrt import TensorrtBackend
from edgekit.graph.run import Runner

NET = """net (float[1,3,8,8] x) => (float[1,4,6,6] y) {
  xq = QuantizeLinear(x, xs, xz)  xd = DequantizeLinear(xq, xs, xz)  wd = DequantizeLinear<axis = 0>(w, ws, wz)
  bd = DequantizeLinear<axis = 0>(b, bs)  c = Conv(xd, wd, bd)  cq = QuantizeLinear(c, cs, xz)  y = DequantizeLinear(cq, cs, xz) }"""


def constants(kind, zero):
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (4, 3, 3, 3)) + zero
    scales = np.float32([0.01, 0.02, 0.01, 0.015])
    arrays = {
        "xs": np.float32(0.02), "xz": kind(zero), "cs": np.float32(0.1), "w": weights.astype(kind), "ws": scales, "wz": np.full(4, zero, kind),
        "b": np.int32([100, -2000, 30, 4]), "bs": np.float32(0.02) * scales,
    }  # fmt: skip
    return tuple(onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items())


@pytest.mark.parametrize(("kind", "zero"), [(np.int8, 0), (np.uint8, 128)])
def test_integers_around_zero_and_a_bias_of_int32_are_carried(kind, zero, model, target, tmp_path):
    given = model(NET, constants(kind, zero))
    out = tmp_path / "out"
    out.mkdir()

    engine = TensorrtBackend().compile(given, target("jetson-orin-nano-jp62"), None, out)

    assert engine.precision == "int8"
    graph = onnx.load(out / engine.file).graph
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    zero_points = [held[node.input[2]] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {(array.dtype.name, array.any()) for array in zero_points} == {("int8", False)}
    (convolution,) = [node for node in graph.node if node.op_type == "Conv"]
    np.testing.assert_allclose(held[convolution.input[2]], [0.02, -0.8, 0.006, 0.0012], rtol=1e-5)
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(Runner(out / engine.file)({"x": x})["y"], Runner(given.path)({"x": x})["y"], atol=0.101)


def test_weights_off_zero_are_refused_with_what_to_do(model, target):
    found = TensorrtBackend().refusals(model(NET, constants(np.int8, 3)), target("jetson-orin-nano-jp62"))

    assert {one.reason for one in found} == {"the zero point is 3; TensorRT takes 0"}
    assert all("quantize the float model for this target" in one.remedy for one in found)

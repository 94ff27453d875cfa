"""Scales by channel, as NNCF writes them before depthwise convolutions, taken into the weights around them."""

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.graph.channel_scales import with_tensor_scales
from edgekit.graph.shapes import infer_shapes

RNG = np.random.default_rng(6)
SC = np.float32([0.02, 0.01, 0.004, 0.02])
NUMBERS = {
    "sx": np.float32(0.02), "zx": np.int8(3), "sc": SC, "zc": np.zeros(4, np.uint8), "sy": np.float32(0.05), "zy": np.int8(0),
    "w": RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), "sw": np.float32([0.01, 0.011, 0.009, 0.012]), "b": np.float32([0.1, -0.2, 0.3, 0]),
    "v": RNG.integers(-127, 128, (4, 1, 3, 3)).astype(np.int8), "sv": np.float32(0.02), "zv": np.int8(0),
    "low": np.float32(0), "high": np.float32(6),
}  # fmt: skip
TEXT = """net (float[1,3,8,8] x) => (float[1,4,4,4] y) {
  xq = QuantizeLinear(x, sx, zx)  xd = DequantizeLinear(xq, sx, zx)  wd = DequantizeLinear<axis=0>(w, sw)  c = Conv(xd, wd, b)  r = Clip(c, low, high)
  q = QuantizeLinear<axis=1>(r, sc, zc)  d = DequantizeLinear<axis=1>(q, sc, zc)  vd = DequantizeLinear(v, sv, zv)  t = Conv<group=4>(d, vd)
  yq = QuantizeLinear(t, sy, zy)  y = DequantizeLinear(yq, sy, zy) }"""


def made(text=TEXT, **changed):
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in {**NUMBERS, **changed}.items())
    for node in proto.graph.node:
        node.name = node.output[0]
    return infer_shapes(proto)


def outputs(proto, *names):
    """Inner tensors too; nothing rewritten."""
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name != "y")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(list(names), {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)})


def test_the_integers_and_the_outputs_stay_and_the_scale_is_one():
    before, after = made(), with_tensor_scales(made())
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    nodes = {node.name: node for node in after.graph.node}

    integers, wanted = outputs(after, "q", "y"), outputs(before, "q", "y")
    np.testing.assert_array_equal(integers[0], wanted[0])
    np.testing.assert_allclose(integers[1], wanted[1], atol=1e-6)
    assert held[nodes["q"].input[1]] == np.float32(0.02)
    assert held[nodes["q"].input[2]].shape == ()
    assert "Clip" not in {node.op_type for node in after.graph.node}
    np.testing.assert_array_equal(held["w"], NUMBERS["w"])
    np.testing.assert_array_equal(held["v"], NUMBERS["v"])


def test_weights_take_the_scales_by_hand():
    after = with_tensor_scales(made())
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    makers = {node.output[0]: node for node in after.graph.node}
    first, second = (node for node in after.graph.node if node.op_type == "Conv")

    np.testing.assert_allclose(held[makers[first.input[1]].input[1]], [0.01, 0.022, 0.045, 0.012], rtol=1e-6)
    np.testing.assert_allclose(held[first.input[2]], [0.1, -0.4, 1.5, 0], rtol=1e-6)
    np.testing.assert_allclose(held[makers[second.input[1]].input[1]], [0.02, 0.01, 0.004, 0.02], rtol=1e-6)


@pytest.mark.parametrize(
    "changed",
    [
        {"zc": np.uint8([0, 0, 1, 0])},
        {"high": np.float32(2)},
        {"low": np.float32(0.5)},
        {"text": TEXT.replace("t = Conv<group=4>(d, vd)", "h = Relu(d) t = Conv<group=4>(h, vd)")},
        {"text": TEXT.replace("r = Clip(c, low, high)", "r = HardSwish(c)")},
        {"text": TEXT.replace("float[1,4,4,4] y)", "float[1,4,4,4] y, float[1,4,6,6] r)")},
        {"text": TEXT.replace("group=4", "group=1"), "v": RNG.integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)},
    ],
    ids=[
        "several zero points",
        "a bound inside the range",
        "a bound above zero",
        "another reader",
        "no straight line",
        "handed out",
        "not depthwise",
    ],
)
def test_where_it_would_not_be_the_same_it_stays(changed):
    proto = made(**changed)

    assert with_tensor_scales(proto) is proto

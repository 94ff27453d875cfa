"""Ten graphs that TensorRT is known to fail on: each is caught on the host, with the reason and what to do, or put right."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgekit.engine.tensorrt import TensorrtBackend

QDQ = "net (float[2] x) => (float[2] y) <float s = {{0.1}}, {kind}> {{ q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }}"
FAILING = {
    "a zero point that is not 0": (QDQ.format(kind="int8 z = {5}"), "the zero point is 5; TensorRT takes 0", "static_wi8_ai8"),
    "a uint8 zero point": (QDQ.format(kind="uint8 z = {3}"), "the integers are uint8; TensorRT takes int8", "static_wi8_ai8"),
    "an Add of float32 and float16": (
        "net (float[2] x, float16[2] h) => (float[2] y) { y = Add(x, h) }",
        "x is float32 and h is float16; TensorRT takes one type",
        "put a Cast before it",
    ),
    "the largest 4000": (
        "net (float[1,5000] x) => (float[1,4000] y, int64[1,4000] i) <int64[1] k = {4000}> { y, i = TopK(x, k) }",
        "its input k is 4000; TensorRT takes 3840 at most",
        "export the model with a form that TensorRT takes",
    ),
    "a resize that crops": (
        """net (float[1,1,3,3] x, float[8] r) => (float[1,1,6,6] y) <float[4] s = {1, 1, 2, 2}> {
             y = Resize<mode: string = "linear", coordinate_transformation_mode: string = "tf_crop_and_resize">(x, r, s) }""",
        "coordinate_transformation_mode is tf_crop_and_resize; TensorRT takes half_pixel",
        "export the model with a form that TensorRT takes",
    ),
    "an open size without a profile": (
        'net (float["batch",3] x) => (float["batch",3] y) { y = Relu(x) }',
        "TensorRT must know the least, the usual and the largest",
        "[runtimes.options.shapes] batch = [1, 1, 8]",
    ),
    "a custom operator": ("net (float[2] x) => (float[2] y) { y = com.example.Own(x) }", "the domain com.example", "standard ONNX operators"),
    "a plugin of TensorRT's": (
        "net (float[1,9,4] x, float[1,9,3] c) => (int32[1,1] n) { n = com.example.EfficientNMS_TRT(x, c) }",
        "it is a plugin of TensorRT's",
        "export the model with NonMaxSuppression instead",
    ),
}


@pytest.mark.parametrize(("text", "reason", "advice"), FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("name", ["jetson-xavier-nx-jp51", "jetson-orin-nano-jp62"])
def test_it_is_refused_with_reason_and_remedy(model, target, text, reason, advice, name):
    found = TensorrtBackend().refusals(model(text), target(name))

    assert [one for one in found if reason in one.reason and advice in one.remedy], [one.line() for one in found]


def test_an_operator_newer_than_the_releases_opset_is_refused(model, target):
    found = TensorrtBackend().refusals(model("net (float[2] x) => (float[2] y) { y = Gelu(x) }"), target("jetson-xavier-nx-jp51"))

    assert "TensorRT reads it from release 10.0 on" in found[0].reason
    assert "newer JetPack" in found[0].remedy


def test_an_int32_bias_as_onnx_runtime_writes_it_becomes_the_same_numbers_in_float(package):
    text = """net (float[1,2,4,4] x) => (float[1,1,4,4] y)
      <float s = {0.5}, int8 z = {0}, int8[1,2,1,1] w = {3, -4}, float sw = {0.25}, int32[1] b = {-7}, float sb = {0.125}> {
      q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  wd = DequantizeLinear(w, sw, z)  bd = DequantizeLinear(b, sb)
      y = Conv(d, wd, bd) }"""

    proto = onnx.load(package(text, "jetson-orin-nano-jp62") / "model.onnx")
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}

    assert held[next(node for node in proto.graph.node if node.op_type == "Conv").input[2]] == pytest.approx([-7 * 0.125])
    assert all(array.dtype != np.int32 for array in held.values())


def test_nonzero_is_named_as_what_nobody_here_can_prove(model, target):
    pytest.importorskip("tensorrt_rtx")
    text = "net (float[2,2] x) => (int64[2,n] y) { y = NonZero(x) }"

    (verdict,) = TensorrtBackend().preflight(model(text), target("jetson-orin-nano-jp62")).nodes

    assert verdict.label == "rule"
    assert "libnvinfer_plugin" in verdict.reason
    assert "its output's size depends on the data" in verdict.reason

"""What TensorRT cannot carry is known before anything is built."""

from __future__ import annotations

import pytest

from edgekit.engine.tensorrt import TensorrtBackend
from edgekit.errors import UnsupportedError, UsageError

PLAIN = "net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"
REFUSED = {
    "an operator of another domain": (
        "net (float[2] x) => (float[2] y) { y = com.example.Own(x) }",
        "the operator belongs to the domain com.example",
    ),
    "an operator no release reads": ("net (float[2,2] x) => (float[1] y) { y = Det(x) }", "TensorRT's parser does not read it"),
    "control flow": (
        """net (float[2] x, bool c) => (float[2] y) {
             y = If<then_branch = g () => (float[2] a) { a = Relu(x) }, else_branch = h () => (float[2] b) { b = Abs(x) }>(c) }""",
        "its inner graph cannot be checked",
    ),
    "cubic resize": (
        'net (float[1,1,3,3] x) => (float[1,1,6,6] y) <float[4] s = {1, 1, 2, 2}> { y = Resize<mode: string = "cubic">(x, , s) }',
        "mode is cubic; TensorRT takes nearest, linear",
    ),
    "indices of a maximum": (
        "net (float[1,1,4,4] x) => (float[1,1,2,2] y, int64[1,1,2,2] i) { y, i = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x) }",
        "2 of its outputs are used",
    ),
    "pooling with gaps": (
        "net (float[1,1,9,9] x) => (float[1,1,7,7] y) { y = MaxPool<kernel_shape = [2,2], dilations = [2,2]>(x) }",
        "dilations are [2, 2]; TensorRT takes 1 alone",
    ),
    "indices of a one-dimensional maximum": (
        "net (float[1,2,8] x) => (float[1,2,7] y, int64[1,2,7] i) { y, i = MaxPool<kernel_shape = [2]>(x) }",
        "its input has 3 axes",
    ),
    "computed axes": (
        "net (float[2,3] x, int64[1] a) => (float[n] y) { y = ReduceMean<keepdims: int = 0>(x, a) }",
        "its input a is computed; TensorRT takes a constant",
    ),
    "double precision": ("net (double[2] x) => (double[2] y) { y = Relu(x) }", "x is of type double"),
    "unsigned integers": (
        "net (float[2] x) => (float[2] y) <float s = {0.1}, uint8 z = {127}> { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }",
        "the integers are uint8; TensorRT takes int8",
    ),
    "unsigned integers by default": (
        "net (float[2] x) => (float[2] y) <float s = {0.1}> { q = QuantizeLinear(x, s)  y = DequantizeLinear(q, s) }",
        "the integers are uint8; TensorRT takes int8",
    ),
    "an asymmetric zero point": (
        "net (float[2] x) => (float[2] y) <float s = {0.1}, int8 z = {-3}> { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }",
        "the zero point is -3; TensorRT takes 0",
    ),
    "int32 that is computed": (
        "net (int32[2] b, float[2] x) => (float[2] y) <float s = {0.1}> { d = DequantizeLinear(b, s)  y = Add(x, d) }",
        "TensorRT reads no int32 bias",
    ),
    "scales found anew for each input": (
        "net (float[2] x) => (uint8[2] q, float s, uint8 z) { q, s, z = DynamicQuantizeLinear(x) }",
        "it computes on integers, which TensorRT reads as Q/DQ only; quantize the float model with constant scales",
    ),
    "a scale for each channel of an activation": (
        """net (float[1,2] x) => (float[1,2] y) <float[2] s = {0.1, 0.2}, int8[2] z = {0, 0}> {
             q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }""",
        "it has 2 scales for an activation; TensorRT takes one",
    ),
}  # fmt: skip
QUANTIZED = """net (float[1,2,4,4] x) => (float[1,2,4,4] y)
  <float s = {0.1}, int8 z = {0}, int8[2,2,1,1] w = {1, 2, 3, 4}, float[2] ws = {0.1, 0.2}, int8[2] wz = {0, 0}, float[2] b = {1, 2}> {
  q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  v = DequantizeLinear<axis: int = 0>(w, ws, wz)  y = Conv(d, v, b) }"""


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_node_that_tensorrt_does_not_take_is_refused_with_its_reason(model, target, text, reason):
    refusals = TensorrtBackend().refusals(model(text), target("jetson-orin-nano-jp62"))

    assert refusals
    assert reason in refusals[0].line()
    assert refusals[0].remedy


@pytest.mark.parametrize("name", ["jetson-xavier-nx-jp51", "jetson-orin-nano-jp62", "jetson-agx-thor-jp72", "nvidia-rtx-ada"])
@pytest.mark.parametrize("text", [PLAIN, QUANTIZED], ids=["float", "symmetric int8 with float bias"])
def test_what_every_release_takes_is_not_refused(model, target, text, name):
    assert TensorrtBackend().refusals(model(text), target(name)) == ()


def test_every_refused_node_is_named_at_once_with_its_shapes(model, target):
    text = "net (float[2,2] x) => (float[1] y, float[2,2] z) { y = Det(x)  z = com.example.Own(x) }"

    lines = [one.line() for one in TensorrtBackend().refusals(model(text), target("jetson-orin-nano-jp62"))]

    assert [line.partition(":")[0] for line in lines] == ["Det_0 (Det 2x2)", "Own_1 (Own 2x2)"]


def test_an_operator_of_a_newer_release_says_from_which_on_it_is_read(model, target):
    text = "net (float[1,4] x, float[4] s) => (float[1,4] y) { y = LayerNormalization(x, s) }"

    old, new = (TensorrtBackend().refusals(model(text), target(name)) for name in ("jetson-orin-nx-jp51", "jetson-orin-nx-jp62"))

    assert "TensorRT reads it from release 8.6 on" in old[0].line()
    assert new == ()


def test_int64_that_an_old_release_would_narrow_is_refused_there_alone(model, target):
    text = "net (int64[2] x) => (int64[2] y) <int64[1] c = {5000000000}> { y = Add(x, c) }"

    old, new = (TensorrtBackend().refusals(model(text), target(name)) for name in ("jetson-orin-nx-jp51", "jetson-orin-nx-jp62"))

    assert "c holds values beyond int32" in old[0].line()
    assert new == ()


def test_an_open_size_must_be_told(model, target):
    text = 'net (float["batch",3,8,8] x) => (float["batch",3,8,8] y) { y = Relu(x) }'

    (refusal,) = TensorrtBackend().refusals(model(text), target("jetson-orin-nano-jp62"))

    assert (refusal.node, refusal.shapes) == ("x", "batch")
    assert "batch = [1, 1, 8]" in refusal.remedy
    assert TensorrtBackend().refusals(model(text), target("jetson-orin-nano-jp62", shapes={"batch": [1, 2, 4]})) == ()


def test_a_package_is_not_written_for_a_graph_that_is_refused(model, target, tmp_path):
    out = tmp_path / "out"
    out.mkdir()

    with pytest.raises(UnsupportedError) as caught:
        TensorrtBackend().compile(model("net (float[2,2] x) => (float[1] y) { y = Det(x) }"), target("jetson-orin-nano-jp62"), None, out)
    assert len(caught.value.refusals) == 1
    assert list(out.iterdir()) == []


def test_an_option_the_backend_does_not_have_is_answered_with_the_nearest(model, target):
    with pytest.raises(UsageError, match=r"workspace_mb: no such key; did you mean workspace_mib\?"):
        TensorrtBackend().refusals(model(PLAIN), target("jetson-orin-nano-jp62", workspace_mb=1))

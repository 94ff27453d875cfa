import numpy as np
import pytest

from edgekit.graph.quantized import quantization_of, speaks_of_integers

S, Z, W = np.float32(0.1), np.int8(0), np.ones((2, 2, 1, 1), np.int8)
QX = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)"


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        (f"{QX} wd = DequantizeLinear(w, s) y = Conv(d, wd)", ("static", 1, 0, 0, ())),
        (f"{QX} wd = DequantizeLinear(w, s) c = Conv(d, wd) y = Conv(c, f)", ("static", 1, 0, 0, ("second",))),
        (f"{QX} y = Conv(d, f)", ("static", 0, 0, 1, ())),
        ("wd = DequantizeLinear(w, s) y = Conv(x, wd)", ("weights", 0, 1, 0, ())),
        ("wq = QuantizeLinear(f, s, z) wd = DequantizeLinear(wq, s, z) y = Conv(x, wd)", ("weights", 0, 1, 0, ())),
        ("q, t, u = DynamicQuantizeLinear(x) i = ConvInteger(q, w, u) y = Cast<to=1>(i)", ("dynamic", 1, 0, 0, ())),
    ],
    ids=["both sides", "in part", "activations alone", "weights alone", "weights alone in float", "dynamic"],
)
def test_any_integers_inside_are_somebodys_quantization(nodes, wanted, onnx_text):
    proto = onnx_text(f"net (float[1,2,4,4] x) => (float[1,2,4,4] y) {{ {nodes} }}", s=S, z=Z, w=W, f=W.astype(np.float32))
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    for node, name in zip(convolutions, ("first", "second"), strict=False):
        node.name = name

    found = quantization_of(proto)

    assert found is not None
    assert (found.kind, found.both_sides, found.weights_alone, found.activations_alone, found.in_float) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "(float[1,2,4,4] x) => (float[1,2,4,4] y) { y = Conv(x, f) }",
        "(uint8[1,2,4,4] x) => (float[1,2,4,4] y) { d = DequantizeLinear(x, s) y = Conv(d, f) }",
        "(float[1,2,4,4] x) => (int8[1,2,4,4] y) { c = Conv(x, f) y = QuantizeLinear(c, s, z) }",
    ],
    ids=["none", "fed with integers", "giving integers"],
)
def test_integers_at_the_ports_alone_are_none(text, onnx_text):
    assert quantization_of(onnx_text(f"net {text}", s=S, z=Z, f=W.astype(np.float32))) is None


def test_scales_for_each_channel_and_types_are_told(onnx_text):
    text = "net (float[1,2,4,4] x) => (float[1,2,4,4] y) { q = QuantizeLinear<axis=1>(x, s, z) d = DequantizeLinear<axis=1>(q, s, z)"
    text += " wd = DequantizeLinear(w, t) bd = DequantizeLinear(b, t) y = Conv(d, wd, bd) }"

    found = quantization_of(onnx_text(text, s=np.float32([0.1, 0.2]), z=np.zeros(2, np.uint8), t=S, w=W, b=np.zeros(2, np.int32)))

    assert found is not None
    assert (found.stored_tensors, found.per_channel, found.types) == (1, 1, ("int8", "uint8"))


@pytest.mark.parametrize(
    ("nodes", "speaks"), [("y = Relu(x)", False), (f"{QX} y = Relu(d)", True), ("q, t, u = DynamicQuantizeLinear(x) y = Relu(x)", True)]
)
def test_a_files_bytes_hint_at_it(nodes, speaks, onnx_text, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_text(f"net (float[1,2] x) => (float[1,2] y) {{ {nodes} }}", s=S, z=Z).SerializeToString())

    assert speaks_of_integers(path) is speaks

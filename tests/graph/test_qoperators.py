"""Operators on integers, as ONNX Runtime's quantizer writes them (QOperator), against ONNX Runtime on the graph as given."""

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.errors import UnsupportedError
from edgekit.graph.opset import refuse_foreign, to_store_form

RNG = np.random.default_rng(3)
MICROSOFT = '<ir_version: 8, opset_import: ["" : 13, "com.microsoft" : 1]> '
BYTES = {"xs": np.float32(0.05), "xz": np.uint8(120), "ys": np.float32(0.11), "yz": np.uint8(100)}
ENDS = "x_q = QuantizeLinear(x, xs, xz)", "y = DequantizeLinear(y_q, ys, yz)"


def made(text, **constants):
    proto = onnx.parser.parse_model(MICROSOFT + text)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items())
    return proto


def outputs(proto, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def ops(proto):
    return [node.op_type for node in proto.graph.node]


NODES = {
    "convolution": (
        "[1,3,8,8]", "[1,4,8,8]", "y_q = QLinearConv<pads=[1,1,1,1]>(x_q, xs, xz, w, ws, wz, ys, yz, b)", "Conv",
        {"w": RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), "ws": np.float32([0.01, 0.02, 0.01, 0.015]), "wz": np.zeros(4, np.int8),
         "b": np.int32([100, -200, 0, 3])},
    ),
    "product": (
        "[2,6]", "[2,4]", "y_q = QLinearMatMul(x_q, xs, xz, w, ws, wz, ys, yz)", "MatMul",
        {"w": RNG.integers(-127, 128, (6, 4)).astype(np.int8), "ws": np.float32([0.01, 0.02, 0.01, 0.015]), "wz": np.zeros(4, np.int8)},
    ),
    "dense layer": (
        "[2,6]", "[2,4]", "y_q = com.microsoft.QGemm<transB=1, alpha=1.0>(x_q, xs, xz, w, ws, wz, b, ys, yz)", "Gemm",
        {"w": RNG.integers(-127, 128, (4, 6)).astype(np.int8), "ws": np.float32([0.01, 0.02, 0.01, 0.015]), "wz": np.zeros(4, np.int8),
         "b": np.int32([100, -200, 0, 3])},
    ),
    "sum": ("[1,4]", "[1,4]", "y_q = com.microsoft.QLinearAdd(x_q, xs, xz, x_q, xs, xz, ys, yz)", "Add", {}),
    "scaled by itself": ("[1,4]", "[1,4]", "y_q = com.microsoft.QLinearMul(x_q, xs, xz, x_q, xs, xz, ys, yz)", "Mul", {}),
    "sigmoid": ("[1,4]", "[1,4]", "y_q = com.microsoft.QLinearSigmoid(x_q, xs, xz, ys, yz)", "Sigmoid", {}),
    "leaky": ("[1,4]", "[1,4]", "y_q = com.microsoft.QLinearLeakyRelu<alpha=0.1>(x_q, xs, xz, ys, yz)", "LeakyRelu", {}),
    "mean": ("[1,3,4,4]", "[1,3,1,1]", "y_q = com.microsoft.QLinearGlobalAveragePool<channels_last=0>(x_q, xs, xz, ys, yz)", "GlobalAveragePool", {}),
    "pooling": ("[1,3,4,4]", "[1,3,3,3]", "y_q = com.microsoft.QLinearAveragePool<kernel_shape=[2,2]>(x_q, xs, xz, ys, yz)", "AveragePool", {}),
    "parts": ("[1,4]", "[1,8]", "y_q = com.microsoft.QLinearConcat<axis=1>(ys, yz, x_q, xs, xz, x_q, xs, xz)", "Concat", {}),
    "softmax": ("[2,6]", "[2,6]", "y_q = com.microsoft.QLinearSoftmax<axis=-1, opset=13>(x_q, xs, xz, ys, yz)", "Softmax", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_an_operator_on_integers_becomes_q_dq_and_gives_the_same(name):
    before, after, node, op, constants = NODES[name]
    proto = made(f"net (float{before} x) => (float{after} y) {{ {ENDS[0]} {node} {ENDS[1]} }}", **BYTES, **constants)
    x = RNG.uniform(-5, 5, [int(size) for size in before[1:-1].split(",")]).astype(np.float32)

    form = to_store_form(proto)

    assert op in ops(form)
    assert set(ops(form)) == {op, "QuantizeLinear", "DequantizeLinear"}
    assert [(entry.domain, entry.version) for entry in form.opset_import] == [("", 21)]
    np.testing.assert_allclose(outputs(form, x), outputs(proto, x), atol=0.111 if name == "softmax" else 1e-6)


def test_the_integers_and_scales_of_a_convolution_are_the_files_own():
    before, after, node, _, constants = NODES["convolution"]

    form = to_store_form(made(f"net (float{before} x) => (float{after} y) {{ {ENDS[0]} {node} {ENDS[1]} }}", **BYTES, **constants))

    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in form.graph.initializer}
    makers = {one.output[0]: one for one in form.graph.node}
    (convolution,) = [one for one in form.graph.node if one.op_type == "Conv"]
    weights, bias = (makers[name] for name in convolution.input[1:])
    assert list(weights.input) == ["w", "ws", "wz"]
    assert bias.input[0] == "b"
    np.testing.assert_allclose(held[bias.input[1]], np.float32(0.05) * constants["ws"], rtol=1e-6)


def test_what_moves_integers_moves_real_numbers_between_the_same_scales():
    text = "net (float[1,3,8,8] x) => (float[1,48] y) { x_q = QuantizeLinear(x, xs, xz) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x_q)"
    text += " a = com.microsoft.QLinearAdd(m, xs, xz, m, xs, xz, ys, yz) f = Flatten(a) y = DequantizeLinear(f, ys, yz) }"
    proto = made(text, **BYTES)
    x = RNG.uniform(-5, 5, (1, 3, 8, 8)).astype(np.float32)

    form = to_store_form(proto)

    makers = {node.output[0]: node.op_type for node in form.graph.node}
    assert {makers[node.input[0]] for node in form.graph.node if node.op_type in ("MaxPool", "Flatten", "Add")} == {"DequantizeLinear"}
    np.testing.assert_allclose(outputs(form, x), outputs(proto, x), atol=1e-6)


def test_q_dq_of_16_bits_in_microsofts_domain_is_onnxs_own():
    text = "net (float[1,4] x) => (float[1,4] y) { q = com.microsoft.QuantizeLinear(x, s, z) y = com.microsoft.DequantizeLinear(q, s, z) }"
    proto = made(text, s=np.float32(0.001), z=np.uint16(30000))
    x = RNG.uniform(-5, 5, (1, 4)).astype(np.float32)

    form = to_store_form(proto)

    assert {(node.domain, node.op_type) for node in form.graph.node} == {("", "QuantizeLinear"), ("", "DequantizeLinear")}
    np.testing.assert_array_equal(outputs(form, x), outputs(proto, x))


def test_a_graph_without_such_operators_stays_as_it_is():
    text = "net (float[1,3,8,8] x) => (float[1,3,4,4] y) { q = QuantizeLinear(x, xs, xz) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(q)"

    assert ops(to_store_form(made(text + " y = DequantizeLinear(m, xs, xz) }", **BYTES))) == ["QuantizeLinear", "MaxPool", "DequantizeLinear"]


@pytest.mark.parametrize(
    "node",
    [
        "y_q = com.microsoft.QLinearGlobalAveragePool<channels_last=1>(x_q, xs, xz, ys, yz)",
        "y_q = com.microsoft.QLinearSoftmax<axis=1, opset=11>(x_q, xs, xz, ys, yz)",
        "y_q = com.microsoft.QLinearReduceMean<axes=[1], keepdims=1>(x_q, xs, xz, ys, yz)",
    ],
)
def test_what_has_no_such_form_is_refused_by_name(node):
    proto = made(f"net (float[1,3,4,4] x) => (float y) {{ {ENDS[0]} {node} {ENDS[1]} }}", **BYTES)

    for refuse in (refuse_foreign, to_store_form):
        with pytest.raises(UnsupportedError, match="not ONNX's own") as caught:
            refuse(proto)
        assert node.partition("com.microsoft.")[2].partition("<")[0] in caught.value.refusals[0]

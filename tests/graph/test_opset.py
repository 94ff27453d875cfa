import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgekit.errors import UnsupportedError
from edgekit.graph.opset import to_store_form
from edgekit.graph.run import Runner


def same_outputs(before, after, **feed):
    for name, values in Runner(before.SerializeToString())(feed).items():
        np.testing.assert_allclose(Runner(after.SerializeToString())(feed)[name], values, rtol=1e-6, atol=1e-6)


def picture(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 20, 22, 23])
def test_old_and_new_opsets_become_21(onnx_text, opset):
    before = onnx_text(
        """net (float[1,2,4,4] x) => (float[1,2,2,2] y) {
        c = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(c)  y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    }""",
        opset=opset,
        ir=8,
        w=picture(2, 2, 3, 3),
    )
    after = to_store_form(before)
    onnx.checker.check_model(after, full_check=True)
    assert [(entry.domain, entry.version) for entry in after.opset_import] == [("", 21)]
    assert after.ir_version == 10
    same_outputs(before, after, x=picture(1, 2, 4, 4))


def test_weights_of_old_files_are_constants(onnx_text):
    before = onnx_text(
        "net (float[1,2,4,4] x, float[2,2,1,1] w, float[64,64] large) => (float[1,2,4,4] y) { y = Conv(x, w) }",
        opset=8,
        ir=3,
        w=picture(2, 2, 1, 1),
        large=np.zeros((64, 64)),
    )
    after = to_store_form(before)
    assert [value.name for value in after.graph.input] == ["x"]
    assert {tensor.name for tensor in after.graph.initializer} == {"w", "large"}
    same_outputs(before, after, x=picture(1, 2, 4, 4))


def test_attributes_become_inputs_as_the_newer_operators_want_them(onnx_text):
    before = onnx_text(
        """net (float[1,2,4,4] x) => (float[2,2,6] y) {
        p = Pad<pads=[0,0,1,1,0,0,1,1]>(x)  c = Clip<min=0.0, max=6.0>(p)  s = Slice<starts=[1], ends=[3], axes=[2]>(c)  y = Squeeze<axes=[0]>(s)
    }""",
        opset=9,
        ir=4,
    )
    after = to_store_form(before)
    onnx.checker.check_model(after, full_check=True)
    same_outputs(before, after, x=picture(1, 2, 4, 4))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("operator", "opset", "scales"), [("Upsample", 9, (2, 3)), ("Resize", 10, (1.5, 2.5)), ("Resize", 10, (0.75, 0.6))])
def test_pictures_are_resized_as_their_opset_did(onnx_text, operator, opset, mode, scales):
    height, width = (int(10 * scale) for scale in scales)
    before = onnx_text(
        f'net (float[1,2,10,10] x) => (float[1,2,{height},{width}] y) {{ y = {operator}<mode="{mode}">(x, s) }}',
        opset=opset,
        ir=5,
        s=np.float32([1, 1, *scales]),
    )
    same_outputs(before, to_store_form(before), x=picture(1, 2, 10, 10))


def test_operators_younger_than_opset_21_are_written_out(onnx_text):
    before = onnx_text("net (float[2,8] x) => (float[2,8] y) { y = RMSNormalization(x, s) }", opset=23, s=np.full(8, 2.0))
    after = to_store_form(before)
    onnx.checker.check_model(after, full_check=True)
    x = picture(2, 8)
    expected = 2 * x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(Runner(after.SerializeToString())({"x": x})["y"], expected, rtol=1e-5)


def test_functions_of_the_file_are_written_out(onnx_text):
    functions = onnx.parser.parse_function('<domain: "own", opset_import: ["" : 21]> twice (a) => (b) { b = Add(a, a) }')
    before = onnx_text("net (float[2] x) => (float[2] y) { y = Relu(x) }")
    before.graph.node[0].op_type, before.graph.node[0].domain = "twice", "own"
    before.functions.append(functions)
    before.opset_import.add(domain="own", version=1)
    after = to_store_form(before)
    assert [(node.op_type, node.domain) for node in after.graph.node] == [("Add", "")]
    assert len(after.functions) == 0
    assert [entry.domain for entry in after.opset_import] == [""]


def test_erfc_which_onnx_has_not_is_one_minus_erf(onnx_text):
    before = onnx_text("net (float[3] x) => (float[3] y) { y = Erfc(x) }", opset=17, ir=8)
    after = to_store_form(before)
    # erfc(0) = 1, erfc(1) = 0.157299, erfc(-1) = 1.842701
    found = Runner(after.SerializeToString())({"x": np.float32([0, 1, -1])})["y"]
    np.testing.assert_allclose(found, [1, 0.157299, 1.842701], rtol=1e-5)


def test_too_old_an_opset_is_refused(onnx_text):
    text = "net (float[2,3] x, float[3] b) => (float[2,3] y) { r = Relu(x)  y = Add<axis=1, broadcast=1>(r, b) }"
    with pytest.raises(UnsupportedError, match="opset 6, in which Add is another") as caught:
        to_store_form(onnx_text(text, opset=6, ir=3))
    assert "opset 17" in caught.value.hint


def test_an_opset_before_seven_is_read_where_its_operators_stayed_what_they_are(onnx_text):
    before = onnx_text("net (float[1,2,4,4] x) => (float[1,2,2,2] y) { r = Relu(x)  y = MaxPool<kernel_shape=[3,3]>(r) }", opset=6, ir=3)
    after = to_store_form(before)
    onnx.checker.check_model(after, full_check=True)
    assert [(entry.domain, entry.version) for entry in after.opset_import] == [("", 21)]
    same_outputs(before, after, x=picture(1, 2, 4, 4))


def test_an_operator_that_onnx_has_no_way_back_for_stays(onnx_text):
    before = onnx_text("net (float[1,2,4,4] x) => (float[1,2,1,1] y) { r = Relu(x)  y = GlobalMaxPool(r) }", opset=22)
    after = to_store_form(before)
    onnx.checker.check_model(after, full_check=True)
    assert [(node.op_type, node.domain) for node in after.graph.node] == [("Relu", ""), ("GlobalMaxPool", "")]
    assert [(entry.domain, entry.version) for entry in after.opset_import] == [("", 21)]
    same_outputs(before, after, x=picture(1, 2, 4, 4))


@pytest.mark.parametrize(("op", "gates", "states"), [("GRU", 3, "h"), ("LSTM", 4, "hc"), ("RNN", 1, "h")])
def test_a_recurrent_layer_with_its_batch_first_gets_it_second(op, gates, states, onnx_text):
    ports = "(float[2,5,3] x, float[2,1,4] h, float[2,1,4] c) => (float[2,5,1,4] y, float[2,1,4] z)"
    before = onnx_text(
        f"net {ports} {{ y, z = {op}<hidden_size=4, layout=1>(x, w, r, , , {', '.join(states)}) }}",
        opset=17,
        w=picture(1, gates * 4, 3),
        r=picture(1, gates * 4, 4),
    )
    feed = {"x": picture(2, 5, 3), "h": picture(2, 1, 4), "c": picture(2, 1, 4)}
    wanted = ReferenceEvaluator(before).run(None, feed)
    after = to_store_form(before)
    onnx.checker.check_model(after, full_check=True)
    for name, array in zip(("y", "z"), wanted, strict=True):
        np.testing.assert_allclose(Runner(after.SerializeToString())(feed)[name], array, rtol=1e-5, atol=1e-6)


def test_every_operator_that_is_not_onnx_is_listed(onnx_text):
    proto = onnx_text("net (float[3] x) => (float[3] y) { a = Frobnicate(x)  b = Relu(a)  y = Twist(b) }", opset=17)
    proto.graph.node[2].domain = "com.example"
    with pytest.raises(UnsupportedError) as caught:
        to_store_form(proto)
    assert caught.value.refusals == (
        "Frobnicate a: no such operator in ONNX opset 17",
        "Twist y: domain com.example is not ONNX's own",
    )


def test_an_operator_that_cannot_be_converted_is_named(onnx_text):
    text = "net (float[2,3] x, int64[2] i, float[2,3] u) => (float[2,3] y) { y = TensorScatter(x, u, i) }"
    with pytest.raises(UnsupportedError, match="TensorScatter cannot be converted from opset 24 to 21"):
        to_store_form(onnx_text(text, opset=24))


def test_the_alias_of_the_default_domain_is_understood(onnx_text):
    proto = onnx_text("net (float[3] x) => (float[3] y) { y = Relu(x) }")
    proto.opset_import[0].domain = "ai.onnx"
    proto.graph.node[0].domain = "ai.onnx"
    after = to_store_form(proto)
    assert after.graph.node[0].domain == ""
    assert [entry.domain for entry in after.opset_import] == [""]

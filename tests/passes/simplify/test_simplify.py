import sys
import time

import numpy as np
import onnx
import pytest

from edgekit.errors import ChildError, UnsupportedError
from edgekit.graph.onnx_file import load, save
from edgekit.graph.run import Runner
from edgekit.graph.signature import signature_of
from edgekit.model import seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.simplify import Simplify
from edgekit.passes.simplify.stages import simplify
from edgekit.testing import check_pass

BOTH = pytest.mark.parametrize("use_onnxsim", [True, False], ids=["onnxsim", "own rules"])


def operators(proto):
    return [node.op_type for node in proto.graph.node]


@pytest.fixture
def sealed(tmp_path):
    def make(proto):
        folder = tmp_path / "source"
        folder.mkdir()
        save(proto, folder)
        return seal_model(folder, signature_of(proto), ())

    return make


def test_identity_dropout_and_dead_ends_go(onnx_text, same_outputs):
    before = onnx_text("""net (float[2,3] x) => (float[2,3] y) {
        i = Identity(x)  d = Dropout(i)  dead = Relu(d)  t = Tanh(d)  y = Identity(t)
    }""")
    after, did = simplify(before, use_onnxsim=False)
    assert operators(after) == ["Tanh"]
    assert (did["nodes_before"], did["nodes_after"]) == (5, 1)
    assert did["ops_before"] == {"Dropout": 1, "Identity": 2, "Relu": 1, "Tanh": 1}
    assert did["ops_after"] == {"Tanh": 1}
    same_outputs(before, after)


def test_shape_arithmetic_becomes_a_constant(onnx_text, same_outputs):
    before = onnx_text(
        """net (float[2,3,4] x) => (float[2,12] y) {
        s = Shape(x)  n = Gather(s, zero)  u = Unsqueeze(n, axis)  t = Concat<axis=0>(u, minus)  y = Reshape(x, t)
    }""",
        zero=np.array(0),
        axis=np.array([0]),
        minus=np.array([-1]),
    )
    after, _ = simplify(before, use_onnxsim=False)
    assert operators(after) == ["Reshape"]
    same_outputs(before, after)


@BOTH
def test_what_torch_leaves_unoptimized_is_folded(onnx_text, same_outputs, use_onnxsim):
    before = onnx_text(
        """net (float[1,3,4,4] x) => (float[1,3,4,4] y) {
        e = Constant<value_float=0.001>()  c = CastLike(e, x)  f = CastLike(w, x)  k = Constant<value_ints=[3]>()  g = Expand(f, k)
        y = BatchNormalization(x, g, b, m, v)
    }""",
        w=np.array([2], np.int64),
        b=np.ones(3),
        m=np.zeros(3),
        v=np.ones(3),
    )
    after, _ = simplify(before, use_onnxsim=use_onnxsim)
    assert operators(after) == ["BatchNormalization"]
    same_outputs(before, after)


def test_nothing_is_fused(onnx_text):
    before = onnx_text(
        "net (float[1,3,4,4] x) => (float[1,2,4,4] y) { p = Pad(x, k)  c = Conv(p, w)  y = Add(c, b) }",
        k=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        w=np.ones((2, 3, 3, 3)),
        b=np.ones((2, 1, 1)),
    )
    after, _ = simplify(before)
    assert operators(after) == ["Pad", "Conv", "Add"]


def test_weights_that_are_dequantized_stay_integers(onnx_text):
    before = onnx_text(
        """net (float[1,3,4,4] x) => (float[1,2,4,4] y) {
        xq = QuantizeLinear(x, a, p)  xd = DequantizeLinear(xq, a, p)  w = DequantizeLinear<axis=0>(q, s, z)  y = Conv(xd, w)
    }""",
        a=np.float32(0.1),
        p=np.int8(0),
        q=np.ones((2, 3, 1, 1), np.int8),
        s=np.float32([0.1, 0.2]),
        z=np.zeros(2, np.int8),
    )
    after, _ = simplify(before)
    assert operators(after) == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv"]


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("y = Cast<to=1>(t)", "2,3"),
        ("y = Reshape(t, s)", "2,3"),
        ("y = Transpose<perm=[0,1]>(t)", "2,3"),
        ("y = Expand(t, s)", "2,3"),
        ("y = Concat<axis=0>(t)", "2,3"),
        ("y = Max(t)", "2,3"),
        ("y = Mul(t, one)", "2,3"),
        ("y = Mul(one, t)", "2,3"),
        ("y = Add(t, zero)", "2,3"),
        ("y = Sub(t, zero)", "2,3"),
        ("y = Div(t, one)", "2,3"),
        ("y = Pow(t, one)", "2,3"),
        ("y = Slice(t, z, s)", "2,3"),
        ("y = Pad(t, nothing)", "2,3"),
    ],
)
def test_what_does_nothing_goes(onnx_text, same_outputs, body, shape):
    constants = {
        "s": np.array([2, 3]),
        "z": np.array([0, 0]),
        "one": 1.0,
        "zero": 0.0,
        "nothing": np.zeros(4, np.int64),
    }
    used = {name: value for name, value in constants.items() if f" {name})" in body or f"({name}," in body or f" {name}," in body}
    before = onnx_text(f"net (float[2,3] x) => (float[{shape}] y) {{ t = Tanh(x)  {body} }}", **used)
    after, did = simplify(before, use_onnxsim=False)
    assert operators(after) == ["Tanh"]
    assert did["rules"] == {"nothing": 1}
    same_outputs(before, after)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("y = Cast<to=10>(t)", "float16[2,3]"),
        ("y = Sub(zero, t)", "float[2,3]"),
        ("y = Div(one, t)", "float[2,3]"),
        ("y = Add(t, ones)", "float[4,2,3]"),
        ("y = Slice(t, three, end, axis, back)", "float[2,3]"),
        ("y = Transpose(t)", "float[3,2]"),
    ],
)
def test_what_only_seems_to_do_nothing_stays(onnx_text, same_outputs, body, shape):
    constants = {
        "zero": 0.0,
        "one": 1.0,
        "ones": np.zeros((4, 1, 1)),
        "three": np.array([2]),
        "end": np.array([-4]),
        "axis": np.array([1]),
        "back": np.array([-1]),
    }
    used = {name: value for name, value in constants.items() if f" {name})" in body or f"({name}," in body or f" {name}," in body}
    before = onnx_text(f"net (float[2,3] x) => ({shape} y) {{ t = Tanh(x)  {body} }}", **used)
    after, _ = simplify(before, use_onnxsim=False)
    assert len(after.graph.node) == 2
    same_outputs(before, after)


ATTENTION = "net (float[2,3,4] x, float[2,4,5] z) => (float[2,3,5] y) {"
GUARDED = "p = Softmax<axis=-1>(s)  n = IsNaN(p)  y = Where(n, zero, p) }"
LOOKING_BACK = np.where(np.tri(3, 5, 2, bool), 0.0, -np.inf)


@pytest.mark.parametrize(
    ("scores", "mask"),
    [
        ("a = Mul(x, half)  s = MatMul(a, z)", None),
        ("m = MatMul(x, z)  s = Div(m, half)", None),
        ("m = MatMul(x, z)  s = Add(m, mask)", LOOKING_BACK),
        ("m = MatMul(x, z)  s = Add(mask, m)", np.float32(-1e9)),
    ],
)
def test_attention_that_never_masks_a_whole_row_loses_its_guard(onnx_text, same_outputs, scores, mask):
    constants = {"half": 0.5, "zero": 0.0} | ({} if mask is None else {"mask": mask})
    used = {name: value for name, value in constants.items() if name in scores or name == "zero"}
    before = onnx_text(f"{ATTENTION} {scores}  {GUARDED}", **used)
    after, did = simplify(before, use_onnxsim=False)
    assert "IsNaN" not in operators(after)
    assert "Where" not in operators(after)
    assert did["rules"]["safe-softmax"] == 1
    same_outputs(before, after)


@pytest.mark.parametrize(
    ("scores", "mask"),
    [
        ("m = MatMul(x, z)  s = Add(m, mask)", np.where(np.tri(3, 5, -1, bool), 0.0, -np.inf)),
        ("m = MatMul(x, z)  s = Add(m, mask)", np.where(np.tri(3, 5, 2, bool), 0.0, np.nan)),
        ("m = MatMul(x, z)  l = Log(m)  s = Add(l, mask)", LOOKING_BACK),
        ("m = MatMul(x, z)  s = Div(m, mask)", LOOKING_BACK),
    ],
)
def test_attention_that_may_mask_a_whole_row_keeps_its_guard(onnx_text, same_outputs, scores, mask):
    before = onnx_text(f"{ATTENTION} {scores}  {GUARDED}", mask=mask, zero=0.0)
    after, _ = simplify(before, use_onnxsim=False)
    assert operators(after).count("IsNaN") == 1
    same_outputs(before, after)


def test_a_product_whose_bias_masks_a_whole_row_keeps_its_guard(onnx_text, same_outputs):
    text = "net (float[4,3] x) => (float[4,5] y) { s = Gemm(x, w, mask)  p = Softmax<axis=-1>(s)  n = IsNaN(p)  y = Where(n, zero, p) }"
    before = onnx_text(text, w=np.ones((3, 5)), mask=np.where(np.arange(4) == 1, -np.inf, 0.0)[:, None], zero=0.0)
    after, _ = simplify(before, use_onnxsim=False)
    assert operators(after).count("IsNaN") == 1
    same_outputs(before, after)


def test_a_dropout_that_trains_or_whose_mask_is_used_stays(onnx_text):
    trains = onnx_text("net (float[2,3] x) => (float[2,3] y) { t = Tanh(x)  y = Dropout(t, , on) }", on=np.array(True))
    assert operators(simplify(trains, use_onnxsim=False)[0]) == ["Tanh", "Dropout"]
    mask = onnx_text("net (float[2,3] x) => (float[2,3] y, bool[2,3] m) { t = Tanh(x)  y, m = Dropout(t) }")
    assert operators(simplify(mask, use_onnxsim=False)[0]) == ["Tanh", "Dropout"]


def test_an_input_that_is_an_output_keeps_its_identity(onnx_text):
    after, _ = simplify(onnx_text("net (float[2,3] x) => (float[2,3] y) { y = Identity(x) }"), use_onnxsim=False)
    assert operators(after) == ["Identity"]


def test_large_repetitions_are_not_written_out(onnx_text):
    before = onnx_text(
        "net (float[2048,1024] x) => (float[2048,1024] y) { e = Expand(c, s)  y = Add(x, e) }", c=np.float32([3.0]), s=np.array([2048, 1024])
    )
    after, _ = simplify(before, use_onnxsim=False)
    assert operators(after) == ["Expand", "Add"]


@pytest.mark.parametrize(("mode", "pads"), [("SAME_UPPER", [0, 0, 1, 1]), ("SAME_LOWER", [1, 1, 0, 0]), ("VALID", [0, 0, 0, 0])])
def test_automatic_padding_is_written_out(onnx_text, same_outputs, mode, pads):
    # 8 pixels, kernel 3, stride 2: SAME makes 4, which takes (4 - 1) * 2 + 3 = 9 pixels, one more than there are
    size = 3 if mode == "VALID" else 4
    before = onnx_text(
        f'net (float[1,1,8,8] x) => (float[1,1,{size},{size}] y) {{ y = Conv<auto_pad="{mode}", strides=[2,2]>(x, w) }}',
        w=np.random.default_rng(0).normal(size=(1, 1, 3, 3)),
    )
    after, _ = simplify(before, use_onnxsim=False)
    attributes = {attribute.name: attribute for attribute in after.graph.node[0].attribute}
    assert "auto_pad" not in attributes
    assert list(attributes["pads"].ints) == pads
    same_outputs(before, after)


def test_automatic_padding_counts_dilation(onnx_text):
    # kernel 3 spans 5 pixels at dilation 2 and 7 at dilation 3: 4 and 6 more than one
    before = onnx_text(
        'net (float[1,1,8,8] x) => (float[1,1,8,8] y) { y = Conv<auto_pad="SAME_UPPER", dilations=[2,3]>(x, w) }',
        w=np.random.default_rng(0).normal(size=(1, 1, 3, 3)),
    )
    after, _ = simplify(before, use_onnxsim=False)
    pads = next(attribute for attribute in after.graph.node[0].attribute if attribute.name == "pads")
    assert list(pads.ints) == [2, 3, 2, 3]


def test_automatic_padding_of_an_open_size_stays(onnx_text):
    text = 'net (float[1,1,h,w] x) => (float[1,1,a,b] y) { y = MaxPool<auto_pad="SAME_UPPER", kernel_shape=[2,2]>(x) }'
    after, _ = simplify(onnx_text(text), use_onnxsim=False)
    assert any(attribute.name == "auto_pad" for attribute in after.graph.node[0].attribute)


def test_simplify_keeps_the_contract_of_a_pass(onnx_text, sealed, tmp_path):
    model = sealed(onnx_text("net (float[2,3] x) => (float[2,3] y) { i = Identity(x)  y = Relu(i) }", opset=17, ir=8))
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    simplified = check_pass(Simplify(), model, Supplies(), tmp)
    step = simplified.history[-1]
    assert step.name == "simplify"
    assert step.options == {"onnxsim": True}
    assert set(step.tools) == {"onnx", "onnxruntime", "onnxsim"}
    assert step.did["opset_before"] == 17
    proto = load(simplified.path)
    assert (proto.opset_import[0].version, len(proto.opset_import), proto.ir_version) == (21, 1, 10)


def test_without_onnxsim_its_version_decides_nothing():
    assert set(Simplify(onnxsim=False).tools()) == {"onnx", "onnxruntime"}


def test_an_operator_of_another_domain_is_refused_by_name(onnx_text, sealed, tmp_path):
    proto = onnx_text("net (float[2,3] x) => (float[2,3] y) { y = Relu(x) }")
    proto.graph.node[0].domain = "com.example"
    proto.graph.node[0].name = "odd"
    proto.opset_import.add(domain="com.example", version=1)
    with pytest.raises(UnsupportedError, match=r"Relu odd: domain com\.example") as caught:
        Simplify()(sealed(proto), Supplies(), tmp_path)
    assert caught.value.exit_status == 6


def test_onnxsim_imports_neither_torch_nor_itself_here(onnx_text):
    loaded = set(sys.modules)
    simplify(onnx_text("net (float[2,3] x) => (float[2,3] y) { y = Relu(x) }"))
    assert not {"onnxsim", "sympy", "torch"} & (set(sys.modules) - loaded)


def test_a_failure_of_onnxsim_says_how_to_do_without_it(onnx_text, monkeypatch, tmp_path):
    broken = tmp_path / "onnxsim"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('broken on purpose')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ChildError, match="broken on purpose") as caught:
        simplify(onnx_text("net (float[2,3] x) => (float[2,3] y) { y = Relu(x) }"))
    assert "simplify.onnxsim=false" in caught.value.hint


def test_both_ways_lead_to_the_same_operators(onnx_text):
    before = onnx_text(
        """net (float[1,3,8,8] x) => (float[1,4,4,4] y) {
        i = Identity(x)  c = Conv<pads=[1,1,1,1]>(i, w)  m = Mul(c, one)  r = Relu(m)  s = Shape(r)  e = Expand(one, s)
        y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    }""",
        w=np.ones((4, 3, 3, 3)),
        one=1.0,
    )
    with_it, _ = simplify(before)
    without_it, _ = simplify(before, use_onnxsim=False)
    assert operators(with_it) == operators(without_it) == ["Conv", "Relu", "MaxPool"]


def test_a_graph_of_a_thousand_nodes_takes_no_more_than_seconds(onnx_text):
    body = "  ".join(f"t{index + 1} = Relu(i{index})  i{index + 1} = Identity(t{index + 1})" for index in range(500))
    before = onnx_text(f"net (float[2,3] i0) => (float[2,3] i500) {{ {body} }}")
    begun = time.process_time()
    after, _ = simplify(before, use_onnxsim=False)
    assert time.process_time() - begun < 5
    assert len(after.graph.node) == 500


def test_the_source_is_left_alone(onnx_text):
    before = onnx_text("net (float[2,3] x) => (float[2,3] y) { i = Identity(x)  y = Relu(i) }", opset=13, ir=7)
    untouched = before.SerializeToString()
    simplify(before, use_onnxsim=False)
    assert before.SerializeToString() == untouched


def test_text_about_nodes_and_where_they_came_from_is_dropped(onnx_text):
    before = onnx_text("net (float[2,3] x) => (float[2,3] y) { y = Relu(x) }")
    before.graph.node[0].doc_string = "made in /somebody/s/folder.py"
    before.graph.node[0].metadata_props.add(key="trace", value="made in /somebody/s/folder.py")
    before.metadata_props.add(key="classes", value="cat, dog")
    after, _ = simplify(before, use_onnxsim=False)
    assert b"somebody" not in after.SerializeToString()
    assert [(entry.key, entry.value) for entry in after.metadata_props] == [("classes", "cat, dog")]


def test_the_result_is_a_valid_model_with_all_shapes(onnx_text):
    after, _ = simplify(onnx_text("net (float[2,3] x) => (float[2,3] y) { a = Tanh(x)  y = Relu(a) }"), use_onnxsim=False)
    onnx.checker.check_model(after, full_check=True)
    assert [value.name for value in after.graph.value_info] == ["a"]


@pytest.mark.parametrize(("operator", "total"), [("ReduceSum", -21.0), ("ReduceMean", -3.5)])
def test_an_empty_list_of_axes_means_all_of_them(onnx_text, operator, total):
    before = onnx_text(f"net (float[2,3] x) => (float[1,1] y) {{ n = Neg(x)  y = {operator}(n, axes) }}", axes=np.array([], np.int64))
    after, _ = simplify(before, use_onnxsim=False)

    found = Runner(after.SerializeToString(), threads=1)({"x": np.float32([[1, 2, 3], [4, 5, 6]])})
    np.testing.assert_array_equal(found["y"], [[total]])

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.errors import UsageError
from edgekit.graph.onnx_file import load, save
from edgekit.graph.signature import signature_of
from edgekit.model import seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.fuse import Fuse
from edgekit.passes.fuse import rules as rooms
from edgekit.passes.fuse.table import LAST_RULES, RULES, fuse
from edgekit.testing import check_pass

SMALL = """net (float[1,3,8,8] x) => (float[1,4] y) {
    p = Pad(x, pads)
    c = Conv(p, w)
    n = BatchNormalization(c, s, b, m, v)
    r = Relu(n)
    a = Min(r, six)
    g = ReduceMean(a, axes)
    f = Flatten(g)
    q = MatMul(f, u)
    y = Add(q, t)
}"""


@pytest.fixture
def small(onnx_text, rng):
    return onnx_text(
        SMALL,
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        w=rng.normal(size=(4, 3, 3, 3)),
        s=rng.uniform(0.5, 2, 4),
        b=rng.normal(size=4),
        m=rng.normal(size=4),
        v=rng.uniform(0.5, 2, 4),
        six=6.0,
        axes=np.array([2, 3]),
        u=rng.normal(size=(4, 4)),
        t=rng.normal(size=4),
    )


@pytest.fixture
def small_model(small, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    save(small, folder)
    return seal_model(folder, signature_of(small), ())


def test_the_rules_together_leave_one_operator_a_layer(small, becomes):
    after = """net (float[1,3,8,8] x) => (float[1,4] y) {
        c = Conv<pads=[1,1,1,1]>(x, w, b)  a = Clip(c, zero, six)  g = GlobalAveragePool(a)  f = Flatten(g)  y = Gemm(f, u, t)
    }"""
    becomes(small, after, *RULES, *LAST_RULES)


def test_fuse_keeps_the_contract_of_a_pass(small_model, tmp_path):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    fused = check_pass(Fuse(), small_model, Supplies(), tmp)
    step = fused.history[-1]
    assert step.name == "fuse"
    assert (step.did["nodes_before"], step.did["nodes_after"]) == (9, 5)
    assert step.did["ops_after"] == {"Clip": 1, "Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1}
    assert step.did["rules"] == {"batchnorm-after": 1, "clamp": 1, "matmul": 1, "pad-conv": 1, "reduce-mean": 1, "scale-shift-after": 1}


def test_what_it_writes_names_every_node_and_knows_every_shape(small_model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    proto = load(Fuse()(small_model, Supplies(), out).path)
    onnx.checker.check_model(proto, full_check=True)
    names = [node.name for node in proto.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    known = {value.name for value in proto.graph.value_info} | {value.name for value in proto.graph.output}
    assert {name for node in proto.graph.node for name in node.output} == known


def test_rules_can_be_left_out(small):
    fused, did = fuse(small, without=("pad-conv", "clamp"))
    operators = [node.op_type for node in fused.graph.node]
    assert operators[:4] == ["Pad", "Conv", "Relu", "Min"]
    assert not {"pad-conv", "clamp"} & did["rules"].keys()


def test_leaving_out_a_rule_that_does_not_exist_names_the_nearest(small):
    with pytest.raises(UsageError, match="pad-con: no such rule; did you mean pad-conv"):
        fuse(small, without=("pad-con",))


def test_its_only_option_is_which_rules_to_leave_out():
    assert [field.name for field in dataclasses.fields(Fuse)] == ["without"]


def test_every_rule_has_a_file_and_a_place_in_the_table():
    files = {path.stem for path in Path(rooms.__file__).parent.glob("*.py")} - {"__init__"}
    listed = {rule.match.__module__.rpartition(".")[2] for rule in (*RULES, *LAST_RULES)}
    assert listed == files
    names = [rule.name for rule in (*RULES, *LAST_RULES)]
    assert len(set(names)) == len(names)


def test_a_tensor_that_a_subgraph_reads_is_left_alone(onnx_text, stays, rng):
    text = """net (float[1,3,4,4] x, bool k) => (float[1,4,4,4] y) {
        c = Conv(x, w)
        n = Mul(c, two)
        y = If(k) <then_branch = yes () => (float[1,4,4,4] a) { a = Relu(c) }, else_branch = no () => (float[1,4,4,4] b) { b = Tanh(n) }>
    }"""
    stays(onnx_text(text, w=rng.normal(size=(4, 3, 1, 1)), two=2.0), *RULES, *LAST_RULES)


def test_weights_behind_dequantizelinear_are_left_alone(onnx_text, stays):
    text = """net (float[1,3,4,4] x) => (float[1,4,4,4] y) {
        w = DequantizeLinear<axis=0>(q, s, z)  c = Conv(x, w)  y = Mul(c, two)
    }"""
    constants = {"q": np.ones((4, 3, 1, 1), np.int8), "s": np.ones(4, np.float32), "z": np.zeros(4, np.int8), "two": 2.0}
    stays(onnx_text(text, **constants), *RULES, *LAST_RULES)

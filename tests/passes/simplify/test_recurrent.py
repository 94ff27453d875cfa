"""Loops over time steps become the operators they are; ONNX Runtime's Loop says what they compute."""

import numpy as np
import pytest

from edgekit.passes.simplify.stages import simplify

RNG = np.random.default_rng(5)
STEPS, BATCH, GIVEN, WIDTH = 5, 2, 3, 4


def normal(*shape):
    return RNG.normal(0, 0.7, shape).astype(np.float32)


def weights(gates, *, biases=1):
    bias = {"b": normal(gates * WIDTH)} if biases == 1 else {"b": normal(gates * WIDTH), "rb": normal(gates * WIDTH)}
    return {"w": normal(GIVEN, gates * WIDTH), "r": normal(WIDTH, gates * WIDTH), **bias}


LSTM = """a = MatMul(row, w)  q = MatMul(h, r)  s = Add(a, q)  g = Add(s, b)  i, f, n, o = Split<axis=1, num_outputs=4>(g)
    fi = Sigmoid(i)  ff = Sigmoid(f)  fn = Tanh(n)  fo = Sigmoid(o)  k = Mul(ff, c)  e = Mul(fi, fn)
    cn = Add(k, e)  t = Tanh(cn)  hn = Mul(fo, t)"""
LSTM_ORDERED_OTHERWISE = LSTM.replace("i, f, n, o", "f, i, n, o")
GRU_THAT_RESETS_AFTER = """a = MatMul(row, w)  s = Add(a, b)  q = MatMul(h, r)  p = Add(q, rb)  sz, sr, sn = Split<axis=1, num_outputs=3>(s)
    pz, pr, pn = Split<axis=1, num_outputs=3>(p)  uz = Add(sz, pz)  z = Sigmoid(uz)  ur = Add(sr, pr)  u = Sigmoid(ur)  m = Mul(u, pn)
    un = Add(sn, m)
    n = Tanh(un)  kept = Mul(z, h)  other = Sub(one, z)  made = Mul(other, n)  hn = Add(kept, made)"""
PLAIN = "a = MatMul(row, w)  q = MatMul(h, r)  s = Add(a, q)  g = Add(s, b)  hn = Tanh(g)"


def loop(body, *, states):
    given = ", ".join(f"float[{BATCH},{WIDTH}] {name}0" for name in states)
    taken = ", ".join(f"float[{BATCH},{WIDTH}] {name}" for name in states)
    made = ", ".join(f"float[{BATCH},{WIDTH}] {name}n" for name in states)
    ends = ", ".join(f"{name}e" for name in states)
    starts = ", ".join(f"{name}0" for name in states)
    results = ", ".join(f"float[{BATCH},{WIDTH}] {name}e" for name in states)
    return f"""net (float[{STEPS},{BATCH},{GIVEN}] x, {given}) => (float[{STEPS},{BATCH},{WIDTH}] y, {results}) {{
        {ends}, y = Loop (count, yes, {starts}) <body = step (int64 at, bool go, {taken}) => (bool on, {made}, float[{BATCH},{WIDTH}] out)
        {{ on = Identity(go)  row = Gather(x, at)  {body}  out = Identity(hn) }}>
    }}"""


def constants(**arrays):
    return {"count": np.array(STEPS), "yes": np.array(True), **arrays}


@pytest.mark.parametrize(
    ("body", "states", "arrays", "operator"),
    [
        (LSTM, "hc", weights(4), "LSTM"),
        (LSTM, "ch", weights(4), "LSTM"),
        (GRU_THAT_RESETS_AFTER, "h", {**weights(3, biases=2), "one": np.float32(1)}, "GRU"),
        (PLAIN, "h", weights(1), "RNN"),
    ],
    ids=["lstm", "lstm, cell first", "gru", "plain"],
)
def test_a_loop_that_is_a_cell_becomes_it(onnx_text, same_outputs, body, states, arrays, operator):
    before = onnx_text(loop(body, states=states), **constants(**arrays))
    after, did = simplify(before, use_onnxsim=False)
    assert did["rules"]["recurrent"] == 1
    assert did["ops_after"].get("Loop", 0) == 0
    assert did["ops_after"][operator] == 1
    same_outputs(before, after, rtol=1e-4)


def test_a_loop_of_the_same_sizes_that_computes_something_else_stays(onnx_text, same_outputs):
    before = onnx_text(loop(LSTM_ORDERED_OTHERWISE, states="hc"), **constants(**weights(4)))
    after, did = simplify(before, use_onnxsim=False)
    assert did["ops_after"]["Loop"] == 1
    same_outputs(before, after)


MASKED = PLAIN.replace("hn = Tanh(g)", "t = Tanh(g)  v = Abs(row)  e = ReduceSum<keepdims=1>(v, axis)  k = Greater(e, zero)  hn = Where(k, t, h)")
CLIPPED = PLAIN.replace("MatMul(row, w)", "MatMul(cut, w)").replace("a =", "cut = Clip(row, low, high)  a =", 1)


@pytest.mark.parametrize(
    ("body", "arrays"),
    [(MASKED, {"axis": np.array([1]), "zero": np.float32(0)}), (CLIPPED, {"low": np.float32(-9), "high": np.float32(9)})],
    ids=["leaves rows of zeros out", "clips what it reads"],
)
def test_a_cell_with_something_besides_stays_a_loop(onnx_text, same_outputs, body, arrays):
    before = onnx_text(loop(body, states="h"), **constants(**weights(1), **arrays))
    after, did = simplify(before, use_onnxsim=False)
    assert did["ops_after"]["Loop"] == 1
    same_outputs(before, after)


def test_a_state_of_other_rows_than_the_sequence_stays(onnx_text):
    text = loop(PLAIN, states="h").replace(f"float[{BATCH},{WIDTH}] h0", f"float[1,{WIDTH}] h0")
    _, did = simplify(onnx_text(text, **constants(**weights(1))), use_onnxsim=False)
    assert did["ops_after"]["Loop"] == 1


def test_a_loop_that_ends_before_its_sequence_stays(onnx_text):
    before = onnx_text(loop(LSTM, states="hc"), **{**constants(**weights(4)), "count": np.array(STEPS - 1)})
    _, did = simplify(before, use_onnxsim=False)
    assert did["ops_after"]["Loop"] == 1


def test_whole_sequences_that_are_reversed_are_sliced_backwards(onnx_text, same_outputs):
    text = "net (float[4,2,3] x) => (float[4,2,3] y) { y = ReverseSequence<batch_axis=1, time_axis=0>(x, lengths) }"
    before = onnx_text(text, lengths=np.array([4, 4]))
    after, _ = simplify(before, use_onnxsim=False)
    assert [node.op_type for node in after.graph.node] == ["Slice"]
    same_outputs(before, after)


def test_a_sequence_that_is_reversed_in_part_stays(onnx_text):
    text = "net (float[4,2,3] x) => (float[4,2,3] y) { y = ReverseSequence<batch_axis=1, time_axis=0>(x, lengths) }"
    after, _ = simplify(onnx_text(text, lengths=np.array([4, 3])), use_onnxsim=False)
    assert [node.op_type for node in after.graph.node] == ["ReverseSequence"]

"""Composed operations between convolutions: nothing is moved, and integers stay integers where there are kernels."""

import numpy as np
import pytest

from edgekit.engine.tflite import TfliteBackend
from edgekit.target import Runtime, Target

RNG = np.random.default_rng(3)
TARGET = Target(schema=1, name="t", arch="aarch64", runtimes=(Runtime("tflite"),), sources={})
LAST = {"x": "nchw", "y": "nchw"}


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


NET = {"v": normal(4, 3, 3, 3), "w": normal(2, 4, 1, 1)}
BETWEEN = {
    "InstanceNormalization(c, s, b)": {"s": normal(4), "b": normal(4)},
    "Mish(c)": {},
    "Where(t, c, n)": {"t": RNG.random((4, 1, 1)) > 0.5, "n": np.float32(0)},
    "LRN<size=3>(c)": {},
    "Tile(c, m)": {"m": np.int64([1, 1, 2, 2])},
    "Gather<axis=1>(c, i)": {"i": np.int64([3, 0, 1, -2])},
    'Pad<mode="edge">(c, p)': {"p": np.int64([0, 0, 1, 2, 0, 0, 2, 1])},
    "CumSum(c, a)": {"a": np.array(1)},
    "Expand(c, e)": {"e": np.int64([1, 4, 6, 4])},
    "LpNormalization<axis=1>(c)": {},
    "MaxPool<kernel_shape=[2,2], dilations=[2,2]>(c)": {},
    "ConvTranspose<group=2, strides=[2,2]>(c, u)": {"u": normal(4, 2, 2, 2)},
    'DepthToSpace<blocksize=1, mode="CRD">(c)': {},
}


@pytest.mark.parametrize("between", BETWEEN)
def test_nothing_is_moved_between_convolutions(between, graph, assert_same):
    proto = graph(f"(float[1,3,8,6] x) => (y) {{ c = Conv(x, v) d = {between} y = Conv(d, w) }}", **NET, **BETWEEN[between])

    assert assert_same(proto, LAST).engine.details["transposes"] == 0


def test_groups_are_normalized_without_moving_the_picture(graph, assert_same):
    text = (
        "(float[1,3,8,6] x) => (float[1,2,6,4] y) <float[1,4,6,4] d> { c = Conv(x, v) d = GroupNormalization<num_groups=2>(c, s, b) y = Conv(d, w) }"
    )
    proto = graph(text, s=normal(4), b=normal(4), **NET)

    assert assert_same(proto, LAST).engine.details["transposes"] == 0


@pytest.mark.parametrize("between", ["Tile(c, m)", "Gather<axis=1>(c, i)", 'Pad<mode="edge">(c, p)'])
def test_what_only_moves_stays_in_integers(between, graph, quantize, assert_close_in_steps):
    proto = quantize(graph(f"(float[1,3,8,6] x) => (y) {{ c = Conv(x, v) d = {between} y = Conv(d, w) }}", **NET, **BETWEEN[between]))

    assert assert_close_in_steps(proto, steps=2).engine.details["float_operators"] == {}


@pytest.mark.parametrize("between", ["Mish(c)", "InstanceNormalization(c, s, b)", "LRN<size=3>(c)", "Where(t, c, n)", "CumSum(c, a)"])
def test_what_has_no_integer_kernel_is_computed_in_float(between, graph, quantize, assert_close_in_steps):
    constants = {key: value for key, value in BETWEEN[between].items() if value.dtype != np.float32}
    given = {key: value for key, value in BETWEEN[between].items() if value.dtype == np.float32}
    proto = graph(f"(float[1,3,8,6] x) => (y) {{ c = Conv(x, v) d = {between} y = Conv(d, w) }}", **NET, **constants, **given)

    built = assert_close_in_steps(quantize(proto, skip=("t", "n", "s", "b", "a")), steps=3)

    assert built.operators["CONV_2D"] == 2
    assert "CONV_2D" not in built.engine.details["float_operators"]
    assert built.engine.details["float_operators"]


REFUSED = [
    ('(float[4096,5] x, int64[999,1] i, float[999,5] u) => (y) { y = ScatterND<reduction="max">(x, i, u) }', "ScatterND", "by max"),
    ("(float[1,2,9,9] x) => (y, i) { y, i = MaxPool<kernel_shape=[9,9]>(x) }", "MaxPool", "which of 81 values"),
    ("(float[1,2,3,4,5] x, float[2,2,1,1,1] w) => (y) { y = Conv(x, w) }", "Conv", "weights are computed"),
    ("(float[300,1,2] x, float[1,8,2] w, float[1,8,2] r) => (y) { y, h = LSTM<hidden_size=2>(x, w, r) }", "LSTM", "weights are computed"),
    ("(float[1,4,6,6] x) => (y) { y = LRN<size=2>(x) }", "LRN", "even number"),
    ("(float[2,1,4,6,6] x, float[1,3,1,1,6] z) => (y) { y = Greater(x, z) }", "Greater", "broadcasts over 4 axes"),
    ("(float[1,4,4] x, float[1,1,4] s) => (y) { y = NonMaxSuppression(x, s) }", "NonMaxSuppression", "selects nothing"),
    ("(float[1,4,4] x, float[1,1,4] s, int64[1] k) => (y) { y = NonMaxSuppression(x, s, k) }", "NonMaxSuppression", "k is computed"),
    (
        "(float[1,4,4] x, float[1,1,4] s) => (y) <int64[1] k={2}, float[1] t={1.0}> { y = NonMaxSuppression(x, s, k, t) }",
        "NonMaxSuppression",
        "suppresses nothing",
    ),
    ("(float[3,4] x) => (y) { y = NonZero(x) }", "NonZero", "depends on the numbers"),
]


@pytest.mark.parametrize(("text", "op", "reason"), REFUSED)
def test_what_cannot_be_composed_is_refused_by_its_own_name(text, op, reason, graph, store):
    (refusal,) = TfliteBackend().refusals(store(graph(text)), TARGET)

    assert refusal.op == op
    assert reason in refusal.reason
    assert refusal.remedy


def test_sequences_too_long_to_be_written_out_are_refused(graph, store):
    text = "(float[300,1,2] x) => (y) { y, h = LSTM<hidden_size=2>(x, w, r) }"

    (refusal,) = TfliteBackend().refusals(store(graph(text, w=normal(1, 8, 2), r=normal(1, 8, 2))), TARGET)

    assert refusal.reason == "it has 300 steps, and 256 are written out at most"


def test_integer_ports_stay_what_they_are_where_others_become_int8(graph, build):
    proto = graph("(int64[1,5] x) => (y) { y = Cast<to=6>(x) }")

    built = build(proto, io_dtype="int8")

    assert [port.dtype for port in (*built.engine.inputs, *built.engine.outputs)] == ["int64", "int32"]
    assert built.operators == {"CAST": 1}

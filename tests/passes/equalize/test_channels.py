"""Which channels may be scaled together; the arrows of each text are what the graph says, the expectations are worked out by hand."""

import numpy as np
import pytest

from edgekit.graph.view import View
from edgekit.passes.equalize.channels import channels_of

GENERATOR = np.random.default_rng(0)


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


def numbers(*values):
    return np.array(values, np.int64)


@pytest.fixture
def channels(proto_of):
    def make(text, **weights):
        return channels_of(View(proto_of(text, **weights)))

    return make


def frozen(channels, tensor):
    return channels.is_frozen(channels.roots(tensor)).tolist()


def free(channels):
    """Tensors none of whose channels is frozen."""
    return {tensor for tensor in channels.carried if not any(frozen(channels, tensor))}


def same(channels, one, other):
    return channels.roots(one).tolist() == channels.roots(other).tolist()


W = {"w": normal(4, 3, 3, 3), "v": normal(5, 4, 1, 1)}


@pytest.mark.parametrize(
    "between",
    [
        "Relu(a)",
        "LeakyRelu<alpha=0.2>(a)",
        "Identity(a)",
        "Clip(a, zero, six)",
        "Clip(a, zero)",
        "MaxPool<kernel_shape=[2,2]>(a)",
        "AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)",
        "GlobalAveragePool(a)",
        "ReduceMean(a, axes)",
        "ReduceMax(a, axes)",
        'Resize<mode="linear">(a, empty, twice)',
        "Pad(a, pads)",
        'Pad<mode="reflect">(a, pads)',
        "Mul(a, six)",
        "Mul(six, a)",
        "Mul(a, each)",
        "Div(a, six)",
        "Add(a, each)",
        "Add(each, a)",
        "Dropout(a)",
    ],
)
def test_channels_go_through(channels, between):
    bounds = {"zero": np.float32(0), "six": np.float32(6), "each": normal(4, 1, 1), "axes": numbers(2, 3), "pads": numbers(0, 0, 1, 1, 0, 0, 1, 1)}
    sizes = {"empty": np.zeros(0, np.float32), "twice": np.array([1, 1, 2, 2], np.float32)}
    used = {name: value for name, value in (bounds | sizes).items() if name in between}
    found = channels(f"net (float[1,3,8,8] x) => (float[n,c,h,k] y) {{ a = Conv(x, w)  r = {between}  y = Conv(r, v) }}", **W, **used)

    assert free(found) == {"a", "r"}
    assert same(found, "a", "r")
    assert [tensor for _, tensor in found.readers] == ["r"]
    assert [tensor for _, tensor in found.makers] == ["a", "y"]


@pytest.mark.parametrize(
    ("between", "made"),
    [
        ("Sigmoid(a)", 4),
        ("Erf(a)", 4),
        ("HardSwish(a)", 4),
        ("Softmax<axis=1>(a)", 4),
        ("Clip(a, minus, six)", 4),
        ("Clip(a, , six)", 4),
        ("Clip(a, zero, computed)", 4),
        ("Pad(a, pads, six)", 4),
        ("Div(six, a)", 4),
        ("Mul(a, a)", 4),
        ("Mul(a, large)", 4),
        ("Add(a, six)", 4),
        ("Add(a, row)", 4),
        ("ReduceMean(a, all)", 1),
        ("ReduceMean(a, none)", 1),
        ("ReduceMean(a)", 1),
        ("Reshape(a, shuffled)", 2),
        ("InstanceNormalization(a, one, nil)", 4),
        ("PRelu(a, each)", 4),
        ("Cast<to=1>(a)", 4),
    ],
)
def test_what_is_not_known_to_carry_a_scale_through_freezes(channels, between, made):
    bounds = {"zero": np.float32(0), "minus": np.float32(-1), "six": np.float32(6), "each": normal(4, 1, 1), "row": normal(1, 1, 1, 6)}
    sizes = {"all": numbers(1, 2, 3), "none": np.zeros(0, np.int64), "shuffled": numbers(1, 2, 2, 36), "pads": numbers(0, 0, 1, 1, 0, 0, 1, 1)}
    others = {"large": normal(3, 4, 6, 6), "one": normal(4), "nil": normal(4)}
    words = between.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = {name: value for name, value in (bounds | sizes | others).items() if name in words}
    text = f"net (float[1,3,8,8] x, float computed) => (float[n,c,h,k] y) {{ a = Conv(x, w)  r = {between}  y = Conv(r, v) }}"
    found = channels(text, w=W["w"], v=normal(5, made, 1, 1), **used)

    assert all(frozen(found, "a"))
    assert free(found) == set()


def test_branches_of_a_residual_addition_and_all_their_readers_are_scaled_alike(channels):
    found = channels(
        """net (float[1,3,8,8] x) => (float[1,5,6,6] y, float[1,5,6,6] z) {
            a = Conv(x, w)  r = Relu(a)  b = Conv(r, u)  s = Add(r, b)  t = Relu(s)  y = Conv(t, v)  z = Conv(r, k)
        }""",
        **W, u=normal(4, 4, 1, 1), k=normal(5, 4, 1, 1),
    )  # fmt: skip

    assert free(found) == {"a", "r", "b", "s", "t"}
    assert all(same(found, "a", tensor) for tensor in ("r", "b", "s", "t"))
    assert sorted(tensor for _, tensor in found.readers) == ["r", "r", "t"]
    assert sorted(tensor for _, tensor in found.makers) == ["a", "b", "y", "z"]


def test_one_frozen_branch_freezes_the_addition_whichever_comes_first(channels):
    text = "net (float[1,3,8,8] x) => (float[n,c,h,k] y, float[n,d,e,f] z) {{ a = Conv(x, w)  b = Conv(x, u)  {} s = Add({})  y = Conv(s, v) }}"
    for sigmoid in ("z = Sigmoid(a)", "z = Sigmoid(b)"):
        for order in ("a, b", "b, a"):
            found = channels(text.format(sigmoid, order), **W, u=normal(4, 3, 3, 3))

            assert free(found) == set()


def test_an_addition_that_broadcasts_freezes_both_sides(channels):
    text = "net (float[1,3,8,8] x) => (float[n,c,h,k] y) { a = Conv(x, w)  g = GlobalAveragePool(a)  s = Add(a, g)  y = Conv(s, v) }"

    assert free(channels(text, **W)) == set()


def test_a_gate_carries_what_it_multiplies_and_is_left_alone(channels):
    text = """net (float[1,3,8,8] x) => (float[n,c,h,k] y) {
        a = Conv(x, w)  r = Relu(a)  g = GlobalAveragePool(r)  h = Conv(g, u)  q = Sigmoid(h)  m = Mul(r, q)  y = Conv(m, v)
    }"""
    found = channels(text, **W, u=normal(4, 4, 1, 1))

    assert free(found) == {"a", "r", "g", "m"}
    assert all(same(found, "a", tensor) for tensor in ("r", "g", "m"))


def test_of_two_whole_factors_one_carries_and_the_other_is_frozen(channels):
    text = "net (float[1,3,8,8] x) => (float[n,c,h,k] y) { a = Conv(x, w)  b = Conv(x, u)  m = Mul(a, b)  y = Conv(m, v) }"
    found = channels(text, **W, u=normal(4, 3, 3, 3))

    assert free(found) == {"a", "m"}
    assert all(frozen(found, "b"))


def test_a_concatenation_has_the_channels_of_all_in_order(channels):
    text = "net (float[1,3,8,8] x) => (float[n,c,h,k] y) { a = Conv(x, w)  b = Conv(x, u)  c = Concat<axis=-3>(a, b, a)  y = Conv(c, v) }"
    found = channels(text, w=W["w"], u=normal(2, 3, 3, 3), v=normal(5, 10, 1, 1))

    assert found.roots("c").tolist() == [*found.roots("a"), *found.roots("b"), *found.roots("a")]
    assert free(found) == {"a", "b", "c"}


def test_a_concatenation_along_another_axis_scales_its_parts_alike(channels):
    text = "net (float[1,3,8,8] x) => (float[n,c,h,k] y) { a = Conv(x, w)  b = Conv(x, u)  c = Concat<axis=2>(a, b)  y = Conv(c, v) }"
    found = channels(text, **W, u=normal(4, 3, 3, 3))

    assert same(found, "a", "b")
    assert same(found, "a", "c")
    assert free(found) == {"a", "b", "c"}


@pytest.mark.parametrize("other", ["x4", "k"])
def test_a_concatenation_with_an_input_or_a_constant_is_frozen(channels, other):
    text = f"net (float[1,3,8,8] x, float[1,4,6,6] x4) => (float[n,c,h,m] y) {{ a = Conv(x, w)  c = Concat<axis=1>(a, {other})  y = Conv(c, v) }}"

    assert free(channels(text, w=W["w"], v=normal(5, 8, 1, 1), k=normal(1, 4, 6, 6))) == set()


@pytest.mark.parametrize(
    ("path", "repeated"),
    [
        ("p = GlobalAveragePool(a)  f = Flatten(p)", 1),
        ("p = GlobalAveragePool(a)  f = Reshape(p, flat)", 1),
        ("p = ReduceMean<keepdims=0>(a, axes)  f = Identity(p)", 1),
        ("p = GlobalAveragePool(a)  f = Squeeze(p, axes)", 1),
        ("f = Flatten(a)", 9),
        ("f = Reshape(a, flat)", 9),
        ("t = Transpose<perm=[0,2,3,1]>(a)  p = ReduceMean<keepdims=0>(t, rows)  f = Identity(p)", 1),
    ],
)
def test_channels_arrive_at_a_fully_connected_layer(channels, path, repeated):
    shapes = {"flat": numbers(1, -1), "axes": numbers(2, 3), "rows": numbers(1, 2)}
    used = {name: value for name, value in shapes.items() if name in path}
    found = channels(
        f"net (float[1,3,5,5] x) => (float[1,5] y) {{ a = Conv(x, w)  {path}  y = Gemm(f, u) }}", w=W["w"], u=normal(4 * repeated, 5), **used
    )

    assert found.roots("f").tolist() == np.repeat(found.roots("a"), repeated).tolist()
    assert not any(frozen(found, "f"))
    assert [tensor for _, tensor in found.readers] == ["f"]


def test_channels_that_a_transposition_moves_to_the_end_go_through_a_reshape_to_rows(channels):
    text = """net (float[1,3,5,5] x) => (float[1,9,6] y) {
        a = Conv(x, w)  t = Transpose<perm=[0,2,3,1]>(a)  r = Reshape(t, rows)  m = MatMul(r, u)  y = Add(m, b)
    }"""
    found = channels(text, w=W["w"], rows=numbers(1, 9, 4), u=normal(4, 6), b=normal(6))

    assert (found.carried["t"].axis, found.carried["r"].axis) == (3, 2)
    assert same(found, "a", "r")
    assert not any(frozen(found, "a"))


def test_rows_that_a_reshape_mixes_with_an_open_batch_are_frozen(channels):
    """(N, 4, 4) to (4 N, 4): the new axis 1 is the old axis 2, though with a batch of one the sizes look alike."""
    text = "net (float[N,3,6] x) => (float[M,5] y) { a = Conv(x, w)  r = Reshape(a, rows)  y = Gemm(r, u) }"
    found = channels(text, w=normal(4, 3, 3), rows=numbers(-1, 4), u=normal(4, 5))

    assert all(frozen(found, "a"))


def test_a_product_that_reads_along_another_axis_than_that_of_the_channels_is_frozen(channels):
    text = "net (float[1,3,5,5] x) => (float[1,4,3,6] y) { a = Conv(x, w)  y = MatMul(a, u) }"

    assert free(channels(text, w=W["w"], u=normal(3, 6))) == set()


def test_what_a_layer_normalization_makes_can_be_scaled_and_what_it_reads_cannot(channels):
    text = "net (float[1,7,6] x) => (float[1,7,5] y) { a = MatMul(x, w)  n = LayerNormalization(a, s, b)  y = MatMul(n, v) }"
    found = channels(text, w=normal(6, 4), s=normal(4), b=normal(4), v=normal(4, 5))

    assert free(found) == {"n"}
    assert all(frozen(found, "a"))
    assert [(constant, tensor) for constant, _, tensor in found.writers] == [("s", "n"), ("b", "n")]


@pytest.mark.parametrize("scale", [(1, 1, 4), (1,)])
def test_a_layer_normalization_whose_scale_is_not_one_number_a_channel_is_left_alone(channels, scale):
    text = "net (float[1,7,6] x) => (float[1,7,5] y) { a = MatMul(x, w)  n = LayerNormalization(a, s)  y = MatMul(n, v) }"

    assert free(channels(text, w=normal(6, 4), s=normal(*scale), v=normal(4, 5))) == set()


def test_outputs_of_the_graph_and_what_subgraphs_read_are_frozen(channels):
    text = """net (float[1,3,8,8] x, bool p) => (float[1,4,6,6] r, float[1,5,6,6] y, float[1,4,6,6] z) {
        a = Conv(x, w)  r = Relu(a)  y = Conv(r, v)  b = Conv(x, u)
        z = If(p) <then_branch = t () => (float[1,4,6,6] i) { i = Relu(b) }, else_branch = e () => (float[1,4,6,6] j) { j = Neg(b) }>
    }"""
    found = channels(text, **W, u=normal(4, 3, 3, 3))

    assert free(found) == set()


def test_weights_that_others_read_too_are_not_touched(channels):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w)  r = Relu(a)  y = Conv(r, w) }"
    found = channels(text, w=normal(4, 4, 1, 1))

    assert found.makers == found.readers == []


def test_weights_that_a_subgraph_reads_too_are_not_touched(channels):
    text = """net (float[1,4,8,8] x, bool p) => (float[1,4,8,8] y, float[4,4,1,1] z, float[4] q) {
        a = Conv(x, w)  r = Relu(a)  b = Conv(r, v, c)  s = Relu(b)  y = Conv(s, u)
        z = If(p) <then_branch = t () => (float[4,4,1,1] i) { i = Identity(w) }, else_branch = e () => (float[4,4,1,1] j) { j = Neg(w) }>
        q = If(p) <then_branch = k () => (float[4] l) { l = Identity(c) }, else_branch = m () => (float[4] o) { o = Neg(c) }>
    }"""
    found = channels(text, w=normal(4, 4, 1, 1), v=normal(4, 4, 1, 1), u=normal(4, 4, 1, 1), c=normal(4))

    assert free(found) == set()


def test_a_bias_that_others_read_too_keeps_its_node_from_being_scaled(channels):
    text = "net (float[1,3,8,8] x) => (float[1,4,6,6] y) { a = Conv(x, w, b)  r = Relu(a)  y = Conv(r, v, b) }"
    found = channels(text, w=W["w"], v=normal(4, 4, 1, 1), b=normal(4))

    assert free(found) == set()


def test_channels_are_split_no_further(channels):
    text = "net (float[1,3,8,8] x) => (float[n,c,h,k] y) { a = Conv(x, w)  s, t = Split<axis=1, num_outputs=2>(a)  y = Conv(s, v) }"

    assert free(channels(text, w=W["w"], v=normal(5, 2, 1, 1))) == set()

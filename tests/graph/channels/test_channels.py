"""What hangs together in a graph: cutting units that nobody reads changes no output, whatever the graph is built of."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgekit.graph.channels import channel_groups, cut
from edgekit.graph.run import Runner

NETS = {
    "a plain stack": (
        "net (float[1,3,9,9] x) => (float[1,5,9,9] y) { a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2) }",
        {"w1": (8, 3, 3, 3), "b1": 8, "w2": (5, 8, 1, 1), "b2": 5},
    ),
    "residuals": (
        "net (float[1,3,8,8] x) => (float[1,4] y) { a = Conv(x, w1) b = Conv(a, w2) r = Relu(b) c = Conv(r, w3) s = Add(a, c) t = Relu(s)"
        " p = GlobalAveragePool(t) f = Flatten(p) y = Gemm<transB=1>(f, w4, b4) }",
        {"w1": (6, 3, 1, 1), "w2": (7, 6, 1, 1), "w3": (6, 7, 1, 1), "w4": (4, 6), "b4": 4},
    ),
    "inverted residuals with depthwise convolutions": (
        "net (float[1,3,8,8] x) => (float[1,4,4,4] y) { a = Conv(x, w1) c = Clip(a, zero, six) d = Conv<group=9, pads=[1,1,1,1]>(c, w2, b2)"
        " e = Conv(d, w3) f = Conv(e, w4) g = Conv<group=9, strides=[2,2], kernel_shape=[1,1]>(f, w5) y = Conv(g, w6) }",
        {"w1": (9, 3, 1, 1), "w2": (9, 1, 3, 3), "b2": 9, "w3": (5, 9, 1, 1), "w4": (9, 5, 1, 1), "w5": (9, 1, 1, 1), "w6": (4, 9, 1, 1)},
    ),
    "depthwise convolutions with two filters a channel": (
        "net (float[1,3,4,4] x) => (float[1,2,4,4] y) { a = Conv(x, w1) d = Conv<group=4>(a, w2) y = Conv(d, w3) }",
        {"w1": (4, 3, 1, 1), "w2": (8, 1, 1, 1), "w3": (2, 8, 1, 1)},
    ),
    "few wide groups": (
        "net (float[1,3,4,4] x) => (float[1,2,4,4] y) { a = Conv(x, w1) d = Conv<group=2>(a, w2) y = Conv(d, w3) }",
        {"w1": (8, 3, 1, 1), "w2": (12, 4, 1, 1), "w3": (2, 12, 1, 1)},
    ),
    "many narrow groups": (
        "net (float[1,3,4,4] x) => (float[1,2,4,4] y) { a = Conv(x, w1) d = Conv<group=8>(a, w2) y = Conv(d, w3) }",
        {"w1": (16, 3, 1, 1), "w2": (8, 2, 1, 1), "w3": (2, 8, 1, 1)},
    ),
    "squeeze and excitation": (
        "net (float[1,3,8,8] x) => (float[1,2,8,8] y) { a = Conv(x, w1, b1) p = GlobalAveragePool(a) s = Conv(p, w2) r = Relu(s)"
        " e = Conv(r, w3) g = HardSigmoid(e) m = Mul(g, a) y = Conv(m, w4) }",
        {"w1": (12, 3, 1, 1), "b1": 12, "w2": (4, 12, 1, 1), "w3": (12, 4, 1, 1), "w4": (2, 12, 1, 1)},
    ),
    "concatenations that grow": (
        "net (float[1,3,8,8] x) => (float[1,2,4,4] y) { a = Conv(x, w1) b = Conv(a, w2) c = Concat<axis=1>(a, b) d = Conv(c, w3)"
        " e = Concat<axis=1>(c, d) n = BatchNormalization(e, s, o, o, s) q = MaxPool<kernel_shape=[2,2], strides=[2,2]>(n) y = Conv(q, w4) }",
        {"w1": (4, 3, 1, 1), "w2": (3, 4, 1, 1), "w3": (3, 7, 1, 1), "s": 10, "o": 10, "w4": (2, 10, 1, 1)},
    ),
    "a channel shuffle": (
        "net (float[1,3,4,4] x) => (float[1,2,4,4] y) { a = Conv(x, w1) r = Reshape(a, five) t = Transpose<perm=[0,2,1,3,4]>(r)"
        " u = Reshape(t, four) v, w = Split<axis=1, num_outputs=2>(u) c = Conv(v, w2) z = Concat<axis=1>(c, w) y = Conv(z, w3) }",
        {"w1": (12, 3, 1, 1), "five": [1, 2, 6, 4, 4], "four": [1, 12, 4, 4], "w2": (5, 6, 1, 1), "w3": (2, 11, 1, 1)},
    ),
    "slices, pads and a flattened map": (
        "net (float[1,3,4,4] x) => (float[1,2] y) { a = Conv(x, w1) s = Slice(a, one, five, one) p = Pad(s, pads) g = Gather<axis=1>(p, places)"
        " f = Reshape(g, flat) y = Gemm(f, w2) }",
        {"w1": (7, 3, 1, 1), "one": [1], "five": [5], "pads": [0, 1, 0, 0, 0, 0, 0, 0], "places": [4, 1, 2, 0], "flat": [1, 64], "w2": (64, 2)},
    ),
    "normalization of groups and instances, slopes, a larger picture": (
        "net (float[1,3,4,4] x) => (float[1,2,8,8] y) { a = Conv(x, w1) n = GroupNormalization<num_groups=4>(a, s, o)"
        ' i = InstanceNormalization(n, s, o) p = PRelu(i, slope) z = Resize<mode="nearest">(p, , scales) y = Conv(z, w2) }',
        {"w1": (8, 3, 1, 1), "s": 8, "o": 8, "slope": (8, 1, 1), "scales": np.float32([1, 1, 2, 2]), "w2": (2, 8, 1, 1)},
    ),
    "a transposed convolution, its skip and a mean of sides": (
        "net (float[1,3,4,4] x) => (float[1,2] y) { a = Conv(x, w1) b = Conv<strides=[2,2], kernel_shape=[2,2]>(a, w2)"
        " c = ConvTranspose<strides=[2,2]>(b, w3, b3) d = Concat<axis=1>(a, c) m = ReduceMean<keepdims=0>(d, sides) y = MatMul(m, w4) }",
        {"w1": (4, 3, 1, 1), "w2": (6, 4, 2, 2), "w3": (6, 5, 2, 2), "b3": 5, "sides": [2, 3], "w4": (9, 2)},
    ),
    "an attention with heads, and its network": (
        "net (float[1,5,8] x) => (float[1,5,3] y) { q = MatMul(x, wq) q1 = Add(q, bq) k = MatMul(x, wk) v = MatMul(x, wv) q2 = Reshape(q1, split)"
        " k2 = Reshape(k, split) v2 = Reshape(v, split) q3 = Transpose<perm=[0,2,1,3]>(q2) k3 = Transpose<perm=[0,2,3,1]>(k2)"
        " v3 = Transpose<perm=[0,2,1,3]>(v2) s = MatMul(q3, k3) h = Mul(s, half) p = Softmax<axis=-1>(h) o = MatMul(p, v3)"
        " t = Transpose<perm=[0,2,1,3]>(o) j = Reshape(t, joined) u = MatMul(j, wo) r = Add(u, x) n = LayerNormalization(r, g, be)"
        " m = MatMul(n, w1) e = Gelu(m) y = MatMul(e, w2) }",
        {"wq": (8, 12), "bq": 12, "wk": (8, 12), "wv": (8, 12), "split": [1, 5, 6, 2], "half": np.float32(0.5), "joined": [1, 5, 12], "wo": (12, 8)}
        | {"g": 8, "be": 8, "w1": (8, 9), "w2": (9, 3)},
    ),
    "queries, keys and values from one product": (
        "net (float[1,5,8] x) => (float[1,5,3] y) { a = MatMul(x, w) r = Reshape(a, split) t = Transpose<perm=[2,0,3,1,4]>(r)"
        " q = Gather<axis=0>(t, i0) k = Gather<axis=0>(t, i1) v = Gather<axis=0>(t, i2) k2 = Transpose<perm=[0,1,3,2]>(k) s = MatMul(q, k2)"
        " p = Softmax<axis=-1>(s) o = MatMul(p, v) t2 = Transpose<perm=[0,2,1,3]>(o) j = Reshape(t2, joined) y = MatMul(j, wo) }",
        {"w": (8, 36), "split": [1, 5, 3, 6, 2], "i0": np.int64(0), "i1": np.int64(1), "i2": np.int64(2), "joined": [0, 0, -1], "wo": (12, 3)},
    ),
}
UNITS = {
    "a plain stack": {8},
    "residuals": {6, 7},
    "inverted residuals with depthwise convolutions": {9, 5},
    "depthwise convolutions with two filters a channel": {4},
    "few wide groups": {4, 6},
    "many narrow groups": {8},
    "squeeze and excitation": {12, 4},
    "concatenations that grow": {4, 3},
    "a channel shuffle": {3, 5},
    "slices, pads and a flattened map": {3, 4},  # four of seven channels never get to the flattened map
    "normalization of groups and instances, slopes, a larger picture": {4},
    "a transposed convolution, its skip and a mean of sides": {4, 6, 5},
    "an attention with heads, and its network": {6, 9},
    "queries, keys and values from one product": {6},
}


@pytest.fixture
def net(onnx_text):
    def make(name):
        text, sizes = NETS[name]
        draw = np.random.default_rng(0)
        bounds = {"zero": np.float32(0), "six": np.float32(6)} if "zero" in text else {}
        given = {
            key: draw.uniform(0.2, 1.0, size).astype(np.float32) if isinstance(size, (int, tuple)) else np.asarray(size)
            for key, size in sizes.items()
        }
        proto = onnx_text(text, **given, **bounds)
        for node in proto.graph.node:
            node.name = node.output[0]
        return proto

    return make


def inputs(proto):
    draw = np.random.default_rng(1)
    held = {tensor.name for tensor in proto.graph.initializer}
    return {
        value.name: draw.standard_normal([dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in proto.graph.input
        if value.name not in held
    }


def without_readers(proto, groups, gone):
    """The graph with zeros wherever a unit that will go is read."""
    arrays = {tensor.name: np.array(onnx.numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer}
    for number, group in enumerate(groups):
        for place in group.places:
            if place.role == "reads":
                np.moveaxis(arrays[place.constant], place.axis, 0)[np.isin(place.unit, gone[number])] = 0
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.graph.initializer[:]
    made.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in arrays.items())
    return made


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", range(3))
def test_cutting_what_nobody_reads_changes_no_output(name, seed, net):
    proto = net(name)
    groups = channel_groups(proto).groups
    draw = np.random.default_rng(seed)
    gone = {number: draw.choice(group.units, draw.integers(1, group.units), replace=False).tolist() for number, group in enumerate(groups)}

    unread = without_readers(proto, groups, gone)
    small = cut(channel_groups(unread), gone)

    assert {group.units for group in groups} == UNITS[name]
    before, after = Runner(unread.SerializeToString())(inputs(proto)), Runner(small.SerializeToString())(inputs(proto))
    for output, values in before.items():
        np.testing.assert_allclose(after[output], values, rtol=1e-5, atol=1e-6)
    assert sum(tensor.ByteSize() for tensor in small.graph.initializer) < sum(tensor.ByteSize() for tensor in proto.graph.initializer)
    onnx.checker.check_model(small, full_check=True)


def test_what_is_cut_is_cut_from_every_branch(net):
    proto = net("residuals")
    found = channel_groups(proto)
    (number,) = [number for number, group in enumerate(found.groups) if group.units == 6]

    small = cut(found, {number: [1, 4]})

    sizes = {tensor.name: tuple(tensor.dims) for tensor in small.graph.initializer}
    assert sizes == {"w1": (4, 3, 1, 1), "w2": (7, 4, 1, 1), "w3": (4, 7, 1, 1), "w4": (4, 4), "b4": (4,)}
    kept = onnx.numpy_helper.to_array(next(tensor for tensor in proto.graph.initializer if tensor.name == "w4"))[:, [0, 2, 3, 5]]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(next(tensor for tensor in small.graph.initializer if tensor.name == "w4")), kept)


def test_heads_are_cut_whole(net):
    found = channel_groups(net("an attention with heads, and its network"))
    heads = next(group for group in found.groups if group.units == 6)

    assert heads.width == 2
    assert {(place.constant, tuple(place.unit)) for place in heads.places} >= {
        (name, (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)) for name in ("wq", "wk", "wv", "bq", "wo")
    }


FIXED = {
    "a sum of exponents over channels": ("a = Conv(x, w1) s = Softmax<axis=1>(a) y = Conv(s, w2)", "Softmax s computes across these channels"),
    "a mean over channels": ("a = Conv(x, w1) m = ReduceMean(a, axis) s = Sub(a, m) y = Conv(s, w2)", "ReduceMean m computes across these channels"),
    "an input beside it": ("a = Conv(x, w1) s = Add(a, z) y = Conv(s, w2)", "z is an input of the model"),
    "an operator that nobody knows": (
        "a = Conv(x, w1) s = DepthToSpace<blocksize=2>(a) t = SpaceToDepth<blocksize=2>(s) y = Conv(t, w2)",
        "not known here",
    ),
}


@pytest.mark.parametrize("why", FIXED)
def test_what_may_not_be_cut_says_why(why, onnx_text):
    body, reason = FIXED[why]
    proto = onnx_text(
        f"net (float[1,3,4,4] x, float[1,4,4,4] z) => (float[1,2,4,4] y) {{ {body} }}",
        w1=np.ones((4, 3, 1, 1)),
        w2=np.ones((2, 4, 1, 1)),
        axis=np.array([1]),
    )
    for node in proto.graph.node:
        node.name = node.output[0]

    found = channel_groups(proto)

    assert found.groups == ()
    assert [(one.node, one.channels) for one in found.fixed] == [("a", 4), ("y", 2)]
    assert reason in found.fixed[0].reason
    assert found.fixed[1].reason == "y is an output of the model"


def test_one_unit_of_each_group_is_left_at_least(net):
    found = channel_groups(net("a plain stack"))

    with pytest.raises(ValueError, match="a: no channel would be left"):
        cut(found, {0: range(8)})
    with pytest.raises(ValueError, match="no such units"):
        cut(found, {0: [8]})

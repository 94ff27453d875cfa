import numpy as np
import onnx
import pytest

from edgekit.passes.fuse.rules import reduce_mean, reshape_transpose, reshapes, transpose_reduce, transpose_region, transposes, turned

TO_NHWC, TO_NCHW = "Transpose<perm=[0,2,3,1]>", "Transpose<perm=[0,3,1,2]>"
REGION = (transposes.RULE, transpose_region.RULE)


# --- consecutive ones


def test_transposes_that_undo_each_other_go(onnx_text, becomes):
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[1,2,3,4] y) {{ t = {TO_NHWC}(x)  u = {TO_NCHW}(t)  y = Relu(u) }}")
    becomes(before, "net (float[1,2,3,4] x) => (float[1,2,3,4] y) { y = Relu(x) }", transposes.RULE)


def test_two_transposes_become_one(onnx_text, becomes):
    # [0,2,3,1] turns 1x2x3x4 into 1x3x4x2; [3,2,1,0] turns that into 2x4x3x1: together axis 1, 3, 2, 0
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[2,4,3,1] y) {{ t = {TO_NHWC}(x)  y = Transpose(t) }}")
    becomes(before, "net (float[1,2,3,4] x) => (float[2,4,3,1] y) { y = Transpose<perm=[1,3,2,0]>(x) }", transposes.RULE)


def test_the_first_of_two_transposes_stays_for_others_who_use_it(onnx_text, becomes):
    text = "net (float[1,2,3,4] x) => (float[1,2,3,4] y, float[1,3,4,2] z) {{ t = {turn}(x)  {y}  z = Relu(t) }}"
    before = onnx_text(text.format(turn=TO_NHWC, y=f"u = {TO_NCHW}(t)  y = Tanh(u)"))
    becomes(before, text.format(turn=TO_NHWC, y="y = Tanh(x)"), transposes.RULE)


def test_an_input_turned_twice_into_an_output_keeps_both_names(onnx_text, becomes):
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[1,2,3,4] y) {{ t = {TO_NHWC}(x)  y = {TO_NCHW}(t) }}")
    becomes(before, "net (float[1,2,3,4] x) => (float[1,2,3,4] y) { y = Transpose<perm=[0,1,2,3]>(x) }", transposes.RULE)


# --- regions


def test_transposes_around_elementwise_operators_cancel(onnx_text, becomes, rng):
    body = "t = {a}(x)  m = Mul(t, s)  b = Add(m, c)  r = Relu(b)  u = {b}(r)  y = Conv(u, w)"
    constants = {"s": rng.normal(size=2), "c": 0.5, "w": rng.normal(size=(3, 2, 1, 1))}
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[1,3,3,4] y) {{ {body.format(a=TO_NHWC, b=TO_NCHW)} }}", **constants)
    after = "net (float[1,2,3,4] x) => (float[1,3,3,4] y) { m = Mul(x, s)  b = Add(m, c)  r = Relu(b)  y = Conv(r, w) }"
    result = becomes(before, after, *REGION)
    scale = next(onnx.numpy_helper.to_array(tensor) for tensor in result.graph.initializer if tensor.name == "s")
    np.testing.assert_array_equal(scale.shape, (1, 2, 1, 1))


def test_a_residual_sum_of_two_turned_branches_needs_no_transpose(onnx_text, becomes, rng):
    body = (
        f"c = Conv(x, w)  t = {TO_NHWC}(c)  r = Relu(t)  u = {TO_NCHW}(r)  d = Conv(u, w)  v = {TO_NHWC}(d)  a = Add(r, v)  k = {TO_NCHW}(a)"
        "  y = Conv(k, w)"
    )
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[1,2,3,4] y) {{ {body} }}", w=rng.normal(size=(2, 2, 1, 1)))
    after = "c = Conv(x, w)  r = Relu(c)  d = Conv(r, w)  a = Add(r, d)  y = Conv(a, w)"
    becomes(before, f"net (float[1,2,3,4] x) => (float[1,2,3,4] y) {{ {after} }}", *REGION)


@pytest.mark.parametrize(
    ("inner", "moved", "constants", "after_shape"),
    [
        ("i = Concat<axis=3>(t, t)", "i = Concat<axis=1>(x, x)", {}, "1,4,3,4"),
        ("i = Softmax<axis=-1>(t)", "i = Softmax<axis=1>(x)", {}, "1,2,3,4"),
        ("i = Pad(t, k)", "i = Pad(x, k)", {"k": np.array([0, 1, 2, 0, 0, 0, 1, 0])}, "1,2,4,7"),
        ("i = ReduceMax(t, k)", "i = ReduceMax(x, k)", {"k": np.array([1, 2])}, "1,2,1,1"),
        ("i = Slice(t, a, b, k)", "i = Slice(x, a, b, k)", {"a": np.array([1]), "b": np.array([3]), "k": np.array([1])}, "1,2,2,4"),
        ("i = Slice(t, a, b)", "i = Slice(x, a, b, k)", {"a": np.array([0, 1]), "b": np.array([1, 3])}, "1,2,2,4"),
        ("i = Resize(t, , k)", "i = Resize(x, , k)", {"k": np.float32([1, 2, 3, 1])}, "1,2,6,12"),
        ("i = Tile(t, k)", "i = Tile(x, k)", {"k": np.array([1, 2, 1, 3])}, "1,6,6,4"),
        ("i = PRelu(t, k)", "i = PRelu(x, k)", {"k": np.float32([0.1, 0.2])}, "1,2,3,4"),
        ("i = Clip(t, k)", "i = Clip(x, k)", {"k": np.float32(0)}, "1,2,3,4"),
    ],
    ids=["Concat", "Softmax", "Pad", "ReduceMax", "Slice", "Slice without axes", "Resize", "Tile", "PRelu", "Clip"],
)
def test_operators_that_name_axes_are_told_the_new_ones(onnx_text, becomes, inner, moved, constants, after_shape):
    text = f"net (float[1,2,3,4] x) => (float[{after_shape}] y) {{ t = {TO_NHWC}(x)  {inner}  y = {TO_NCHW}(i) }}"
    after = f"net (float[1,2,3,4] x) => (float[{after_shape}] y) {{ {moved.replace('i =', 'y =')} }}"
    becomes(onnx_text(text, **constants), after, *REGION)


def test_split_moves_with_all_its_outputs(onnx_text, becomes):
    body = f"t = {TO_NHWC}(x)  a, b = Split<axis=3, num_outputs=2>(t)  u = {TO_NCHW}(a)  v = {TO_NCHW}(b)  y = Add(u, v)"
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[1,1,3,4] y) {{ {body} }}")
    after = "net (float[1,2,3,4] x) => (float[1,1,3,4] y) { a, b = Split<axis=1, num_outputs=2>(x)  y = Add(a, b) }"
    becomes(before, after, *REGION)


def test_one_transpose_after_two_branches_replaces_one_on_each(onnx_text, becomes, rng):
    body = f"c = Conv(x, w)  t = {TO_NHWC}(c)  d = Conv(x, w)  u = {TO_NHWC}(d)  y = Add(t, u)"
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[1,3,4,2] y) {{ {body} }}", w=rng.normal(size=(2, 2, 1, 1)))
    after = f"c = Conv(x, w)  d = Conv(x, w)  a = Add(c, d)  y = {TO_NHWC}(a)"
    becomes(before, f"net (float[1,2,3,4] x) => (float[1,3,4,2] y) {{ {after} }}", *REGION)


def test_an_output_of_the_graph_inside_a_region_keeps_name_and_order(onnx_text, becomes, rng):
    body = f"t = {TO_NHWC}(x)  r = Relu(t)  u = {TO_NCHW}(r)  y = Conv(u, w)  p = {TO_NHWC}(y)  z = Add(r, p)  v = {TO_NCHW}(z)  q = Conv(v, w)"
    outputs = "float[1,2,3,4] q, float[1,3,4,2] z"
    before = onnx_text(f"net (float[1,2,3,4] x) => ({outputs}) {{ {body} }}", w=rng.normal(size=(2, 2, 1, 1)))
    after = f"r = Relu(x)  y = Conv(r, w)  a = Add(r, y)  z = {TO_NHWC}(a)  q = Conv(a, w)"
    becomes(before, f"net (float[1,2,3,4] x) => ({outputs}) {{ {after} }}", *REGION)


def test_a_transpose_between_a_convolution_and_its_activation_goes_behind(onnx_text, becomes, rng):
    body = f"c = Conv(x, w)  t = {TO_NHWC}(c)  b = Add(t, k)  s = Sigmoid(b)  y = Mul(b, s)"
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[1,3,4,2] y) {{ {body} }}", w=rng.normal(size=(2, 2, 1, 1)), k=rng.normal(size=2))
    after = f"c = Conv(x, w)  b = Add(c, k)  s = Sigmoid(b)  m = Mul(b, s)  y = {TO_NHWC}(m)"
    becomes(before, f"net (float[1,2,3,4] x) => (float[1,3,4,2] y) {{ {after} }}", *REGION)


def test_the_one_transpose_of_an_nhwc_input_stays(onnx_text, stays, rng):
    text = f"net (float[1,3,4,2] x) => (float[1,2,3,4] y) {{ m = Mul(x, s)  t = {TO_NCHW}(m)  r = Relu(t)  y = Conv(r, w) }}"
    stays(onnx_text(text, s=2.0, w=rng.normal(size=(2, 2, 1, 1))), *REGION)


def test_transposes_stay_around_operators_that_mix_ranks(onnx_text, stays):
    text = f"net (float[1,2,3,4] x, float[4,2] z) => (float[1,2,3,4] y) {{ t = {TO_NHWC}(x)  a = Add(t, z)  y = {TO_NCHW}(a) }}"
    stays(onnx_text(text), *REGION)


# --- reductions


def test_a_mean_that_drops_its_axes_needs_no_transpose_before_it(onnx_text, becomes):
    before = onnx_text(f"net (float[1,2,3,4] x) => (float[1,2] y) {{ t = {TO_NHWC}(x)  y = ReduceMean<keepdims=0>(t, k) }}", k=np.array([1, -2]))
    becomes(before, "net (float[1,2,3,4] x) => (float[1,2] y) { y = ReduceMean<keepdims=0>(x, k) }", transpose_reduce.RULE)


def test_a_mean_whose_axes_would_change_their_order_keeps_its_transpose(onnx_text, stays):
    text = f"net (float[1,2,3,4] x) => (float[1,4,2] y) {{ t = {TO_NHWC}(x)  y = ReduceMean<keepdims=0>(t, k) }}"
    stays(onnx_text(text, k=np.array([1])), transpose_reduce.RULE)


def test_a_mean_over_the_picture_becomes_global_average_pool(onnx_text, becomes):
    kept = onnx_text("net (float[1,2,3,4] x) => (float[1,2,1,1] y) { y = ReduceMean(x, k) }", k=np.array([-1, 2]))
    becomes(kept, "net (float[1,2,3,4] x) => (float[1,2,1,1] y) { y = GlobalAveragePool(x) }", reduce_mean.RULE)
    dropped = onnx_text("net (float[1,2,3,4] x) => (float[1,2] y) { y = ReduceMean<keepdims=0>(x, k) }", k=np.array([2, 3]))
    becomes(dropped, "net (float[1,2,3,4] x) => (float[1,2] y) { p = GlobalAveragePool(x)  y = Flatten<axis=1>(p) }", reduce_mean.RULE)


@pytest.mark.parametrize("axes", [[1], [1, 2], [2], [1, 2, 3]])
def test_a_mean_over_other_axes_stays(onnx_text, stays, axes):
    stays(onnx_text("net (float[2,3,4,5] x) => (float[a,b,c,d] y) { y = ReduceMean(x, k) }", k=np.array(axes)), reduce_mean.RULE)


def test_a_mean_over_words_stays(onnx_text, stays):
    stays(onnx_text("net (float[2,3,4] x) => (float[2,3,1] y) { y = ReduceMean(x, k) }", k=np.array([2])), reduce_mean.RULE)


# --- reshapes


@pytest.mark.parametrize(
    "body",
    [
        "r = Reshape(x, s)  y = Flatten(r)",
        "r = Squeeze(x, k)  y = Reshape(r, t)",
        "r = Flatten<axis=2>(x)  y = Reshape(r, t)",
        "r = Transpose<perm=[0,3,1,2]>(x)  y = Reshape(r, t)",
    ],
)
def test_consecutive_reshapes_become_one(onnx_text, becomes, body):
    constants = {"s": np.array([2, 2, -1]), "t": np.array([2, 12]), "k": np.array([3])}
    used = {name: value for name, value in constants.items() if f" {name})" in body}
    before = onnx_text(f"net (float[2,3,4,1] x) => (float[2,12] y) {{ {body} }}", **used)
    becomes(before, "net (float[2,3,4,1] x) => (float[2,12] y) { y = Reshape(x, t) }", reshapes.RULE)


def test_reshapes_that_undo_each_other_go(onnx_text, becomes):
    before = onnx_text("net (float[2,3] x) => (float[2,3] y) { u = Unsqueeze(x, k)  s = Squeeze(u, k)  y = Relu(s) }", k=np.array([1]))
    becomes(before, "net (float[2,3] x) => (float[2,3] y) { y = Relu(x) }", reshapes.RULE)


def test_a_reshape_with_an_open_batch_keeps_it_open(onnx_text, becomes):
    before = onnx_text("net (float[n,3,4] x) => (float[n,12] y) { u = Unsqueeze(x, k)  y = Flatten(u) }", k=np.array([1]))
    result = onnx_text("net (float[n,3,4] x) => (float[n,12] y) { y = Reshape(x, s) }")
    from edgekit.graph.edit import Graph
    from edgekit.graph.rules import apply_rules
    from edgekit.graph.shapes import infer_shapes

    graph = Graph(infer_shapes(before))
    assert apply_rules(graph, [reshapes.RULE]) == {"reshapes": 1}
    fused = graph.finish()
    assert [node.op_type for node in fused.graph.node] == [node.op_type for node in result.graph.node]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(fused.graph.initializer[0]), [-1, 12])


def test_a_transpose_that_really_moves_numbers_stays_before_a_reshape(onnx_text, stays):
    text = f"net (float[1,2,3,4] x) => (float[1,24] y) {{ t = {TO_NHWC}(x)  y = Flatten(t) }}"
    stays(onnx_text(text), reshapes.RULE, reshape_transpose.RULE)


def test_a_reshape_of_one_channel_is_written_as_transpose(onnx_text, becomes):
    first = onnx_text("net (float[1,28,28,1] x) => (float[1,1,28,28] y) { y = Reshape(x, s) }", s=np.array([1, 1, 28, 28]))
    becomes(first, f"net (float[1,28,28,1] x) => (float[1,1,28,28] y) {{ y = {TO_NCHW}(x) }}", reshape_transpose.RULE)
    back = onnx_text("net (float[1,1,28,28] x) => (float[1,28,28,1] y) { y = Reshape(x, s) }", s=np.array([1, 28, 28, 1]))
    becomes(back, f"net (float[1,1,28,28] x) => (float[1,28,28,1] y) {{ y = {TO_NHWC}(x) }}", reshape_transpose.RULE)


def test_a_reshape_of_one_pixel_stays(onnx_text, stays):
    stays(onnx_text("net (float[1,8,1,1] x) => (float[1,1,1,8] y) { y = Reshape(x, s) }", s=np.array([1, 1, 1, 8])), reshape_transpose.RULE)


def test_a_reshape_that_only_turns_channels_cancels_with_the_transpose_behind_it(onnx_text, becomes):
    before = onnx_text(
        """net (float[1,5,1,1] x) => (float[1,5,1,1] y) {
        t = Reshape(x, there)  a = Add(t, k)  u = Transpose<perm=[0,3,1,2]>(a)  r = Relu(u)
        v = Reshape(r, there)  s = Sigmoid(v)  y = Reshape(s, back)
    }""",
        there=np.array([1, 1, 1, 5]),
        back=np.array([1, 5, 1, 1]),
        k=np.float32(0.5),
    )
    after = "net (float[1,5,1,1] x) => (float[1,5,1,1] y) { a = Add(x, k)  r = Relu(a)  y = Sigmoid(r) }"
    becomes(before, after, turned.RULE, transposes.RULE, transpose_region.RULE, reshapes.RULE)


def test_a_reshape_of_one_channel_or_of_pixels_stays(onnx_text, stays):
    stays(onnx_text("net (float[1,1,5,1] x) => (float[1,5,1,1] y) { y = Reshape(x, s) }", s=np.array([1, 5, 1, 1])), turned.RULE)
    stays(onnx_text("net (float[1,1,1,1] x) => (float[1,1,1,1] y) { y = Reshape(x, s) }", s=np.array([1, 1, 1, 1])), turned.RULE)

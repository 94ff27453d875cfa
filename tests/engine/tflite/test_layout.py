"""Channels last inside, and no Transpose that the model did not ask for."""

import numpy as np
import pytest

from edgekit.engine.tflite.orders import Order, channels_last, flattened, through_reshape

RNG = np.random.default_rng(5)
LAST = {"x": "nchw", "y": "nchw"}


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


CNN = "c = Conv<pads=[1,1,1,1]>(x, v) r = Relu(c) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)"
NET = {"v": normal(4, 3, 3, 3)}


def test_a_cnn_has_no_transpose(graph, assert_same):
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} g = GlobalAveragePool(p) f = Flatten(g) y = Gemm(f, w, b) }}"

    built = assert_same(graph(text, w=normal(4, 5), b=normal(5), **NET))

    assert built.engine.details["transposes"] == 0
    assert built.engine.inputs[0].shape == (1, 8, 6, 3)
    assert built.engine.inputs[0].layout == "nhwc"


@pytest.mark.parametrize(
    "text",
    [
        "g = GlobalAveragePool(p) y = Flatten(g)",
        "g = GlobalAveragePool(p) y = Reshape(g, s)",
        "g = ReduceMean(p, a) y = Squeeze(g, a)",
    ],
)
@pytest.mark.parametrize("in_integers", [False, True])
def test_a_mean_whose_axes_are_dropped_needs_no_reshape(text, in_integers, graph, quantize, assert_same, assert_close_in_steps):
    constants = {**NET, "s": np.array([0, -1]), "a": np.array([-1, 2])}
    proto = graph(f"(float[1,3,8,6] x) => (y) {{ {CNN} {text} }}", **constants)

    built = assert_close_in_steps(quantize(proto)) if in_integers else assert_same(proto)

    assert {key: count for key, count in built.operators.items() if key not in ("QUANTIZE", "DEQUANTIZE")} == {
        "CONV_2D": 1,
        "MAX_POOL_2D": 1,
        "MEAN": 1,
    }
    assert built.runs_delegated()


def test_a_mean_that_is_an_output_itself_keeps_its_axes(graph, assert_same):
    built = assert_same(graph("(float[1,3,8,6] x) => (g, y) { g = GlobalAveragePool(x) y = Flatten(g) }"))

    assert built.operators == {"MEAN": 1, "RESHAPE": 1}


@pytest.mark.parametrize(
    "between",
    ["f = Flatten(p)", "a = Flatten(p) f = Relu(a)", "f = Reshape(p, s)", "a = Reshape(p, s) f = Mul(a, k)", "a = Flatten(p) f = Dropout(a)"],
)
@pytest.mark.parametrize("dense", ["Gemm(f, w, b)", "Gemm<transB=1>(f, t, b)", "MatMul(f, w)"])
def test_a_flattened_picture_is_not_moved_but_the_weights_are_sorted(between, dense, graph, assert_same):
    text = f"(float[2,3,8,6] x) => (y) {{ {CNN} {between} y = {dense} }}"
    weights = normal(48, 5)

    built = assert_same(graph(text, w=weights, t=weights.T.copy(), b=normal(5), s=np.int64([2, 48]), k=normal(1, 48), **NET))

    assert built.engine.details["transposes"] == 0


def test_a_flattened_picture_read_by_anything_else_is_sorted_once(graph, assert_same):
    text = f"(float[1,3,8,6] x) => (y, z) {{ {CNN} f = Flatten(p) y = Gemm(f, w) z = Softmax(f) }}"

    assert assert_same(graph(text, w=normal(48, 5), **NET)).engine.details["transposes"] == 1


def test_pictures_flattened_in_an_order_of_their_own_are_not_moved(graph, assert_same):
    """MTCNN's nets permute to (width, height, channels) before their first dense layer."""
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} t = Transpose<perm=[0,3,2,1]>(p) f = Reshape(t, s) y = Gemm(f, w) }}"

    assert assert_same(graph(text, w=normal(48, 5), s=np.int64([1, 48]), **NET)).engine.details["transposes"] == 0


def test_what_tf2onnx_puts_around_a_keras_net_cancels(graph, assert_same):
    text = f"(float[1,8,6,3] k) => (y) {{ x = Transpose<perm=[0,3,1,2]>(k) {CNN} y = Transpose<perm=[0,2,3,1]>(p) }}"

    built = assert_same(graph(text, **NET), {"k": "nhwc", "y": "nhwc"})

    assert built.engine.details["transposes"] == 0
    assert built.engine.inputs[0].shape == (1, 8, 6, 3)


def test_channels_last_arithmetic_between_convolutions_is_free(graph, assert_same):
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} t = Transpose<perm=[0,2,3,1]>(p) a = Add(t, k) b = Transpose<perm=[0,3,1,2]>(a) y = Conv(b, w) }}"

    assert assert_same(graph(text, k=normal(4), w=normal(2, 4, 1, 1), **NET), LAST).engine.details["transposes"] == 0


@pytest.mark.parametrize("between", ["r = Reshape(d, s)", "e = Sigmoid(d) r = Reshape(e, s)", "u = Reshape(d, s) r = LeakyRelu(u)"])
@pytest.mark.parametrize(
    "dense", ["d = Gemm(x, w, b)", "d = Gemm<transB=1>(x, t)", "m = MatMul(x, w) d = Add(m, b)", "m = MatMul(x, w) a = Add(m, b) d = Relu(a)"]
)
def test_a_decoder_computes_its_picture_as_it_is_stored(dense, between, graph, assert_same):
    text = f"(float[2,5] x) => (y) {{ {dense} {between} y = ConvTranspose<strides=[2,2]>(r, k) }}"
    weights = normal(5, 24)
    constants = {"w": weights, "t": weights.T.copy(), "b": normal(24), "s": np.int64([2, 4, 3, 2]), "k": normal(4, 3, 2, 2)}

    built = assert_same(graph(text, **constants), LAST)

    assert built.engine.details["transposes"] == 0


def test_rows_that_another_layer_reads_too_are_not_sorted(graph, assert_same):
    text = "(float[2,5] x) => (y, z) { d = Gemm(x, w) z = Softmax(d) r = Reshape(d, s) y = Conv(r, k) }"

    assert_same(graph(text, w=normal(5, 24), s=np.int64([2, 4, 3, 2]), k=normal(3, 4, 1, 1)), LAST)


def test_squeeze_and_excite_by_dense_layers_is_free(graph, assert_same):
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} m = ReduceMean<keepdims=0>(p, a) d = Gemm(m, w) s = Sigmoid(d) u = Unsqueeze(s, a) y = Mul(p, u) }}"

    assert assert_same(graph(text, a=np.int64([2, 3]), w=normal(4, 4), **NET), LAST).engine.details["transposes"] == 0


def test_a_stream_that_dense_layers_read_and_write_again_and_again_is_turned_where_it_begins(graph, assert_same):
    """MobileViT's patches: what goes through every block costs one Transpose before the first, none around each product."""
    blocks = " ".join(f"n{i} = LayerNormalization(r{i}, g, b) m{i} = MatMul(n{i}, w) r{i + 1} = Add(r{i}, m{i})" for i in range(3))
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} q = Reshape(p, s) t = Transpose<perm=[0,3,2,1]>(q) r0 = Reshape(t, f) {blocks} y = Relu(r3) }}"
    shapes = {"s": np.int64([1, 4, 6, 2]), "f": np.int64([2, 6, 4])}

    built = assert_same(graph(text, w=normal(4, 4), g=normal(4), b=normal(4), **shapes, **NET))

    # One for pixels that are taken apart into pairs, and one for the pairs.
    assert built.engine.details["transposes"] <= 2


def test_rows_of_a_feature_map_keep_their_channels_last(graph, assert_same):
    """Detection heads reshape (N, C, H, W) to (N, C, HW) and transpose to (N, HW, C), which is how it is stored."""
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} m = Reshape(p, s) t = Transpose<perm=[0,2,1]>(m) y = Softmax(t) }}"

    assert assert_same(graph(text, s=np.int64([1, 4, 12]), **NET)).engine.details["transposes"] == 0


def test_a_reshape_that_mixes_channels_and_pixels_needs_one_transpose(graph, assert_same):
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} m = Reshape(p, s) y = Relu(m) }}"

    assert assert_same(graph(text, s=np.int64([1, 2, 24]), **NET)).engine.details["transposes"] == 1


def test_channel_shuffle_is_computed_right(graph, assert_same):
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} m = Reshape(p, s) t = Transpose<perm=[0,2,1,3,4]>(m) u = Reshape(t, q) y = Conv(u, w) }}"

    built = assert_same(graph(text, s=np.int64([1, 2, 2, 4, 3]), q=np.int64([1, 4, 4, 3]), w=normal(2, 4, 1, 1), **NET), LAST)

    assert built.engine.details["transposes"] == 1


@pytest.mark.parametrize(
    "between", ["Concat<axis=1>(p, p)", "Pad(p, pads)", "Slice(p, o, e, a)", "Softmax<axis=1>(p)", "Add(p, k)", "Div(p, k)", "PRelu(p, k)"]
)
def test_axes_and_constants_follow_the_order(between, graph, assert_same):
    text = f"(float[1,3,8,6] x) => (y) {{ {CNN} y = {between} }}"
    numbers = {
        "pads": np.int64([0, 1, 2, 0, 0, 0, 1, 1]),
        "o": np.int64([1, 1]),
        "e": np.int64([3, 2]),
        "a": np.int64([1, 3]),
        "k": np.abs(normal(4, 1, 1)) + 1,
    }

    assert assert_same(graph(text, **numbers, **NET), LAST).engine.details["transposes"] == 0


def test_io_layout_nchw_puts_a_transpose_at_the_port(graph, assert_same):
    proto = graph(f"(float[1,3,8,6] x) => (y) {{ {CNN} y = Conv(p, w) }}", w=normal(2, 4, 1, 1), **NET)

    built = assert_same(proto, LAST, io_layout="nchw")

    assert built.engine.details["transposes"] == 2
    assert [(port.shape, port.layout) for port in (*built.engine.inputs, *built.engine.outputs)] == [((1, 3, 8, 6), "nchw"), ((1, 2, 4, 3), "nchw")]


def test_an_input_that_is_no_picture_stays_as_the_source_has_it(graph, assert_same):
    built = assert_same(graph(f"(float[1,3,8,6] x) => (y) {{ {CNN} y = Relu(p) }}", **NET), {"x": "", "y": ""})

    assert built.engine.inputs[0].shape == (1, 3, 8, 6)
    assert built.engine.inputs[0].layout == ""


def test_int8_is_quantized_before_it_is_transposed(graph, quantize, assert_close_in_steps):
    proto = quantize(graph(f"(float[1,3,8,6] x) => (y) {{ {CNN} y = Conv(p, w) }}", w=normal(2, 4, 1, 1), **NET))

    built = assert_close_in_steps(proto, steps=2, io_layout="nchw")

    details = {detail["index"]: detail["dtype"] for detail in built.interpreter(delegate=False).get_tensor_details()}
    moved = [detail["inputs"][0] for detail in built.interpreter(delegate=False)._get_ops_details() if detail["op_name"] == "TRANSPOSE"]
    assert [details[index] for index in moved] == [np.int8, np.int8]


@pytest.mark.parametrize(
    ("before", "after", "axes", "wanted"),
    [
        ((2, 4, 3, 5), (2, 4, 15), (0, 2, 3, 1), (0, 2, 1)),
        ((2, 4, 15), (2, 4, 3, 5), (0, 2, 1), (0, 2, 3, 1)),
        ((2, 4, 3, 5), (2, 60), (0, 2, 3, 1), None),
        ((2, 4, 3, 5), (8, 15), (0, 2, 3, 1), None),
        ((1, 4, 1, 1), (1, 4), (0, 2, 3, 1), (0, 1)),
        ((1, 4), (1, 4, 1, 1), (0, 1), (0, 1, 2, 3)),
        ((2, 3, 4), (6, 4), (0, 1, 2), (0, 1)),
        ((2, 3, 4), (6, 4), (2, 0, 1), (1, 0)),
    ],
)
def test_order_after_a_reshape(before, after, axes, wanted):
    found = through_reshape(before, after, Order(axes))

    assert found == (None if wanted is None else Order(wanted))


def test_order_of_a_flattened_picture():
    assert flattened((2, 4, 3, 5), (2, 60), channels_last(4)) == Order((0, 1), (4, 3, 5), (1, 2, 0))

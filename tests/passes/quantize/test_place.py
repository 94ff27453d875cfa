import msgspec
import numpy as np

from edgekit.graph.view import View
from edgekit.passes.quantize.place import place

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


RESIDUAL = """net (float[1,4,8,8] x) => (float[1,4,8,8] y) {
    a = Conv(x, w)  r = Relu(a)
    b = Conv(r, v)
    s = Add(b, r)
    t = Relu(s)
    y = Conv(t, w)
}"""
DOWNSAMPLED = """net (float[1,4,8,8] x) => (float[1,4,8,8] y) {
    a = Conv(x, w)  r = Relu(a)
    b = Conv(r, v)
    d = Conv(x, u)
    s = Add(d, b)
    t = Relu(s)
    y = Conv(t, w)
}"""


def test_all_of_a_residual_block_is_integer_and_inner_sums_are_not_stored(proto_of, schemes):
    placed = place(View(proto_of(RESIDUAL, w=normal(4, 4, 1, 1), v=normal(4, 4, 1, 1))), schemes["x86"])

    assert placed.integer == ("Conv_0", "Conv_2", "Add_3", "Conv_5")
    assert set(placed.tensors) == {"x", "r", "b", "t", "y"}
    assert not placed.bare


def test_a_runtime_that_fuses_the_add_reads_the_convolution_before_it_unquantized(proto_of, schemes):
    placed = place(View(proto_of(RESIDUAL, w=normal(4, 4, 1, 1), v=normal(4, 4, 1, 1))), schemes["tensorrt"])

    assert placed.bare == {("Add_3", 0)}
    assert set(placed.tensors) == {"x", "r", "t"}


def test_of_two_convolutions_before_an_add_the_deeper_one_is_fused_whatever_their_order(proto_of, schemes):
    weights = {"w": normal(4, 4, 1, 1), "v": normal(4, 4, 1, 1), "u": normal(4, 4, 1, 1)}
    placed = place(View(proto_of(DOWNSAMPLED, **weights)), schemes["tensorrt"])

    assert placed.bare == {("Add_4", 1)}
    assert set(placed.tensors) == {"x", "r", "d", "t"}


def test_outputs_nobody_reads_as_integers_stay_float_if_the_scheme_says_so(proto_of, schemes):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Conv(x, w) }"
    read = place(View(proto_of(text, w=normal(4, 4, 1, 1))), msgspec.structs.replace(schemes["x86"], float_output_ops=("Conv",)))
    always = place(View(proto_of(text, w=normal(4, 4, 1, 1))), schemes["x86"])

    assert set(read.tensors) == {"x"}
    assert set(always.tensors) == {"x", "y"}


def test_what_only_moves_numbers_shares_the_scale_of_its_input(proto_of, schemes):
    text = """net (float[1,4,8,8] x) => (float[1,64] y) {
        c = Conv(x, w)  m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)  y = Reshape(m, shape)
    }"""
    placed = place(View(proto_of(text, w=normal(4, 4, 1, 1), shape=np.array([1, 64]))), schemes["x86"])

    assert placed.tensors["c"] == placed.tensors["m"] == placed.tensors["y"] != placed.tensors["x"]
    assert placed.sources[placed.tensors["c"]] == ("c",)


def test_what_only_moves_numbers_stays_float_between_float_nodes(proto_of, schemes):
    text = "net (float[1,4] x) => (float[4] y) { e = Erf(x)  r = Reshape(e, shape)  y = Exp(r) }"
    placed = place(View(proto_of(text, shape=np.array([4]))), schemes["x86"])

    assert placed.integer == ()
    assert placed.tensors == {}


def test_what_moves_numbers_towards_an_integer_node_is_integer_too(proto_of, schemes):
    text = "net (float[1,16] x) => (float[1,4,2,2] y) { r = Reshape(x, shape)  y = Conv(r, w) }"
    placed = place(View(proto_of(text, w=normal(4, 4, 1, 1), shape=np.array([1, 4, 2, 2]))), schemes["x86"])

    assert placed.integer == ("Reshape_0", "Conv_1")
    assert placed.tensors["r"] == placed.tensors["x"]


def test_inputs_of_a_concat_share_one_scale_that_holds_all_of_them(proto_of, schemes):
    text = """net (float[1,4,8,8] x) => (float[1,12,8,8] y) {
        a = Conv(x, w)  b = Conv(x, v)  y = Concat<axis=1>(a, b, k)
    }"""
    weights = {"w": normal(4, 4, 1, 1), "v": normal(4, 4, 1, 1), "k": normal(1, 4, 8, 8)}
    placed = place(View(proto_of(text, **weights)), schemes["tflite"])
    group = placed.tensors["y"]

    assert placed.tensors["a"] == placed.tensors["b"] == placed.tensors["k"] == group
    assert set(placed.sources[group]) == {"a", "b", "k"}
    assert len({place(View(proto_of(text, **weights)), schemes["x86"]).tensors[name] for name in "abky"}) == 4


def test_an_input_of_a_concat_with_a_prescribed_scale_is_converted_to_the_common_one(proto_of, schemes):
    text = "net (float[1,4,8,8] x) => (float[1,8,8,8] y) { a = Conv(x, w)  s = Sigmoid(a)  y = Concat<axis=1>(s, a) }"
    placed = place(View(proto_of(text, w=normal(4, 4, 1, 1))), schemes["tflite"])

    assert placed.converted == {("Concat_2", 0): placed.tensors["a"]}
    assert placed.fixed == {"s": (1 / 256, -128)}
    assert set(placed.sources[placed.tensors["a"]]) == {"a", "s"}


def test_inputs_of_a_concat_with_the_same_prescribed_scale_keep_it(proto_of, schemes):
    text = "net (float[1,4,8,8] x) => (float[1,8,8,8] y) { a = Sigmoid(x)  b = Sigmoid(a)  y = Concat<axis=1>(a, b) }"
    placed = place(View(proto_of(text)), schemes["tflite"])

    assert not placed.converted
    assert placed.fixed == {placed.tensors["y"]: (1 / 256, -128)}
    assert placed.tensors["a"] == placed.tensors["b"] == placed.tensors["y"]


def test_an_activation_whose_input_is_read_twice_does_not_hide_it(proto_of, schemes):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Conv(x, w)  r = Relu(a)  y = Add(a, r) }"
    placed = place(View(proto_of(text, w=normal(4, 4, 1, 1))), schemes["x86"])

    assert set(placed.tensors) == {"x", "a", "r", "y"}


def test_the_activation_of_a_float_convolution_stays_float(proto_of, schemes):
    text = "net (float[1,4,8,8] x) => (float[1,4,7,7] y) { a = ConvTranspose(x, w)  r = Relu(a)  y = Conv(r, v) }"
    scheme = msgspec.structs.replace(schemes["x86"], integer_ops=("Conv", "Relu"))
    placed = place(View(proto_of(text, w=normal(4, 4, 1, 1), v=normal(4, 4, 2, 2))), scheme)

    assert placed.integer == ("Conv_2",)
    assert set(placed.tensors) == {"r", "y"}


def test_padding_with_another_value_than_zero_stays_float(proto_of, schemes):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { p = Pad(x, pads, value)  y = Conv(p, w) }"
    weights = {"w": normal(4, 4, 3, 3), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    with_zero = place(View(proto_of(text, **weights, value=np.float32(0.0))), schemes["tflite"])
    with_other = place(View(proto_of(text, **weights, value=np.float32(-9.0))), schemes["tflite"])

    assert with_zero.integer == ("Pad_0", "Conv_1")
    assert with_other.integer == ("Conv_1",)
    assert list(with_other.left_float) == ["Pad_0"]


def test_numbers_that_are_not_float_are_left_alone(proto_of, schemes):
    text = "net (int64[4] x) => (int64[4] y) { a = Add(x, x)  y = Reshape(a, shape) }"

    assert place(View(proto_of(text, shape=np.array([4]))), schemes["tflite"]).integer == ()


SCORES = """net (float[4,8] x) => (float[4,8] y) {
    q = MatMul(x, w)  k = Transpose<perm=[1,0]>(q)  m = MatMul(q, k)  s = Mul(m, c)  p = Softmax(s)  a = MatMul(p, q)  y = Add(a, x)
}"""


def test_what_only_float_nodes_read_is_not_stored_if_its_node_can_make_float(proto_of, schemes):
    """From the scores on it is float up to the next product; the sum at the end is read by nobody."""
    ops = ("MatMul", "Mul", "Add", "Transpose")
    scheme = msgspec.structs.replace(schemes["x86"], integer_ops=ops, same_scale_ops=("Transpose",), float_output_ops=("MatMul", "Mul", "Add"))
    placed = place(View(proto_of(SCORES, w=normal(8, 8), c=np.float32(0.3))), scheme)

    assert placed.integer == ("MatMul_0", "Transpose_1", "MatMul_2", "MatMul_5")
    assert set(placed.tensors) == {"x", "q", "k", "p"}


def test_a_prescribed_scale_holds_for_a_float_node_between_integers_alone(proto_of, schemes):
    """ONNX Runtime fuses DequantizeLinear, Softmax, QuantizeLinear whatever the scheme says of Softmax."""
    scheme = msgspec.structs.replace(schemes["x86"], integer_ops=("MatMul", "Mul"), fixed_output={"Softmax": (1 / 256, 0)})
    proto = proto_of(SCORES, w=normal(8, 8), c=np.float32(0.3))
    between = place(View(proto), scheme)
    behind_float = place(View(proto), msgspec.structs.replace(scheme, float_output_ops=("MatMul", "Mul")))

    assert between.fixed == {"p": (1 / 256, 0)}
    assert behind_float.fixed == {}
    assert "p" in behind_float.tensors


def test_an_average_of_padding_that_onnx_runtime_computes_wrongly_in_integers_stays_float(proto_of, schemes):
    text = """net (float[1,2,8,8] x) => (float[1,2,5,5] y) {
        y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1>(x)
    }"""
    for scheme in ("x86", "tflite"):
        placed = place(View(proto_of(text)), schemes[scheme])
        assert placed.tensors == {}
        assert list(placed.left_float) == ["AveragePool_0"]

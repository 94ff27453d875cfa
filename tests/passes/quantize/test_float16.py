import ml_dtypes
import msgspec
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgekit.graph import onnx_file
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.target import Scheme, read_target, target_files

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture
def halved(model_of, schemes, tmp_path):
    """A Model in half precision, as the scheme of a target says, its proto, and the float Model."""

    def make(text, target, **weights):
        model = model_of(text, **weights)
        (tmp_path / "half").mkdir()
        half = Quantize(mode="float16")(model, Supplies(scheme=schemes[target]), tmp_path / "half")
        onnx.checker.check_model(str(half.path), full_check=True)
        return half, onnx.load(half.path), model

    return make


CONV = "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w, b)  y = Clip(c, low, high) }"
WEIGHTS = {"w": normal(4, 3, 3, 3), "b": normal(4), "low": np.float32(0.0), "high": np.float32(6.0)}


def types(proto):
    return {one.name: one.data_type for one in proto.graph.initializer}


def test_weights_become_float16_with_a_cast_behind_and_small_constants_stay(halved, run, sqnr_db):
    half, proto, model = halved(CONV, "tflite", **WEIGHTS)
    x = normal(1, 3, 8, 8)

    assert [node.op_type for node in proto.graph.node] == ["Cast", "Conv", "Clip"]
    assert types(proto) == {"w/half": onnx.TensorProto.FLOAT16, **dict.fromkeys(["b", "low", "high"], onnx.TensorProto.FLOAT)}
    assert sqnr_db(run(model, x=x)[0], run(half, x=x)[0]) > 55.0
    assert half.history[-1].did["float16_weights"] == 1


def test_a_graph_becomes_float16_between_casts_at_its_ports(halved, run, sqnr_db):
    half, proto, model = halved(CONV, "tensorrt", **WEIGHTS)
    x = normal(1, 3, 8, 8)

    assert [node.op_type for node in proto.graph.node] == ["Cast", "Conv", "Clip", "Cast"]
    assert set(types(proto).values()) == {onnx.TensorProto.FLOAT16}
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert proto.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [value.name for value in (proto.graph.input[0], proto.graph.output[0])] == ["x", "y"]
    assert sqnr_db(run(model, x=x)[0], run(half, x=x)[0]) > 55.0


def test_weights_beyond_float16_stay_float32_and_are_named(halved):
    half, proto, _ = halved("net (float[1,16] x) => (float[1,4] y) { y = MatMul(x, w) }", "tflite", w=normal(16, 4) * 1e6)

    assert types(proto) == {"w": onnx.TensorProto.FLOAT}
    assert "beyond float16" in half.history[-1].did["kept_float32"]["w"]


def test_a_node_whose_constant_float16_cannot_hold_stays_float32_in_a_float16_graph(halved, run):
    text = "net (float[1,4] x) => (float[1,4] y) { a = Mul(x, w)  b = Add(a, tiny)  y = Sqrt(b) }"
    half, proto, _ = halved(text, "tensorrt", w=normal(4), tiny=np.float32(1e-12))

    assert [node.op_type for node in proto.graph.node] == ["Cast", "Mul", "Cast", "Add", "Cast", "Sqrt", "Cast"]
    assert types(proto)["tiny"] == onnx.TensorProto.FLOAT
    assert "would become 0" in half.history[-1].did["kept_float32"]["Add_1"]
    assert run(half, x=np.zeros((1, 4), np.float32))[0].min() > 0.0


def test_inputs_that_must_be_float32_stay_so(halved, run, sqnr_db):
    text = 'net (float[1,3,4,4] x) => (float[1,3,8,8] y) { y = Resize<mode="linear">(x, , scales) }'
    half, proto, model = halved(text, "tensorrt", scales=np.array([1.0, 1.0, 2.0, 2.0], np.float32))
    x = normal(1, 3, 4, 4)

    assert types(proto)["scales"] == onnx.TensorProto.FLOAT
    assert sqnr_db(run(model, x=x)[0], run(half, x=x)[0]) > 55.0


def test_integers_and_what_is_made_of_them_pass_through(halved, run):
    text = (
        "net (float[1,8] x) => (float[1,2] y, int64[1] i) { i = ArgMax<axis=1, keepdims=0>(x)  c = Cast<to=1>(i)  m = MatMul(x, w)  y = Add(m, c) }"
    )
    half, _, model = halved(text, "tensorrt", w=normal(8, 2))
    x = np.eye(8, dtype=np.float32)[3:4]

    assert run(half, x=x)[1].tolist() == [3]
    np.testing.assert_allclose(run(half, x=x)[0], run(model, x=x)[0], rtol=2e-3)


def test_a_subgraph_computes_in_float32(halved, run):
    text = """net (float[1,4] x) => (float[1,4] y) {
        a = Mul(x, w)
        s = ReduceSum<keepdims=0>(a)
        p = Greater(s, zero)
        y = If(p) <then_branch = t () => (float[1,4] u) { u = Relu(a) }, else_branch = e () => (float[1,4] v) { v = Neg(a) }>
    }"""
    half, _, model = halved(text, "tensorrt", w=normal(4), zero=np.float32(0.0))
    x = normal(1, 4)

    np.testing.assert_allclose(run(half, x=x)[0], run(model, x=x)[0], rtol=2e-3)


def test_an_output_that_is_also_read_inside_keeps_its_name(halved, run):
    half, proto, model = halved("net (float[1,4] x) => (float[1,4] y, float[1,4] z) { y = Mul(x, w)  z = Relu(y) }", "tensorrt", w=normal(4))
    x = normal(1, 4)

    assert [value.name for value in proto.graph.output] == ["y", "z"]
    for found, expected in zip(run(half, x=x), run(model, x=x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-3)


@pytest.fixture
def brained(model_of, tmp_path):
    """The proto of a Model that computes in bfloat16, what was done, and the float Model."""

    def make(text, **weights):
        model = model_of(text, **weights)
        (tmp_path / "brain").mkdir()
        made = Quantize(mode="bfloat16")(model, Supplies(scheme=Scheme(bfloat16=True)), tmp_path / "brain")
        return onnx.load(made.path), made.history[-1].did, model

    return make


def test_a_graph_becomes_bfloat16_between_casts_and_its_weights_are_those_of_ml_dtypes(brained):
    proto, did, _ = brained(CONV, **WEIGHTS)

    assert [node.op_type for node in proto.graph.node] == ["Cast", "Conv", "Clip", "Cast"]
    assert set(types(proto).values()) == {onnx.TensorProto.BFLOAT16}
    assert [value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)] == [onnx.TensorProto.FLOAT] * 2
    (stored,) = [onnx.numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == "w/half"]
    np.testing.assert_array_equal(stored, WEIGHTS["w"].astype(ml_dtypes.bfloat16))
    assert did["bfloat16_nodes"] == 2


def test_what_is_beyond_float16_is_within_bfloat16(brained):
    weights = {"w": normal(16, 4) * 1e6}
    text = "net (float[1,16] x) => (float[1,4] y) { y = MatMul(x, w) }"
    proto, did, model = brained(text, **weights)
    x = normal(1, 16)

    (wanted,), (got,) = (ReferenceEvaluator(one).run(None, {"x": x}) for one in (onnx.load(model.path), proto))

    assert did["kept_float32"] == {}
    assert 10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()) > 35.0  # 8 bits


def test_numbers_that_bfloat16_ends_before_stay_float32(brained):
    proto, did, _ = brained("net (float[1,16] x) => (float[1,16] y) { y = Min(x, most) }", most=np.float32(np.finfo(np.float32).max))

    assert "bfloat16, which ends at 3.38953e+38" in did["kept_float32"]["Min_0"]
    assert [node.op_type for node in proto.graph.node] == ["Min"]


LARGE = """net (float[1,4] x) => (float[1,4] y) {
  [small] a = Mul(x, w)  [large] b = Mul(a, k)  [down] c = Mul(b, i)  [last] y = Add(c, w) }"""


def fed(model_of, schemes, samples_of, tmp_path, text, values, **weights):
    """The float16 Model for TensorRT of a graph that samples were seen to go through, and its float Model."""
    model = model_of(text, **weights)
    out = tmp_path / "fed"
    out.mkdir()
    samples = samples_of(x=[np.full((1, 4), value, np.float32) for value in values])
    return Quantize(mode="float16")(model, Supplies(scheme=schemes["tensorrt"], samples=samples), out), model


def test_what_overflows_on_the_samples_stays_float32_and_is_named(model_of, schemes, samples_of, tmp_path, run):
    constants = {"w": np.ones(4, np.float32), "k": np.float32(1000.0), "i": np.float32(0.001)}

    half, model = fed(model_of, schemes, samples_of, tmp_path, LARGE, (1.0, -30.0, 20.0, 5.0), **constants)
    proto, did = onnx.load(half.path), half.history[-1].did

    # b reaches 30000 at most, of which four times is beyond 65504: both who makes and who reads it stay float32
    assert set(did["kept_float32"]) == {"large", "down"}
    assert did["kept_float32"]["large"].startswith("b reached 30000 on the samples")
    assert did["samples"] > 0
    assert [node.op_type for node in proto.graph.node] == ["Cast", "Mul", "Cast", "Mul", "Mul", "Cast", "Add", "Cast"]
    x = np.full((1, 4), 200.0, np.float32)  # 200000 between: float16 would give infinity
    np.testing.assert_allclose(run(half, x=x)[0], run(model, x=x)[0], rtol=2e-3)


def test_what_squares_on_its_way_stays_float32_though_neither_side_is_large(model_of, schemes, samples_of, tmp_path):
    text = "net (float[1,4] x) => (float[1,1] y) { [norm] y = ReduceL2<keepdims = 1>(x) }"

    half, _ = fed(model_of, schemes, samples_of, tmp_path, text, (100.0, 100.0))

    assert half.history[-1].did["kept_float32"] == {"norm": "it squares x, which reached 100 on the samples: beyond float16, which ends at 65504"}


def test_an_infinite_mask_is_meant_so_and_keeps_nothing_in_float32(model_of, schemes, samples_of, tmp_path):
    text = "net (float[1,4] x) => (float[1,4] y) { [mask] a = Add(x, m)  [soft] y = Softmax(a) }"
    mask = np.array([0.0, -np.inf, 0.0, 0.0], np.float32)

    half, _ = fed(model_of, schemes, samples_of, tmp_path, text, (1.0, 2.0), m=mask)

    assert half.history[-1].did["kept_float32"] == {}


def test_without_samples_nothing_is_known_of_overflow(halved):
    constants = {"w": np.ones(4, np.float32), "k": np.float32(1000.0), "i": np.float32(0.001)}

    half, _, _ = halved(LARGE, "tensorrt", **constants)

    assert half.history[-1].did["kept_float32"] == {}
    assert "samples" not in half.history[-1].did


REST = "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w, b)  t = Tanh(c)  [scale] y = Mul(t, k) }"


def rest(model_of, schemes, samples_of, tmp_path, **constants):
    scheme = msgspec.structs.replace(schemes["tensorrt"], float_rest="float16")
    model = model_of(REST, w=normal(4, 3, 3, 3), b=normal(4), **constants)
    out = tmp_path / "rest"
    out.mkdir()
    samples = samples_of(x=[normal(1, 3, 8, 8) for _ in range(20)])
    made = Quantize(mode="static", weight_bits=8, activation_bits=8)(model, Supplies(scheme=scheme, samples=samples), out)
    onnx.checker.check_model(str(made.path), full_check=True)
    return made, onnx.load(made.path), model


def test_what_stays_float_of_an_int8_graph_computes_in_float16_scales_and_biases_too(model_of, schemes, samples_of, tmp_path, run, sqnr_db):
    made, proto, model = rest(model_of, schemes, samples_of, tmp_path, k=np.float32(0.5))
    x = normal(1, 3, 8, 8)

    kinds = {one.data_type for one in proto.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8}
    assert [node.op_type for node in proto.graph.node if node.op_type == "Cast"] == ["Cast", "Cast"]  # the ports stay float32
    assert made.history[-1].did["float_rest"]["kept_float32"] == {}
    assert sqnr_db(run(model, x=x)[0], run(made, x=x)[0]) > 30.0


def test_of_an_int8_graph_what_float16_cannot_hold_stays_float32(model_of, schemes, samples_of, tmp_path, run, sqnr_db):
    made, _, model = rest(model_of, schemes, samples_of, tmp_path, k=np.float32(1e6))
    x = normal(1, 3, 8, 8)

    assert set(made.history[-1].did["float_rest"]["kept_float32"]) == {"scale"}
    assert sqnr_db(run(model, x=x)[0], run(made, x=x)[0]) > 20.0  # a million is beyond float16: it would be infinite


def test_scales_that_meet_in_a_product_are_of_one_type_though_one_is_too_small_for_float16(model_of, schemes, samples_of, tmp_path, run, sqnr_db):
    """TensorRT-RTX 1.7.1 does not compile a product whose operands' scales differ in type."""
    weights = {"w": 1e-4 * normal(4, 3, 3, 3), "b": 1e-4 * normal(4)}  # their scales are about 1e-6
    scheme = msgspec.structs.replace(schemes["tensorrt"], float_rest="float16")
    model = model_of(REST, k=np.float32(0.5), **weights)
    out = tmp_path / "rest"
    out.mkdir()
    samples = samples_of(x=[normal(1, 3, 8, 8) for _ in range(20)])
    made = Quantize(mode="static", weight_bits=8, activation_bits=8)(model, Supplies(scheme=scheme, samples=samples), out)
    proto = onnx_file.infer_shapes(onnx.load(made.path))
    kinds = {value.name: value.type.tensor_type.elem_type for value in proto.graph.value_info}
    (conv,) = [node for node in proto.graph.node if node.op_type == "Conv"]

    assert {kinds[name] for name in conv.input[:2]} == {onnx.TensorProto.FLOAT}
    assert conv.name in made.history[-1].did["float_rest"]["kept_float32"]
    x = normal(1, 3, 8, 8)
    assert sqnr_db(run(model, x=x)[0], run(made, x=x)[0]) > 30.0


def test_targets_that_know_strong_typing_alone_have_a_float16_rest():
    for name in ("nvidia-rtx-ampere", "nvidia-rtx-ada", "nvidia-rtx-blackwell"):
        target = read_target(target_files()[name])
        assert {one.scheme.float_rest for one in target.runtimes} == {"float16"}, name

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.errors import SourceError
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.target import Scheme
from edgekit.testing import check_pass

RNG = np.random.default_rng(0)
ALL = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SCHEME = Scheme(weight_only_ops=ALL, low_bit_ops=("Gemm", "MatMul"), blocked_ops=("Gemm", "MatMul"))
MATMUL = "net (float[2,K] x) => (float[2,N] y) { y = MatMul(x, w) }"


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def matmul(width, outputs):
    return MATMUL.replace("K", str(width)).replace("N", str(outputs))


@pytest.fixture
def rounded(model_of, quantize):
    """The graph of a text with integer weights, ONNX's checker having accepted it."""

    def make(text, weights, scheme=SCHEME, **options):
        return quantize(model_of(text, **weights), scheme, None, mode="weight_only", **options)

    return make


@pytest.fixture
def unoptimized():
    """The first output of a graph, computed as it stands."""

    def call(proto, x):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]

    return call


def nodes(proto):
    return [(node.op_type, list(node.input)) for node in proto.graph.node]


def values(proto):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def test_a_weight_is_read_through_a_dequantize_linear_by_channel(rounded):
    """The columns 1, 2, -4 and 0.5 times 127 / 127: their largest sizes are 127 steps of 4/127 and of 0.5/127."""
    proto = rounded(matmul(3, 2), {"w": np.float32([[4, 0.5], [-4, 0.25], [0, -0.5]])})

    assert nodes(proto) == [("DequantizeLinear", ["w/quantized", "w/scale"]), ("MatMul", ["x", "w/dequantized"])]
    found = values(proto)
    assert set(found) == {"w/quantized", "w/scale"}
    assert found["w/quantized"].dtype == np.int8
    assert found["w/quantized"].tolist() == [[127, 127], [-127, 64], [0, -127]]
    np.testing.assert_allclose(found["w/scale"], [4 / 127, 0.5 / 127], rtol=2e-3)


def test_blocks_of_four_bits_have_a_scale_each_by_hand(rounded):
    """One channel of 32 inputs, the first 16 times 1, the others times 10: 7 steps of 1/7 and of 10/7."""
    row = np.tile(np.float32([1, -1]), 8)
    proto = rounded(matmul(32, 1), {"w": np.concatenate([row, 10 * row])[:, None]}, weight_bits=4, block=16)

    found = values(proto)
    assert {name: array.dtype.name for name, array in found.items()} == {"w/quantized": "int4", "w/scale": "float32"}
    dequantize = proto.graph.node[0]
    assert {one.name: one.i for one in dequantize.attribute} == {"axis": 0, "block_size": 16}
    assert found["w/scale"].shape == (2, 1)
    product = found["w/quantized"].astype(np.float32).reshape(2, 16) * found["w/scale"]
    np.testing.assert_allclose(product, [row, 10 * row], rtol=1e-6)


def test_two_bits_are_stored_in_four_and_stay_within_two(rounded):
    found = values(rounded(matmul(40, 8), {"w": normal(40, 8)}, weight_bits=2))

    assert found["w/quantized"].dtype.name == "int4"
    assert sorted(set(found["w/quantized"].astype(np.int8).ravel().tolist())) == [-1, 0, 1]


def test_zero_points_are_of_the_type_of_the_weights(rounded):
    found = values(rounded(matmul(40, 8), {"w": normal(40, 8) + 1}, weight_bits=2, block=16, symmetric=False))

    assert (found["w/quantized"].dtype.name, found["w/zero_point"].dtype.name) == ("uint4", "uint4")
    assert found["w/zero_point"].shape == found["w/scale"].shape == (3, 8)
    assert found["w/quantized"].astype(np.int8).max() <= 3
    assert found["w/zero_point"].astype(np.int8).max() <= 3


@pytest.mark.parametrize(
    ("bits", "block", "symmetric", "sizes"),
    list(itertools.product((8, 4, 2), (0, 16, 32), (True, False), ((32, 4), (50, 3)))),
)
def test_a_graph_computes_with_weights_within_half_a_step_or_cut_off(rounded, unoptimized, bits, block, symmetric, sizes):
    """Whatever the form, the rounded weights lie nearer to the real ones than zeros would, by what so many bits give."""
    weight = normal(*sizes)
    proto = rounded(matmul(*sizes), {"w": weight}, weight_bits=bits, block=block, symmetric=symmetric)

    read = np.concatenate([unoptimized(proto, pair) for pair in np.eye(sizes[0], dtype=np.float32).reshape(-1, 2, sizes[0])])

    noise = np.square(read - weight).sum() / np.square(weight).sum()
    assert noise < {8: 1e-4, 4: 0.02, 2: 0.26}[bits]


@pytest.mark.parametrize("block", [0, 16])
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_keeps_its_meaning_while_its_factors_go_into_its_constants(rounded, unoptimized, block, transposed):
    weight, bias = normal(32, 6), normal(6)
    text = f"net (float[2,32] x) => (float[2,6] y) {{ y = Gemm<alpha=0.5, beta=2.0, transB={transposed}>(x, w, b) }}"
    proto = rounded(text, {"w": weight.T.copy() if transposed else weight, "b": bias}, block=block)
    x = normal(2, 32)

    (gemm,) = (node for node in proto.graph.node if node.op_type == "Gemm")
    assert {one.name for one in gemm.attribute} <= {"transB"}
    wanted = 0.5 * x @ weight + 2 * bias
    np.testing.assert_allclose(unoptimized(proto, x), wanted, atol=0.02 * np.abs(wanted).max())


def test_convolutions_are_stored_by_channel_with_eight_bits_and_the_step_says_so(model_of, tmp_path):
    text = """net (float[1,4,8,8] x) => (float[1,3] y) {
        c = Conv(x, w)  t = ConvTranspose<group = 2>(c, v)  p = GlobalAveragePool(t)  f = Flatten(p)  y = MatMul(f, m)
    }"""
    model = model_of(text, w=normal(6, 4, 3, 3), v=normal(6, 2, 3, 3), m=normal(4, 3))

    quantized = Quantize(mode="weight_only", weight_bits=4, block=32)(model, Supplies(scheme=SCHEME), tmp_path)

    did = quantized.history[-1].did
    assert did["weights"] == {"int4": 1, "int8": 2}
    reason = "this runtime reads weights of {} in no fewer than 8 bits"
    assert did["eight_bits"] == {"Conv_0": reason.format("Conv"), "ConvTranspose_1": reason.format("ConvTranspose")}
    assert did["left_float"] == {}
    found = values(onnx.load(quantized.path))
    assert {name: found[f"{name}/quantized"].dtype.name for name in "wvm"} == {"w": "int8", "v": "int8", "m": "int4"}
    assert (found["w/scale"].shape, found["v/scale"].shape) == ((6,), (2,))


def test_a_transposed_convolution_in_groups_computes_as_before(rounded, unoptimized):
    weight = normal(6, 2, 3, 3)
    text = "net (float[1,6,5,5] x) => (float[1,4,7,7] y) { y = ConvTranspose<group = 2>(x, w) }"
    before = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> ' + text)
    before.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    x = normal(1, 6, 5, 5)

    wanted, found = unoptimized(before, x), unoptimized(rounded(text, {"w": weight}), x)

    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_weights_that_several_nodes_read_are_stored_once(rounded):
    proto = rounded("net (float[2,40] x) => (float[2,40] y) { a = MatMul(x, w)  y = MatMul(a, w) }", {"w": normal(40, 40)}, weight_bits=4)

    assert [node.op_type for node in proto.graph.node] == ["DequantizeLinear", "MatMul", "MatMul"]


def test_what_stays_float_is_named_with_its_reason(model_of, tmp_path):
    text = "net (float[1,4,4] x, float[1,4,4] z) => (float[1,4,4] y) { a = MatMul(x, z)  y = MatMul(a, w) }"
    scheme = Scheme(weight_only_ops=("Conv",))

    did = Quantize(mode="weight_only")(model_of(text, w=normal(4, 4)), Supplies(scheme=scheme), tmp_path).history[-1].did

    assert did["left_float"] == {
        "MatMul_0": "its weights are computed, or of a form that is not understood",
        "MatMul_1": "this runtime reads no integer weights for a MatMul in float",
    }


def test_one_scale_holds_for_all_where_the_scheme_has_no_channels(rounded):
    scheme = Scheme(weight_only_ops=("MatMul",), weights="int8 symmetric per-tensor")

    assert values(rounded(matmul(32, 4), {"w": normal(32, 4)}, scheme))["w/scale"].shape == ()


@pytest.mark.parametrize("mode", ["weight_only", "dynamic"])
def test_weights_that_no_integers_can_hold_are_named(model_of, tmp_path, mode):
    scheme = Scheme(weight_only_ops=("MatMul",), dynamic_ops=("MatMul",))
    model = model_of(matmul(2, 2), w=np.float32([[1, np.inf], [0, 1]]))

    with pytest.raises(SourceError, match="w: a weight is infinite or not a number"):
        Quantize(mode=mode)(model, Supplies(scheme=scheme), tmp_path)


@pytest.mark.parametrize("options", [{}, {"weight_bits": 4, "block": 16}, {"weight_bits": 2, "symmetric": False}])
def test_the_pass_keeps_its_contract(model_of, tmp_path, options):
    model = model_of(matmul(32, 4), w=normal(32, 4))
    (tmp_path / "work").mkdir()

    check_pass(Quantize(mode="weight_only", **options), model, Supplies(scheme=SCHEME), tmp_path / "work")


def test_a_node_that_is_kept_reads_its_weights_as_they_are(model_of, quantize):
    text = "net (float[2,8] x) => (float[2,8] y) { a = MatMul(x, w) y = MatMul(a, v) }"
    weights = {"w": normal(8, 8), "v": normal(8, 8)}

    found = values(quantize(model_of(text, **weights), SCHEME, None, mode="weight_only", weight_bits=4, keep_float=("MatMul_0",)))

    np.testing.assert_array_equal(found["w"], weights["w"])
    assert "v" not in found
    assert "v/quantized" in found

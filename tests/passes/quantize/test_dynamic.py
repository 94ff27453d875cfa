import numpy as np
import onnx
import pytest

from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.target import Scheme
from edgekit.testing import check_pass

RNG = np.random.default_rng(0)
MATRICES = Scheme(dynamic_ops=("Gemm", "MatMul"))
CONVOLUTIONS = Scheme(dynamic_ops=("Conv", "Gemm", "MatMul"))
NET = """net (float[1,4,6,6] x) => (float[1,3] y) {
    c = Conv(x, w)  d = Conv<group = 4>(c, v)  p = GlobalAveragePool(d)  f = Flatten(p)  y = Gemm(f, m, b)
}"""


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


WEIGHTS = {"w": normal(4, 4, 3, 3), "v": normal(4, 1, 3, 3), "m": normal(4, 3), "b": normal(3)}


@pytest.fixture
def dynamic(model_of, tmp_path):
    """A Model quantized dynamically, its proto having passed ONNX's checker."""

    def make(text, scheme, **weights):
        out = tmp_path / "dynamic"
        out.mkdir()
        model = Quantize(mode="dynamic")(model_of(text, **weights), Supplies(scheme=scheme), out)
        onnx.checker.check_model(str(model.path), full_check=True)
        return model, onnx.load(model.path)

    return make


def test_a_product_reads_rounded_activations_and_integer_weights(dynamic):
    _, proto = dynamic("net (float[2,8] x) => (float[2,3] y) { y = MatMul(x, w) }", MATRICES, w=normal(8, 3))

    assert {(node.op_type, tuple(node.input), tuple(node.output)) for node in proto.graph.node} == {
        ("DynamicQuantizeLinear", ("x",), ("x/quantized", "x/scale", "x/zero_point")),
        ("DequantizeLinear", ("x/quantized", "x/scale", "x/zero_point"), ("x/dequantized",)),
        ("DequantizeLinear", ("w/quantized", "w/scale"), ("w/dequantized",)),
        ("MatMul", ("x/dequantized", "w/dequantized"), ("y",)),
    }


def test_numbers_by_hand(dynamic, run):
    """0, 1 and 255 are rounded at steps of 1 to themselves, 1.4 to 1; the weights 1 and -1 are 127 steps of 1/127."""
    _, proto = dynamic("net (float[2,2] x) => (float[2,1] y) { y = MatMul(x, w) }", MATRICES, w=np.float32([[1], [-1]]))

    (y,) = run(proto, x=np.float32([[0, 255], [1.4, 1]]))

    np.testing.assert_allclose(y, [[-255], [0]], atol=1e-4)


def test_what_several_products_read_is_rounded_once(dynamic):
    text = "net (float[2,8] x) => (float[2,8] y) { a = MatMul(x, w)  b = MatMul(x, v)  y = Add(a, b) }"
    model, proto = dynamic(text, MATRICES, w=normal(8, 8), v=normal(8, 8))

    assert [node.op_type for node in proto.graph.node].count("DynamicQuantizeLinear") == 1
    assert model.history[-1].did == {"dynamic_nodes": {"MatMul": 2}, "rounded_tensors": 1, "left_float": {}}


def test_operators_that_the_scheme_leaves_out_stay_float_and_the_step_says_why(dynamic):
    model, proto = dynamic(NET, MATRICES, **WEIGHTS)

    slower = "this runtime computes Conv slower than in float when it rounds activations at run time"
    assert model.history[-1].did["left_float"] == {"Conv_0": slower, "Conv_1": slower}
    assert {tensor.name for tensor in proto.graph.initializer} == {"w", "v", "b", "m/quantized", "m/scale"}


def test_convolutions_in_groups_stay_float_where_others_do_not(dynamic):
    model, _ = dynamic(NET, CONVOLUTIONS, **WEIGHTS)

    assert model.history[-1].did["dynamic_nodes"] == {"Conv": 1, "Gemm": 1}
    assert model.history[-1].did["left_float"] == {
        "Conv_1": "a convolution in groups is slower than in float when activations are rounded at run time"
    }


def test_a_product_of_two_computed_sides_stays_float(dynamic):
    model, _ = dynamic("net (float[2,2] x) => (float[2,2] y) { y = MatMul(x, x) }", MATRICES)

    assert model.history[-1].did["left_float"] == {"MatMul_0": "its weights are computed, or of a form that has no integer kernel"}


@pytest.mark.parametrize(("shape", "outputs"), [((1, 16), 1), ((5, 33), 7), ((2, 3, 64), 10), ((2, 2, 3, 8), 4)])
def test_whatever_the_shape_the_error_is_that_of_eight_bits(dynamic, run, shape, outputs):
    weight, x = normal(shape[-1], outputs), normal(*shape)
    sizes = ",".join(map(str, shape))
    _, proto = dynamic(f"net (float[{sizes}] x) => (float[{sizes.rpartition(',')[0]},{outputs}] y) {{ y = MatMul(x, w) }}", MATRICES, w=weight)

    (y,) = run(proto, x=x)

    # Half a step of x times all weights, and half a step of w times all of x, bound each output.
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    bound = 0.51 * step * np.abs(weight).sum(axis=0) + 0.51 * np.abs(weight).max() / 127 * np.abs(x).sum(axis=-1, keepdims=True) * 1.1
    assert np.all(np.abs(y - x @ weight) <= bound + 1e-5)


def test_weights_take_seven_bits_where_products_of_eight_saturate(dynamic):
    scheme = Scheme(dynamic_ops=("MatMul",), reduce_range=True)
    _, proto = dynamic("net (float[2,8] x) => (float[2,3] y) { y = MatMul(x, w) }", scheme, w=normal(8, 3))

    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert np.abs(stored["w/quantized"].astype(int)).max() == 64


def test_one_scale_for_all_where_the_scheme_has_no_channels(dynamic):
    scheme = Scheme(dynamic_ops=("MatMul",), weights="int8 symmetric per-tensor")
    _, proto = dynamic("net (float[2,8] x) => (float[2,3] y) { y = MatMul(x, w) }", scheme, w=normal(8, 3))

    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert stored["w/scale"].shape == ()


def test_the_pass_keeps_its_contract(model_of, tmp_path):
    (tmp_path / "work").mkdir()

    check_pass(Quantize(mode="dynamic"), model_of(NET, **WEIGHTS), Supplies(scheme=CONVOLUTIONS), tmp_path / "work")

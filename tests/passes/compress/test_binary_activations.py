"""Products that read signs and multiply with signs: worked by hand, and against eq. 11 of XNOR-Net written out in loops."""

import itertools

import numpy as np
import onnx
import pytest

from edgekit.errors import SamplesError, UsageError
from edgekit.graph.structure import Structure, structures
from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.numerics.moments import Moments
from edgekit.passes.compress.binarize import Binarize
from edgekit.passes.compress.binarize.activations import Spread, channels_of, spread_of, with_signs
from edgekit.passes.contract import Supplies
from edgekit.testing import check_pass


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def binarize(tmp_path):
    """Binarize a Model, activations included; its new proto, which ONNX's checker accepts, and what the step says."""
    made = []

    def make(model, samples, **options):
        out = tmp_path / f"binarized{len(made)}"
        made.append(out)
        out.mkdir()
        result = Binarize(activations=True, **{"kind": "binary", "keep_ends": False, **options})(model, Supplies(samples=samples), out)
        onnx.checker.check_model(str(result.path), full_check=True)
        return onnx.load(result.path), result.history[-1].did

    return make


def test_a_convolution_by_hand(model_of, samples_of, binarize, run):
    """Signs agree at 7 of 8 places of the first window and differ at 1: 6. Magnitudes 1, 1.5, 2, 2.5 of the two channels' means are
    1.75 on average, those of the weights 2: 6 x 1.75 x 2 + 0.5 is 21.5. The samples are 1 and -1 alike, of mean 0 and deviation 1."""
    weight = np.array([[[[1.0, -1.0], [2.0, 4.0]], [[-2.0, 2.0], [1.0, 3.0]]]], np.float32)
    model = model_of("net (float[1,2,3,3] x) => (float[1,1,2,2] y) { y = Conv(x, w, b) }", w=weight, b=np.array([0.5], np.float32))
    board = np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]], np.float32)

    proto, _ = binarize(model, samples_of(x=[np.stack([board, board])[None]] * 5))

    x = np.full((1, 2, 3, 3), 9.0, np.float32)
    x[0, 0, :2, :2], x[0, 1, :2, :2] = [[1.0, -2.0], [3.0, 4.0]], [[-1.0, 1.0], [1.0, -1.0]]
    assert run(proto, x=x)[0][0, 0, 0, 0] == 21.5


def test_a_dense_layer_by_hand(model_of, samples_of, binarize, run):
    """Signs of 3, -1, 2 and of 1, 1, -4 agree once and differ twice, those of 3, 1, -2 agree: -1 and 3; magnitudes are 2, those of the weights 2."""
    model = model_of("net (float[1,2,3] x) => (float[1,2,1] y) { y = MatMul(x, w) }", w=np.array([[1.0], [1.0], [-4.0]], np.float32))

    proto, _ = binarize(model, samples_of(x=[np.array([[[1.0] * 3, [-1.0] * 3]], np.float32)] * 5))

    assert run(proto, x=np.array([[[3.0, -1.0, 2.0], [3.0, 1.0, -2.0]]], np.float32))[0].reshape(-1).tolist() == [-4.0, 12.0]


def test_what_a_convolution_reads_is_spread_as_the_middle_of_its_window_sees_it(proto_of):
    """The middles are 1 and 3 of one channel, of mean 2 and deviation 1, and -5 and -1 of the other, of mean -3 and deviation 2."""
    view = View(proto_of("net (float[1,2,1,4] x) => (float[1,5,1,2] y) { y = Conv(x, w) }", w=normal(5, 2, 1, 3)))
    (one,) = weighted_nodes(view).values()
    rows = np.array([[[9.0, 1.0, 9.0, 0.0, -5.0, 0.0], [9.0, 3.0, 9.0, 0.0, -1.0, 0.0]]], np.float32)

    found = spread_of(one, Moments.of(rows), channels_of(view, one))

    assert channels_of(view, one) == 2
    assert found.mean.tolist() == [2.0, -3.0]
    assert found.deviation.tolist() == [1.0, 2.0]


CONVOLUTIONS = [
    ("", (0, 0), (1, 1)),
    ("<pads = [1, 1, 1, 1]>", (1, 1), (1, 1)),
    ("<pads = [0, 1, 2, 0], strides = [2, 1]>", (0, 1), (2, 1)),
    ('<auto_pad = "SAME_UPPER", strides = [2, 2]>', (0, 1), (2, 2)),
]
"""Attributes; and, as ONNX defines them, padding before, and strides."""


def by_equation(x, weight, bias, spread, begins, sizes, strides):
    """Eq. 11 for each place: signs that agree less those that differ, times the mean of magnitudes there, times that of the weights."""
    padded = np.zeros((x.shape[0], x.shape[1] + 8, x.shape[2] + 8))
    padded[:, begins[0] : begins[0] + x.shape[1], begins[1] : begins[1] + x.shape[2]] = x
    inputs = (padded - spread.mean[:, None, None]) / spread.deviation[:, None, None]
    made = np.zeros((len(weight), *sizes))
    for out, row, column in itertools.product(range(len(weight)), *map(range, sizes)):
        top, left = row * strides[0], column * strides[1]
        seen = inputs[:, top : top + weight.shape[2], left : left + weight.shape[3]]
        kernel = weight[out] * spread.deviation[:, None, None]
        agreeing = np.sum(np.sign(seen) * np.sign(kernel))
        shift = np.sum(weight[out] * spread.mean[:, None, None])
        made[out, row, column] = agreeing * np.abs(seen).mean() * np.abs(kernel).mean() + bias[out] + shift
    return made


@pytest.mark.parametrize(("how", "begins", "strides"), CONVOLUTIONS)
def test_convolutions_of_any_window_are_what_the_equation_says(model_of, samples_of, binarize, run, how, begins, strides):
    model = model_of(f"net (float[1,3,6,7] x) => (float[1,4,p,q] y) {{ y = Conv{how}(x, w, b) }}", w=normal(4, 3, 3, 3), b=normal(4, seed=1))
    scale = np.array([0.5, 2.0, 1.0], np.float32)[:, None, None]
    samples = samples_of(x=normal(9, 1, 3, 6, 7, seed=2) * scale + scale)

    proto, _ = binarize(model, samples)

    x, held = normal(1, 3, 6, 7, seed=3) * scale + scale, {one.name: onnx.numpy_helper.to_array(one) for one in proto.graph.initializer}
    mean, factor = held["Conv_0/mean"].reshape(-1).astype(np.float64), held["Conv_0/factor"].reshape(-1).astype(np.float64)
    assert np.abs(mean - scale.reshape(-1)).max() < 0.4
    assert np.abs(1.0 / factor / scale.reshape(-1) - 1.0).max() < 0.3
    made = run(proto, x=x)[0][0]
    wanted = by_equation(x[0], normal(4, 3, 3, 3), normal(4, seed=1), Spread(mean, 1.0 / factor), begins, made.shape[1:], strides)
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-4)


TEXTS = {
    "Conv": "net (float[1,3,6,7] x) => (float[1,4,p,q] y) { y = Conv<pads = [1, 1, 1, 1], strides = [2, 1]>(x, w, b) }",
    "Gemm": "net (float[2,6] x) => (float[2,4] y) { y = Gemm<transB = 1, alpha = 2.0, beta = 0.5>(x, w, b) }",
    "MatMul and Add": "net (float[2,5,6] x) => (float[2,5,4] y) { m = MatMul(x, w)  y = Add(m, b) }",
    "MatMul": "net (float[2,5,6] x) => (float[2,5,4] y) { y = MatMul(x, w) }",
}


@pytest.mark.parametrize("op", TEXTS)
def test_normalized_inputs_alone_change_nothing(proto_of, run, op):
    """With the inputs themselves in the place of signs, and 1 in that of their magnitude."""
    shapes = {"Conv": (4, 3, 3, 3), "Gemm": (4, 6)}
    given = {"w": normal(*shapes.get(op, (6, 4)))} | ({} if op == "MatMul" else {"b": normal(4, seed=1)})
    proto = proto_of(TEXTS[op], **given)
    channels = 3 if op == "Conv" else 6
    name = proto.graph.node[0].name

    made = with_signs(proto, {name: Spread(normal(channels, seed=2).astype(np.float64), np.abs(normal(channels, seed=3)) + 0.5)})

    for node in made.graph.node:
        if node.op_type == "Sign":
            node.op_type = "Identity"
        if node.op_type == "Mul" and f"{name}/product" in node.input:
            made.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.0), "one"))
            node.input[1] = "one"
    x = normal(*(size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim), seed=4)
    np.testing.assert_allclose(run(made, x=x)[0], run(proto, x=x)[0], rtol=1e-4, atol=1e-5)


NETWORK = """net (float[1,3,8,8] x) => (float[1,3] y) {
    a = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)  p = Relu(a)  c = Conv<pads = [1, 1, 1, 1]>(p, w1, b1)  q = Relu(c)
    d = Conv<group = 8>(q, w2)  g = GlobalAveragePool(d)  f = Flatten(g)  y = Gemm<transB = 1>(f, w3, b3) }"""


@pytest.fixture
def network(model_of):
    weights = {"w0": normal(8, 3, 3, 3) / 5, "w1": normal(8, 8, 3, 3, seed=1) / 8, "w2": normal(8, 1, 3, 3, seed=2), "w3": normal(3, 8, seed=3)}
    return model_of(NETWORK, **weights, b0=normal(8, seed=4), b1=normal(8, seed=5), b3=normal(3, seed=6))


@pytest.fixture
def samples(samples_of):
    return samples_of(x=normal(33, 1, 3, 8, 8, seed=7))


def test_ends_and_what_has_groups_are_left_and_the_rest_has_two_values(network, samples, binarize):
    proto, did = binarize(network, samples, keep_ends=True)

    assert list(did["left_alone"]) == ["Conv_4", "Conv_0", "Gemm_7"]
    assert did["left_alone"]["Conv_4"].startswith("a convolution with groups")
    assert structures(proto) == {"w1/signed": Structure("binary", axis=0)}
    (node,) = [node for node in proto.graph.node if node.name == "Conv_2"]
    assert list(node.input) == ["Conv_2/signs", "w1/signed"]
    weight = next(onnx.numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == "w1/signed")
    assert [len(np.unique(np.abs(channel))) for channel in weight] == [1] * 8


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["binary", "ternary"])
def test_training_brings_back_some_of_what_signs_cost_and_keeps_them(network, samples, binarize, run, kind):
    pytest.importorskip("torch")
    how = {"train": True, "epochs": 30, "rate": 0.01, "threads": 1, "held_out": 0.25, "outputs": "values"}
    seen = normal(32, 1, 3, 8, 8, seed=8)

    protos = [binarize(network, samples, kind=kind, keep_ends=True, **options)[0] for options in ({}, how)]

    errors = [np.mean([np.square(run(proto, x=x)[0] - run(network, x=x)[0]).mean() for x in seen]) for proto in protos]
    assert errors[1] < 0.5 * errors[0]
    assert structures(protos[1])["w1/signed"] == Structure(kind, axis=0)
    weight = next(onnx.numpy_helper.to_array(one) for one in protos[1].graph.initializer if one.name == "w1/signed")
    assert [len(np.unique(np.abs(channel[channel != 0.0]))) for channel in weight] == [1] * 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("y = ConvTranspose(x, w)", "a transposed convolution keeps its weights"),
        ("y = Conv<dilations = [2, 2]>(x, w)", "a dilated convolution keeps its weights"),
        ("y = Conv<group = 2>(x, v)", "a convolution with groups keeps its weights"),
    ],
)
def test_convolutions_that_keep_their_weights_have_the_reason(model_of, samples_of, binarize, text, said):
    text = f"net (float[1,4,8,8] x) => (float[1,4,p,q] y) {{ {text} }}"
    weights = {"v": normal(4, 2, 3, 3)} if "group" in text else {"w": normal(4, 4, 3, 3)}

    with pytest.raises(UsageError, match=said):
        binarize(model_of(text, **weights), samples_of(x=normal(4, 1, 4, 8, 8)))


def test_the_nodes_are_those_that_were_foreseen_without_samples(network, samples, binarize, tmp_path):
    (tmp_path / "foreseen").mkdir()

    foreseen = Binarize(activations=True).foresee(network, Supplies(), tmp_path / "foreseen")

    made, _ = binarize(network, samples, keep_ends=True)
    nodes = [[(node.name, node.op_type, list(node.input)) for node in one.graph.node] for one in (made, onnx.load(foreseen.path))]
    assert nodes[0] == nodes[1]


def test_without_activations_no_node_is_foreseen(network, tmp_path):
    assert Binarize(train=True).foresee(network, Supplies(), tmp_path) is network


def test_without_samples_nothing_is_known_of_activations(network, binarize):
    with pytest.raises(SamplesError, match="binarize: activations needs samples"):
        binarize(network, None)


def test_it_keeps_the_contract_of_passes(network, samples, tmp_path):
    folder = tmp_path / "check"
    folder.mkdir()

    check_pass(Binarize(activations=True), network, Supplies(samples=samples), folder)

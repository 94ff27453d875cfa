import itertools

import numpy as np
import onnx
import pytest

from edgekit.errors import SamplesError
from edgekit.graph.structure import Structure, set_structures, structures
from edgekit.passes.compress.binarize import Binarize
from edgekit.passes.compress.binarize.signs import signed
from edgekit.passes.compress.rows import Rows
from edgekit.passes.contract import Supplies
from edgekit.testing import check_pass

NETWORK = """net (float[1,6] x) => (float[1,3] y) {
    a = Gemm<transB = 1>(x, w0, b0)  p = Relu(a)
    c = Gemm<transB = 1, alpha = 2.0>(p, w1, b1)  q = Relu(c)
    d = MatMul(q, w2)  r = Relu(d)
    y = Gemm<transB = 1>(r, w3, b3) }"""


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def network(model_of):
    return model_of(
        NETWORK, w0=normal(8, 6), b0=normal(8), w1=normal(8, 8, seed=1), b1=normal(8), w2=normal(8, 8, seed=2), w3=normal(3, 8, seed=3), b3=normal(3)
    )


@pytest.fixture
def binarize(tmp_path):
    """Binarize a Model; its new proto, which ONNX's checker accepts, and what the step says."""
    made = []

    def make(model, samples=None, **options):
        out = tmp_path / f"binarized{len(made)}"
        made.append(out)
        out.mkdir()
        result = Binarize(**options)(model, Supplies(samples=samples), out)
        onnx.checker.check_model(str(result.path), full_check=True)
        return onnx.load(result.path), result.history[-1].did

    return make


def held(proto, name):
    return next(onnx.numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == name)


def one_row(values, **known):
    return Rows(values=np.array([values]), channel=np.array([0]), groups=1, **known)


def test_three_values_by_hand():
    """Of the largest two, 2.5 on average, 12.5 of the squares' sum are kept; of all four 10.6; of three 12.4; of one 9."""
    found = signed(one_row([3.0, -2.0, 1.1, 0.4]), "ternary")

    assert found.codes.tolist() == [[1.0, -1.0, 0.0, 0.0]]
    assert found.scale.tolist() == [2.5]


def test_two_values_by_hand():
    found = signed(one_row([3.0, -2.0, 1.0, 0.0]), "binary")

    assert found.codes.tolist() == [[1.0, -1.0, 1.0, 1.0]]
    assert found.scale.tolist() == [1.5]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_three_values_lie_nearer(seed):
    row = normal(6, seed=seed).astype(np.float64)

    found = signed(one_row(row), "ternary")

    errors = []
    for codes in itertools.product((-1.0, 0.0, 1.0), repeat=6):
        of = np.array(codes)
        scale = of @ row / max(of @ of, 1.0)
        errors.append(np.square(row - scale * of).sum())
    assert np.square(row - found.values).sum() == pytest.approx(min(errors))


@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_inputs_that_go_together_make_up_for_errors(kind):
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(12, 3))
    covariance = mixing @ mixing.T + 0.1 * np.eye(12)
    rows = Rows(values=generator.normal(size=(5, 12)), channel=np.arange(5), groups=1)
    seen = Rows(values=rows.values, channel=rows.channel, groups=1, covariance=covariance[None])

    changes = [signed(one, kind).values - rows.values for one in (rows, seen)]
    errors = [np.einsum("ri,ij,rj->", one, covariance, one) for one in changes]

    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize(("kind", "values"), [("ternary", [-1.0, 0.0, 1.0]), ("binary", [-1.0, 1.0])])
def test_each_channel_has_one_magnitude_and_the_ends_are_left(network, binarize, kind, values):
    proto, did = binarize(network, kind=kind)

    for name, axis in (("w1", 0), ("w2", 1)):
        weight = np.moveaxis(held(proto, name), axis, 0)
        unit = weight / np.abs(weight).max(axis=1, keepdims=True)
        assert set(np.unique(unit)) <= set(values)
    assert structures(proto) == {"w1": Structure(kind, axis=0), "w2": Structure(kind, axis=1)}
    assert list(did["left_alone"]) == ["Gemm_0", "Gemm_6"]
    np.testing.assert_array_equal(held(proto, "w0"), normal(8, 6))


def test_ends_are_taken_where_they_are_asked_for(network, binarize):
    proto, _ = binarize(network, keep_ends=False)

    assert set(structures(proto)) == {"w0", "w1", "w2", "w3"}


def test_zeros_of_pruning_stay_zeros(network, samples_of, binarize):
    proto = onnx.load(network.path)
    weight = held(proto, "w1").copy()
    weight[:, ::2] = 0.0
    next(one for one in proto.graph.initializer if one.name == "w1").CopyFrom(onnx.numpy_helper.from_array(weight, "w1"))
    set_structures(proto, {"w1": Structure("sparse")})
    onnx.save(proto, network.path)

    made, _ = binarize(network, samples_of(x=normal(10, 1, 6, seed=7)))

    assert np.all(held(made, "w1")[:, ::2] == 0.0)
    assert structures(made)["w1"].kind == "ternary"


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_learned_signs_answer_more_like_the_float_model(network, samples_of, binarize, run, kind):
    pytest.importorskip("torch")
    samples, x = samples_of(x=normal(129, 1, 6, seed=7)), normal(64, 1, 6, seed=8)

    protos = [
        binarize(network, samples, kind=kind, **options)[0]
        for options in ({}, {"train": True, "epochs": 30, "rate": 0.02, "threads": 1, "held_out": 0.25, "outputs": "values"})
    ]

    errors = [np.mean([np.square(run(proto, x=one)[0] - run(network, x=one)[0]).mean() for one in x]) for proto in protos]
    assert errors[1] < 0.7 * errors[0]
    for name, axis in (("w1", 0), ("w2", 1)):
        weight = np.moveaxis(held(protos[1], name), axis, 0)
        assert [len(np.unique(np.abs(row[row != 0.0]))) for row in weight] == [1] * 8
    assert structures(protos[1])["w1"] == Structure(kind, axis=0)


def test_learning_without_samples_is_said(network, binarize):
    with pytest.raises(SamplesError, match="binarize: train needs samples"):
        binarize(network, train=True)


def test_it_keeps_the_contract_of_passes(network, samples_of, tmp_path):
    folder = tmp_path / "check"
    folder.mkdir()

    check_pass(Binarize(), network, Supplies(samples=samples_of(x=normal(6, 1, 6, seed=5))), folder)

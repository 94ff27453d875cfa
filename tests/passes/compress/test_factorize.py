import numpy as np
import onnx
import pytest

from edgekit.errors import UsageError
from edgekit.graph.inspect import layers, totals
from edgekit.graph.structure import Structure, set_structures
from edgekit.passes.compress.factorize import Factorize
from edgekit.passes.compress.factorize.choose import Choice, cheapest_within, within
from edgekit.passes.compress.prune import Prune
from edgekit.passes.contract import Supplies
from edgekit.testing import check_pass

CONVOLUTION = "net (float[1,8,13,11] x) => (float[1,16,p,q] y) { y = Conv<strides = [2, 1], pads = [2, 1, 1, 0], dilations = [1, 2]>(x, w, b) }"
GEMM = "net (float[1,24] x) => (float[1,20] y) { y = Gemm<transB = 1, alpha = 2.0, beta = 0.5>(x, w, b) }"
MATMUL = "net (float[1,5,24] x) => (float[1,5,20] y) { h = MatMul(x, w)  y = Add(h, b) }"


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def factorize(tmp_path):
    """Factorize a Model; the new Model, which ONNX's checker accepts."""
    made = []

    def make(model, supplies=None, **options):
        out = tmp_path / f"factorized{len(made)}"
        made.append(out)
        out.mkdir()
        result = Factorize(**options)(model, supplies or Supplies(), out)
        onnx.checker.check_model(str(result.path), full_check=True)
        return result

    return make


@pytest.fixture
def shapes():
    """Shapes of a Model's kernels and matrices."""

    def of(model):
        return [tuple(one.dims) for one in onnx.load(model.path).graph.initializer if len(one.dims) > 1]

    return of


def kernel_of(form):
    """A kernel of 16 outputs and 8 inputs that a form of rank 4 (of separable: 1) makes exactly."""
    if form in ("svd", "lu"):
        return np.einsum("rihw,or->oihw", normal(4, 8, 3, 3), normal(16, 4, seed=1))
    if form == "spatial":
        return np.einsum("rih,orw->oihw", normal(4, 8, 3), normal(16, 4, 3, seed=1))
    if form == "tucker":
        return np.einsum("si,rshw,or->oihw", normal(2, 8), normal(4, 2, 3, 3, seed=1), normal(16, 4, seed=2))
    if form == "cp":
        return np.einsum("ri,rh,rw,or->oihw", normal(4, 8), normal(4, 3, seed=1), normal(4, 3, seed=2), normal(16, 4, seed=3))
    return np.einsum("ihw,oi->oihw", normal(8, 3, 3), normal(16, 8, seed=1))


STAGES = {
    "svd": [(4, 8, 3, 3), (16, 4, 1, 1)],
    "lu": [(4, 8, 3, 3), (16, 4, 1, 1)],
    "spatial": [(4, 8, 3, 1), (16, 4, 1, 3)],
    "tucker": [(2, 8, 1, 1), (4, 2, 3, 3), (16, 4, 1, 1)],
    "cp": [(4, 8, 1, 1), (4, 1, 3, 1), (4, 1, 1, 3), (16, 4, 1, 1)],
    "separable": [(8, 1, 3, 3), (16, 8, 1, 1)],
}


@pytest.mark.parametrize("has_samples", [True, False])
@pytest.mark.parametrize("form", STAGES)
def test_a_kernel_of_low_rank_becomes_the_layers_it_was_made_of(model_of, samples_of, factorize, shapes, run, form, has_samples):
    """Strides, paddings and dilations that differ by axis go where their axis goes."""
    model = model_of(CONVOLUTION, w=kernel_of(form).astype(np.float32), b=normal(16, seed=9))
    samples = samples_of(x=normal(40, 1, 8, 13, 11, seed=4)) if has_samples else None

    made = factorize(model, Supplies(samples=samples), method=form, max_loss=1e-4, multiple_of=1 if form == "separable" else 4)

    assert shapes(made) == STAGES[form]
    x = normal(1, 8, 13, 11, seed=5)
    np.testing.assert_allclose(run(made, x=x)[0], run(model, x=x)[0], atol=2e-3 * np.abs(run(model, x=x)[0]).max())


@pytest.mark.parametrize("text", [GEMM, MATMUL])
@pytest.mark.parametrize("method", ["auto", "lu"])
def test_a_matrix_of_low_rank_becomes_two(model_of, factorize, shapes, run, text, method):
    weight = normal(20, 4) @ normal(4, 24, seed=1)
    model = model_of(text, w=weight if text == GEMM else weight.T, b=normal(20, seed=2))

    made = factorize(model, method=method, max_loss=1e-6, multiple_of=2)

    assert shapes(made) == ([(4, 24), (20, 4)] if text == GEMM else [(24, 4), (4, 20)])
    x = normal(1, 24, seed=3) if text == GEMM else normal(1, 5, 24, seed=3)
    np.testing.assert_allclose(run(made, x=x)[0], run(model, x=x)[0], rtol=1e-4, atol=1e-4)


def test_inputs_that_lie_in_a_plane_need_few_directions(model_of, samples_of, factorize, shapes, run):
    """By the weights alone the matrix has rank 20; the samples, as far as they are trusted, say what it is ever multiplied with."""
    inputs = (normal(120, 2) @ normal(2, 24, seed=1) + 1.0)[:, None, :].astype(np.float32)
    model = model_of(GEMM, w=normal(20, 24, seed=2), b=normal(20, seed=3))

    made = factorize(model, Supplies(samples=samples_of(x=inputs)), max_loss=0.1, multiple_of=2)

    assert shapes(made)[0] in ((2, 24), (4, 24))
    expected = run(model, x=inputs[0])[0]
    assert np.abs(run(made, x=inputs[0])[0] - expected).max() < 0.02 * np.abs(expected).max()


def test_half_of_the_multiplications_go(model_of, factorize):
    text = """net (float[1,16,16,16] x) => (float[1,10] y) {
        a = Conv<pads = [1, 1, 1, 1]>(x, w, b)  r = Relu(a)  c = Conv<pads = [1, 1, 1, 1]>(r, v, b)
        m = GlobalAveragePool(c)  f = Flatten(m)  y = Gemm<transB = 1>(f, u, d) }"""
    model = model_of(text, w=normal(16, 16, 3, 3), v=normal(16, 16, 3, 3, seed=1), b=normal(16), u=normal(10, 16, seed=2), d=normal(10))

    made = factorize(model, ratio=0.5, multiple_of=2)

    before, after = (totals(layers(onnx.load(one.path))).macs for one in (model, made))
    assert 0.5 <= 1.0 - after / before <= 0.6
    did = made.history[-1].did
    assert did["macs"] == {"before": before, "after": after}
    assert set(did["forms"]) <= {"svd", "spatial", "tucker"}


def test_a_ratio_of_latency_is_reached_by_timing(model_of, factorize):
    """Whoever times says that time goes with parameters, which a graph has by the square of its ranks."""

    def cost(model):
        return totals(layers(onnx.load(model.path))).parameters / 1000.0

    model = model_of(GEMM, w=normal(20, 24), b=normal(20))

    made = factorize(model, Supplies(cost=cost), of="latency", ratio=0.3, multiple_of=1)

    assert 0.55 <= cost(made) / cost(model) <= 0.7
    assert made.history[-1].did["latency_ms"] == {"before": 0.5, "after": pytest.approx(cost(made))}


def test_nobody_who_times_is_said(model_of, factorize):
    with pytest.raises(UsageError, match="nobody times graphs here"):
        factorize(model_of(GEMM, w=normal(20, 24), b=normal(20)), of="latency")


def test_a_ratio_beyond_the_lowest_ranks_is_said(model_of, factorize):
    """Rank 8 of 20 x 24 has 8 x 44 parameters of 480: 0.27 of them go."""
    with pytest.raises(UsageError, match=r"ratio = 0.5: with the lowest ranks 0.27 of the macs") as caught:
        factorize(model_of(GEMM, w=normal(20, 24), b=normal(20)))

    assert "factorize.ratio=0.26" in caught.value.hint


def test_the_ratio_that_a_hint_names_can_be_reached(model_of, factorize):
    model = model_of(GEMM, w=normal(20, 24), b=normal(20))

    assert totals(layers(onnx.load(factorize(model, ratio=0.26).path))).macs == 8 * 44


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_ratio_is_the_share_that_goes_as_it_is_of_prune(model_of, factorize, tmp_path, share):
    """Both passes by the same option; ranks that are tried lie a tenth apart at most."""
    text = "net (float[1,64] x) => (float[1,64] y) { a = Gemm<transB = 1>(x, w, b)  r = Relu(a)  y = Gemm<transB = 1>(r, v, c) }"
    model = model_of(text, w=normal(64, 64), v=normal(64, 64, seed=1), b=normal(64), c=normal(64))
    (tmp_path / "pruned").mkdir()
    pruned = Prune(ratio=share, multiple_of=1)(model, Supplies(), tmp_path / "pruned")
    factorized = factorize(model, ratio=share, multiple_of=1)

    for made in (pruned, factorized):
        left = totals(layers(onnx.load(made.path))).macs / (2 * 64 * 64)
        assert 0.9 - share <= left <= 1.0 - share


def test_two_options_that_say_how_much_goes_are_refused():
    with pytest.raises(ValueError, match=r"ratio = 0.5 and max_loss = 0.1: either says how much goes; leave one out"):
        Factorize(ratio=0.5, max_loss=0.1)


def test_what_cannot_be_taken_apart_is_named(model_of, factorize):
    text = "net (float[1,8,9,9] x) => (float[1,64,7,7] y) { h = Conv<group = 8>(x, w, b)  y = Conv(h, v) }"

    made = factorize(model_of(text, w=normal(8, 1, 3, 3), b=normal(8), v=normal(64, 8, 1, 1)), ratio=0.1, multiple_of=1)

    assert made.history[-1].did["left_alone"] == {"Conv_0": "a convolution with groups is not taken apart"}


def test_zeros_that_were_pruned_are_not_multiplied_away(model_of, factorize):
    model = model_of("net (float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }", w=np.tril(normal(64, 64)))
    proto = onnx.load(model.path)
    set_structures(proto, {"w": Structure("sparse")})
    onnx.save(proto, model.path)

    with pytest.raises(UsageError, match=r"factorize: leaves every layer as it is \(MatMul_0: its zeros would be lost\)"):
        factorize(model)


def test_the_budget_goes_where_it_is_worth_most():
    """By hand: 60 fit the second layer's loss of 0.1 and the first as it is; the other way round 0.3 would be lost."""
    layers = [[Choice("", 0, 40, 0.0), Choice("svd", 4, 20, 0.3)], [Choice("", 0, 40, 0.0), Choice("svd", 4, 20, 0.1)]]

    assert [one.rank for one in within(layers, 60)] == [0, 4]
    assert [one.rank for one in within(layers, 80)] == [0, 0]
    assert [one.rank for one in within(layers, 40)] == [4, 4]
    assert within(layers, 39) is None


def test_the_cheapest_that_keeps_enough_is_taken():
    choices = [Choice("", 0, 40, 0.0), Choice("svd", 8, 30, 0.01), Choice("svd", 4, 20, 0.05)]

    assert [cheapest_within(choices, most).rank for most in (0.0, 0.02, 0.1)] == [0, 8, 4]


def test_it_keeps_the_contract_of_passes(model_of, samples_of, tmp_path):
    model = model_of(CONVOLUTION, w=normal(16, 8, 3, 3), b=normal(16))
    folder = tmp_path / "check"
    folder.mkdir()

    check_pass(Factorize(multiple_of=2), model, Supplies(samples=samples_of(x=normal(4, 1, 8, 13, 11, seed=5))), folder)

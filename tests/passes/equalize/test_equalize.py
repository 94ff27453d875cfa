import msgspec
import numpy as np
import onnx
import pytest

from edgekit.errors import SamplesError
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.equalize import Equalize
from edgekit.testing import check_pass

GENERATOR = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def numbers_anew():
    """Every test draws the same numbers, whichever ran before it."""
    GENERATOR.bit_generator.state = np.random.default_rng(0).bit_generator.state


def normal(*shape, scale=1.0):
    return (GENERATOR.normal(size=shape) * scale).astype(np.float32)


def pictures(count=8, channels=3):
    return [normal(1, channels, 8, 8) for _ in range(count)]


def feeds(arrays):
    return [{"x": one} for one in arrays]


def spread(sizes):
    return float(sizes.max() / sizes.min())


DEPTHWISE = """net (float[1,3,8,8] x) => (float[1,5,4,4] y) {
    a = Conv(x, w, b)  r = Relu(a)  d = Conv<group=6>(r, v, c)  s = Relu(d)  y = Conv(s, u)
}"""


def depthwise():
    """The fourth channel of r is 50 times larger than the others, and weighed 50 times less."""
    weights = {"w": normal(6, 3, 3, 3), "b": normal(6), "v": normal(6, 1, 3, 3), "c": normal(6), "u": normal(5, 6, 1, 1)}
    weights["w"][3], weights["b"][3], weights["v"][3] = weights["w"][3] * 50, weights["b"][3] * 50, weights["v"][3] / 50
    return weights


def test_a_channel_fifty_times_larger_becomes_like_the_others_and_outputs_stay(model_of, samples_of, equalize, sizes, assert_same_outputs, constants):
    arrays, weights = pictures(), depthwise()
    model = model_of(DEPTHWISE, **weights)
    result = equalize(model, samples_of(x=arrays))
    before, after = (sizes(one, "r", feeds(arrays)) for one in (model, result))
    held = constants(result)

    assert spread(before) > 40
    assert spread(after) < 3
    assert_same_outputs(model, result, feeds(arrays))
    factor = after / before
    np.testing.assert_allclose(held["w"], weights["w"] * factor[:, None, None, None], rtol=1e-4)
    np.testing.assert_allclose(held["b"], weights["b"] * factor, rtol=1e-4)


def test_a_group_of_channels_is_named_in_the_record_of_the_step(model_of, samples_of, equalize):
    result = equalize(model_of(DEPTHWISE, **depthwise()), samples_of(x=pictures()))
    step = result.history[-1]

    assert (step.name, step.options) == ("equalize", {"center": True, "clipped": True, "min_sqnr_db": 40.0})
    assert step.did["groups"] >= 1
    assert step.did["before_a_clip"] == 0
    assert step.did["sqnr_db"] > 80
    assert step.did["expected_gain_db"]["r"] > 10


def test_both_branches_of_an_addition_and_all_readers_are_scaled_alike(model_of, samples_of, equalize, sizes, assert_same_outputs, constants):
    text = """net (float[1,3,8,8] x) => (float[1,5,6,6] y, float[1,4,6,6] z) {
        a = Conv(x, w, b)  i = Conv(x, k, e)  s = Add(a, i)  r = Relu(s)  y = Conv(r, v)  z = Conv(r, u)
    }"""
    weights = {"w": normal(6, 3, 3, 3), "b": normal(6), "k": normal(6, 3, 3, 3), "e": normal(6), "v": normal(5, 6, 1, 1), "u": normal(4, 6, 1, 1)}
    for name in "wbke":
        weights[name][2] *= 50
    for name in "vu":
        weights[name][:, 2] /= 50
    arrays, model = pictures(), model_of(text, **weights)
    result = equalize(model, samples_of(x=arrays))
    held = constants(result)
    factor = held["b"] / weights["b"]

    assert factor.max() / factor.min() > 10
    assert int(factor.argmin()) == 2
    for name in "wk":
        np.testing.assert_allclose(held[name], weights[name] * factor[:, None, None, None], rtol=1e-4)
    for name in "vu":
        np.testing.assert_allclose(held[name], weights[name] / factor[:, None, None], rtol=1e-4)
    np.testing.assert_allclose(held["e"], weights["e"] * factor, rtol=1e-4)
    assert spread(sizes(result, "r", feeds(arrays))) < 4
    assert_same_outputs(model, result, feeds(arrays))


CLIPPED = """net (float[1,3,8,8] x) => (float[1,5,4,4] y) {
    a = Conv(x, w, b)  r = Clip(a, zero, six)  d = Conv<group=6>(r, v, c)  s = Relu(d)  y = Conv(s, u)
}"""


def clipped():
    """Channel 0 of a reaches far beyond 6, channel 1 is never more than 0, the others hardly reach 0.2."""
    weights = {"w": normal(6, 3, 3, 3, scale=0.01), "b": normal(6, scale=0.01), "v": normal(6, 1, 3, 3), "c": normal(6), "u": normal(5, 6, 1, 1)}
    weights["w"][0], weights["w"][1], weights["b"][1] = normal(3, 3, 3), 0.0, -1.0
    weights["v"][2:] *= 30
    return weights | {"zero": np.float32(0), "six": np.float32(6)}


def test_before_a_clip_small_channels_are_scaled_and_those_that_reach_it_or_are_not_seen_stay(
    model_of, samples_of, equalize, sizes, assert_same_outputs, constants
):
    arrays, weights = pictures(), clipped()
    model = model_of(CLIPPED, **weights)
    result = equalize(model, samples_of(x=arrays))
    before, after = (sizes(one, "r", feeds(arrays)) for one in (model, result))
    held = constants(result)
    factor = held["b"] / weights["b"]

    assert before[0] == after[0] == 6.0
    np.testing.assert_array_equal(held["w"][:2], weights["w"][:2])
    np.testing.assert_array_equal(held["b"][:2], weights["b"][:2])
    assert factor[2:].min() > 2.0
    assert factor.max() <= 4.0 * 1.001
    assert after[2:].max() < 6.0
    np.testing.assert_allclose(after[2:], before[2:] * factor[2:], rtol=1e-4)
    assert_same_outputs(model, result, feeds(arrays))
    assert result.history[-1].did["before_a_clip"] == 1


def test_no_channel_is_scaled_so_far_that_the_clip_could_cut_it_off(model_of, samples_of, equalize, sizes):
    """What nobody has seen may be a quarter larger than the samples."""
    weights, arrays = clipped(), pictures()
    weights["w"][2:] *= 8  # channels of up to 2
    result = equalize(model_of(CLIPPED, **weights), samples_of(x=arrays))
    largest = sizes(result, "a", feeds(arrays))[2:]

    assert largest.max() < 6.0 / 1.25


def test_channels_before_a_clip_stay_if_that_is_wished(model_of, samples_of, equalize, constants):
    weights = clipped()
    result = equalize(model_of(CLIPPED, **weights), samples_of(x=pictures()), clipped=False)

    np.testing.assert_array_equal(constants(result)["w"], weights["w"])
    np.testing.assert_array_equal(constants(result)["b"], weights["b"])
    assert result.history[-1].did["before_a_clip"] == 0


def test_channels_before_a_clip_stay_where_too_little_fidelity_would_be_left(model_of, samples_of, equalize, constants):
    """Rounding of float32 alone is more than 1000 dB allow."""
    weights = clipped()
    result = equalize(model_of(CLIPPED, **weights), samples_of(x=pictures()), min_sqnr_db=1000.0)

    np.testing.assert_array_equal(constants(result)["w"], weights["w"])
    assert result.history[-1].did["before_a_clip"] == 0


def test_what_a_layer_normalization_makes_is_scaled_in_its_scale_and_bias(model_of, samples_of, equalize, sizes, assert_same_outputs, constants):
    text = """net (float[1,7,8] x) => (float[1,7,5] y, float[1,7,6] z) {
        n = LayerNormalization(x, s, b)  m = MatMul(n, w)  y = Add(m, c)  z = MatMul(n, v)
    }"""
    weights = {"s": 1 + normal(8, scale=0.1), "b": normal(8, scale=0.1), "w": normal(8, 5), "c": normal(5), "v": normal(8, 6)}
    for name, factor in (("s", 30), ("b", 30), ("w", 1 / 30), ("v", 1 / 30)):
        weights[name][5] *= factor
    arrays = [normal(1, 7, 8) for _ in range(8)]
    model = model_of(text, **weights)
    result = equalize(model, samples_of(x=arrays))
    held = constants(result)
    factor = held["s"] / weights["s"]

    assert factor.max() / factor.min() > 8
    np.testing.assert_allclose(held["b"], weights["b"] * factor, rtol=1e-4)
    np.testing.assert_allclose(held["w"], weights["w"] / factor[:, None], rtol=1e-4)
    np.testing.assert_allclose(held["v"], weights["v"] / factor[:, None], rtol=1e-4)
    np.testing.assert_array_equal(held["c"], weights["c"])
    assert spread(sizes(result, "n", feeds(arrays), axis=2)) < 5
    assert_same_outputs(model, result, feeds(arrays))


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("p = GlobalAveragePool(r)  f = Flatten(p)", 1),
        ("f = Flatten(r)", 36),
        ("f = Reshape(r, flat)", 36),
        ("t = Transpose<perm=[0,2,3,1]>(r)  f = ReduceMean<keepdims=0>(t, rows)", 1),
        ("q = Conv(x, k)  e = Concat<axis=1>(q, r)  p = GlobalMaxPool(e)  f = Flatten(p)", 2),
    ],
)
@pytest.mark.parametrize("transposed", [0, 1])
def test_channels_are_scaled_through_to_a_fully_connected_layer(
    model_of, samples_of, equalize, sizes, assert_same_outputs, constants, path, read, transposed
):
    shapes = {"flat": np.array([0, -1]), "rows": np.array([1, 2]), "k": normal(6, 3, 3, 3)}
    weights = {"w": normal(6, 3, 3, 3), "b": normal(6), "u": normal(6 * read, 5)} | {name: one for name, one in shapes.items() if f" {name})" in path}
    weights["w"][4], weights["b"][4] = weights["w"][4] * 50, weights["b"][4] * 50
    at = 10 if "Concat" in path else 4
    weights["u"].reshape(-1, read if "Concat" not in path else 1, 5)[at] /= 50
    weights["u"] = np.ascontiguousarray(weights["u"].T) if transposed else weights["u"]
    text = f"net (float[1,3,8,8] x) => (float[1,5] y) {{ a = Conv(x, w, b)  r = Relu(a)  {path}  y = Gemm<transB={transposed}, alpha=0.5>(f, u) }}"
    arrays, model = pictures(), model_of(text, **weights)
    result = equalize(model, samples_of(x=arrays))
    factor = constants(result)["b"] / weights["b"]

    assert factor.max() / factor.min() > 10
    assert spread(sizes(result, "r", feeds(arrays))) < 5
    assert_same_outputs(model, result, feeds(arrays))


@pytest.mark.parametrize(
    "text",
    [
        "net (float[1,3,8,8] x) => (float[1,6,6,6] y) { a = Conv(x, w, b)  y = Relu(a) }",
        "net (float[1,3,8,8] x) => (float[1,6,6,6] r, float[1,5,6,6] y) { a = Conv(x, w, b)  r = Relu(a)  y = Conv(r, v) }",
        "net (float[1,3,8,8] x) => (float[1,5,6,6] y) { a = Conv(x, w, b)  r = Sigmoid(a)  y = Conv(r, v) }",
        "net (float[1,3,8,8] x) => (float[n,c,h,k] y) { a = Conv(x, w, b)  s, t = Split<axis=1,num_outputs=2>(a)  q = Add(s, t)  y = Conv(q, g) }",
        "net (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }",
        "net (float[1,3,8,8] x) => (float[1,6,6,6] y, float[6] c) { a = Conv(x, w, b)  c = Identity(b)  r = Relu(a)  y = Conv(r, k) }",
    ],
)
def test_where_nothing_may_be_scaled_the_weights_keep_their_bytes(model_of, samples_of, equalize, text):
    weights = {"w": normal(6, 3, 3, 3), "b": normal(6), "v": normal(5, 6, 1, 1), "k": normal(6, 6, 1, 1), "g": normal(5, 3, 1, 1)}
    weights["w"][4], weights["b"][4] = weights["w"][4] * 50, weights["b"][4] * 50
    model = model_of(text, **{name: one for name, one in weights.items() if f", {name}" in text or f"({name})" in text})
    result = equalize(model, samples_of(x=pictures()))
    before, after = (onnx.load(one.path).graph for one in (model, result))

    assert [one.SerializeToString() for one in after.initializer] == [one.SerializeToString() for one in before.initializer]
    assert [one.SerializeToString() for one in after.node] == [one.SerializeToString() for one in before.node]
    assert result.history[-1].did == {"centered": 0, "groups": 0, "before_a_clip": 0, "sqnr_db": None, "expected_gain_db": {}}


def test_channels_that_are_alike_stay_as_they_are(model_of, samples_of, equalize, constants):
    weights = {"w": normal(6, 3, 1, 1), "v": np.ones((5, 6, 1, 1), np.float32)}
    weights["w"][:] = np.where(np.arange(6).reshape(6, 1, 1, 1) % 2, -1.0, 1.0) * weights["w"][:1]
    model = model_of("net (float[1,3,8,8] x) => (float[1,5,8,8] y) { a = Conv(x, w)  y = Conv(a, v) }", **weights)

    np.testing.assert_array_equal(constants(equalize(model, samples_of(x=pictures())))["w"], weights["w"])


def test_a_net_of_uneven_channels_loses_much_less_when_it_is_quantized(model_of, samples_of, equalize, quantize, schemes, run, sqnr_db):
    arrays, new = pictures(16), pictures(8)
    model = model_of(DEPTHWISE, **depthwise())
    samples = samples_of(x=arrays)
    expected = np.stack([run(model, x=x)[0] for x in new])
    plain, equal = (quantize(one, schemes["x86"], samples) for one in (model, equalize(model, samples)))

    assert sqnr_db(expected, np.stack([run(equal, x=x)[0] for x in new])) > 3.0 + sqnr_db(expected, np.stack([run(plain, x=x)[0] for x in new]))


def test_constants_of_the_graph_that_outputs_do_not_depend_on_may_be_zero(model_of, samples_of, equalize, assert_same_outputs):
    """Dead channels and dead readers are no reason to divide by zero."""
    weights = depthwise()
    weights["w"][1], weights["b"][1], weights["v"][2], weights["u"][:] = 0.0, 0.0, 0.0, 0.0
    arrays, model = pictures(), model_of(DEPTHWISE, **weights)
    result = equalize(model, samples_of(x=arrays))

    assert_same_outputs(model, result, feeds(arrays))


@pytest.mark.parametrize(("text", "weights"), [(DEPTHWISE, depthwise), (CLIPPED, clipped)])
def test_it_keeps_the_contract_of_a_pass(model_of, samples_of, tmp_path, text, weights):
    tmp = tmp_path / "tmp"
    tmp.mkdir()

    check_pass(Equalize(), model_of(text, **weights()), Supplies(samples=samples_of(x=pictures())), tmp)


def test_it_needs_samples(model_of, tmp_path):
    assert Equalize.needs == {Need.SAMPLES}
    with pytest.raises(SamplesError, match="needs samples"):
        Equalize()(model_of(DEPTHWISE, **depthwise()), Supplies(), tmp_path)


def test_schemes_do_not_change_it(model_of, samples_of, schemes, tmp_path):
    model, samples = model_of(DEPTHWISE, **depthwise()), samples_of(x=pictures())
    made = []
    for name, scheme in {**schemes, "reduced": msgspec.structs.replace(schemes["x86"], reduce_range=True)}.items():
        (tmp_path / name).mkdir()
        made.append(Equalize()(model, Supplies(samples=samples, scheme=scheme), tmp_path / name).sha256)

    assert len(set(made)) == 1

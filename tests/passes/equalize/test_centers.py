import numpy as np
import onnx
import pytest

from edgekit.graph.run import Runner
from edgekit.graph.view import View
from edgekit.passes.equalize.centers import centered, offsets_of
from edgekit.passes.equalize.channels import channels_of
from edgekit.passes.equalize.statistics import Extent, extent_of

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


def far_off(channels):
    """A bias that carries every channel far away from 0."""
    return np.linspace(-90, 110, channels, dtype=np.float32)


@pytest.fixture
def middles():
    """Half way between the largest and the smallest value of each channel of an inner tensor, over some inputs."""

    def of(model, tensor, inputs, axis=1):
        runner = Runner(model.path, outputs=[tensor])
        values = np.moveaxis(np.stack([runner(feed)[tensor] for feed in inputs]), axis + 1, 0)
        rows = values.reshape(values.shape[0], -1)
        return (rows.max(axis=1) + rows.min(axis=1)) / 2

    return of


def test_a_channel_that_lies_far_off_is_moved_around_zero_and_the_next_bias_takes_it_in(
    model_of, samples_of, equalize, constants, middles, assert_same_outputs
):
    arrays = pictures()
    weights = {"w": normal(4, 3, 3, 3), "b": far_off(4), "v": normal(5, 4, 1, 1), "c": normal(5)}
    model = model_of("net (float[1,3,8,8] x) => (float[1,5,6,6] y) { a = Conv(x, w, b)  y = Conv(a, v, c) }", **weights)
    samples = samples_of(x=arrays)
    calibrating = list(samples.feeds("calibrating", model.signature))
    center = middles(model, "a", calibrating)

    result = equalize(model, samples)

    held = constants(result)
    factor = held["w"].reshape(4, -1)[:, 0] / weights["w"].reshape(4, -1)[:, 0]
    np.testing.assert_allclose(middles(result, "a", calibrating), 0.0, atol=1e-3)
    np.testing.assert_allclose(held["b/centered"] / factor, weights["b"] - center, rtol=1e-4)
    np.testing.assert_allclose(held["c/centered"], weights["c"] + weights["v"].reshape(5, 4) @ center, rtol=1e-4)
    assert_same_outputs(model, result, feeds(arrays))
    assert result.history[-1].did["centered"] == 1


def test_channels_stay_where_they_are_if_one_says_so(model_of, samples_of, equalize, constants):
    weights = {"w": normal(4, 3, 3, 3), "b": far_off(4), "v": normal(5, 4, 1, 1), "c": normal(5)}
    model = model_of("net (float[1,3,8,8] x) => (float[1,5,6,6] y) { a = Conv(x, w, b)  y = Conv(a, v, c) }", **weights)

    result = equalize(model, samples_of(x=pictures()), center=False)

    assert result.history[-1].did["centered"] == 0
    np.testing.assert_array_equal(constants(result)["c"], weights["c"])


PASSED_ON = {
    "a residual Add": "a = Conv(x, w, b)  d = Conv(x, w2, b2)  s = Add(a, d)  y = Conv(s, v, c)",
    "an Add of a constant": "a = Conv(x, w, b)  s = Add(a, k)  y = Conv(s, v, c)",
    "maxima": "a = Conv(x, w, b)  s = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)  y = Conv(s, v, c)",
    "averages without padding": "a = Conv(x, w, b)  s = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)  y = Conv(s, v, c)",
    "averages over everything": "a = Conv(x, w, b)  s = GlobalAveragePool(a)  y = Conv(s, v, c)",
    "a dense layer": "a = Conv(x, w, b)  s = GlobalAveragePool(a)  f = Flatten(s)  y = Gemm<transB=1, alpha=0.5, beta=2.0>(f, m, c)",
    "a MatMul and its bias": "a = Conv(x, w, b)  s = Flatten(a)  p = MatMul(s, n)  y = Add(p, c)",
    "a Concat": "a = Conv(x, w, b)  d = Conv(x, w2, b2)  s = Concat<axis=1>(a, d)  y = Conv(s, v8, c)",
    "a convolution of groups": "a = Conv(x, w, b)  y = Conv<group=2>(a, v2, c6)",
    "a stride": "a = Conv(x, w, b)  y = Conv<strides=[2,2]>(a, v3, c)",
    "a convolution without bias": "a = Conv(x, w)  y = Conv(a, v)",
    "one read twice": "a = Conv(x, w, b)  d = Conv(a, v, c)  e = Conv(a, vb, c)  y = Mul(d, e)",
}


def constants_of_all():
    return {
        "w": normal(4, 3, 3, 3) + np.float32(0.5), "b": far_off(4), "w2": normal(4, 3, 3, 3), "b2": far_off(4)[::-1].copy(),
        "v": normal(5, 4, 1, 1), "vb": normal(5, 4, 1, 1), "v8": normal(5, 8, 1, 1), "v2": normal(6, 2, 1, 1), "v3": normal(5, 4, 3, 3),
        "c": normal(5), "c6": normal(6), "k": normal(1, 4, 1, 1), "m": normal(5, 4), "n": normal(144, 5),
    }  # fmt: skip


def of_graph(body, made="float[N,C,H,W] y"):
    used = {name: value for name, value in constants_of_all().items() if any(word.strip("(),") == name for word in body.replace("(", " ").split())}
    return f"net (float[1,3,8,8] x) => ({made}) {{ {body} }}", used


@pytest.mark.parametrize("name", PASSED_ON)
def test_an_offset_goes_through(name, model_of, samples_of, equalize, assert_same_outputs):
    arrays = [one + np.float32(3) for one in pictures()]
    text, used = of_graph(PASSED_ON[name], made="float[N,F] y" if "dense" in name or "MatMul" in name else "float[N,C,H,W] y")
    model = model_of(text, **used)

    result = equalize(model, samples_of(x=arrays))

    assert result.history[-1].did["centered"] > 0
    assert_same_outputs(model, result, feeds(arrays))


STOPPED_AT = {
    "padding with 0, which would no longer be what 0 was": "a = Conv(x, w, b)  y = Conv<pads=[1,1,1,1]>(a, v3, c)",
    "an activation": "a = Conv(x, w, b)  r = Relu(a)  y = Conv(r, v, c)",
    "the output of the graph": "y = Conv(x, w, b)",
    "averages that count padding": "a = Conv(x, w, b)  "
    "s = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(a)  y = Conv(s, v, c)",
    "a product of two tensors": "a = Conv(x, w, b)  d = Conv(x, w2, b2)  s = Mul(a, d)  y = Conv(s, v, c)",
    "a transposed convolution": "a = Conv(x, w, b)  y = ConvTranspose(a, vt)",
    "another reader that needs it as it is": "a = Conv(x, w, b)  d = Conv(a, v, c)  e = Exp(a)  f = Conv(e, vb, c)  y = Add(d, f)",
}


@pytest.mark.parametrize("name", STOPPED_AT)
def test_nothing_is_moved_before(name, model_of, samples_of, equalize, assert_same_outputs):
    arrays = pictures()
    text, used = of_graph(STOPPED_AT[name])
    if "vt" in text:
        used["vt"] = normal(4, 5, 2, 2)
    model = model_of(text, **used)

    result = equalize(model, samples_of(x=arrays), clipped=False)

    assert result.history[-1].did["centered"] == 0
    if "Exp" not in name:
        assert_same_outputs(model, result, feeds(arrays))


def test_a_matmul_without_bias_cannot_take_an_offset_in(model_of, samples_of, equalize):
    text, used = of_graph("a = Conv(x, w, b)  s = Flatten(a)  y = MatMul(s, n)", made="float[N,F] y")
    assert equalize(model_of(text, **used), samples_of(x=pictures())).history[-1].did["centered"] == 0


def test_what_a_layer_normalization_makes_is_moved_by_its_own_bias(model_of, samples_of, equalize, constants, middles, assert_same_outputs):
    arrays = [normal(1, 5, 8) for _ in range(6)]
    weights = {"g": np.ones(8, np.float32), "b": far_off(8), "w": normal(8, 6), "c": normal(6)}
    model = model_of("net (float[1,5,8] x) => (float[1,5,6] y) { n = LayerNormalization(x, g, b)  p = MatMul(n, w)  y = Add(p, c) }", **weights)
    samples = samples_of(x=arrays)
    calibrating = list(samples.feeds("calibrating", model.signature))

    result = equalize(model, samples)

    np.testing.assert_allclose(middles(result, "n", calibrating, axis=2), 0.0, atol=1e-3)
    assert_same_outputs(model, result, feeds(arrays))


def test_a_bias_that_two_nodes_share_is_given_to_each_by_itself(model_of, samples_of, equalize, assert_same_outputs):
    arrays = pictures()
    weights = {"w": normal(4, 3, 1, 1), "b": far_off(4), "v": normal(4, 4, 1, 1), "u": normal(5, 4, 1, 1), "c": normal(5)}
    model = model_of("net (float[1,3,8,8] x) => (float[1,5,8,8] y) { a = Conv(x, w, b)  d = Conv(a, v, b)  y = Conv(d, u, c) }", **weights)

    result = equalize(model, samples_of(x=arrays))

    assert_same_outputs(model, result, feeds(arrays))


def extent(center):
    return Extent(np.array([center + 1.0]), np.array([center - 1.0]), np.array([center]), np.array([center**2]))


def test_both_sides_of_an_add_and_their_sum_share_what_cannot_be_had_by_all(proto_of):
    # Centers 1, 2 and 9 with equal weights: least (a - 1)^2 + (b - 2)^2 + (a + b - 9)^2 is at a = 3, b = 4.
    text = "net (float[1,1,4,4] x) => (float[1,1,4,4] y) { a = Conv(x, w, c)  b = Conv(x, v, d)  s = Add(a, b)  y = Conv(s, u, e) }"
    ones = {name: np.ones((1, 1, 1, 1), np.float32) for name in "wvu"} | {name: np.ones(1, np.float32) for name in "cde"}
    view = View(proto_of(text, **ones))
    offsets = offsets_of(view, channels_of(view))

    seen = {"a": extent(1.0), "b": extent(2.0), "s": extent(9.0)}
    moved = centered(offsets, seen, {name: np.ones(1) for name in "abs"})

    assert {name: pytest.approx(value) for name, value in moved.items()} == {"a": [3.0], "b": [4.0]}
    assert offsets.of("s", moved) == pytest.approx([7.0])


def test_an_extent_that_is_moved_is_that_of_the_moved_values():
    values = normal(2, 3, 5) * 4 + 7
    offset = np.array([6.0, 7.0, 8.5])

    moved, wanted = extent_of(values, 1).moved(offset), extent_of(values - offset[None, :, None], 1)

    for name in ("largest", "smallest", "mean", "mean_square"):
        np.testing.assert_allclose(getattr(moved, name), getattr(wanted, name), rtol=1e-5, atol=1e-4)


def test_a_moved_graph_is_a_graph_that_the_checker_accepts(model_of, samples_of, equalize):
    text, used = of_graph(PASSED_ON["a Concat"])
    result = equalize(model_of(text, **used), samples_of(x=pictures()))
    onnx.checker.check_model(str(result.path), full_check=True)

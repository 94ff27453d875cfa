import math
import os

import numpy as np
import pytest

from edgekit.errors import SamplesError, SourceError
from edgekit.graph import onnx_file
from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.numerics.affine import INT8_SYMMETRIC
from edgekit.numerics.observers import COUNTED, Histogram
from edgekit.passes.quantize import calibrate as calibrating
from edgekit.passes.quantize.calibrate import calibrate
from edgekit.passes.quantize.observations import Observations, Rounded, read, write
from edgekit.passes.quantize.round_weights import round_weights
from edgekit.watch import SILENT

NET = """net (float[1,3,8,8] x) => (float[1,2] y) {
    a = Conv<pads=[1,1,1,1]>(x, w, b)  r = Relu(a)  d = Conv<group=4>(r, v)  p = GlobalAveragePool(d)  f = Flatten(p)  y = Gemm(f, u)
}"""


def weights():
    generator = np.random.default_rng(0)
    shapes = {"w": (4, 3, 3, 3), "b": (4,), "v": (4, 1, 3, 3), "u": (4, 2)}
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def pictures(count, seed=1):
    generator = np.random.default_rng(seed)
    return [{"x": generator.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


@pytest.fixture
def look(model_of):
    """What calibration sees of a net on some samples."""
    model = model_of(NET, **weights())
    view = View(onnx_file.infer_shapes(onnx_file.load(model.path)))

    def at(feeds, watcher=SILENT):
        return calibrate(model.path, view, feeds, watcher, tuple(weighted_nodes(view).values()))

    at.view = view
    return at


def bytes_of(seen, view, folder):
    folder.mkdir()
    averages = {name: one.mean for name, one in seen.moments.items()}
    rounded = round_weights(view, weighted_nodes(view), seen.moments, dict.fromkeys(PRODUCTS, INT8_SYMMETRIC), per_channel=True)
    write(Observations(histograms=seen.histograms, averages=averages, weights=rounded, samples=seen.samples), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_samples_leave_the_same_bytes_behind_on_any_number_of_processors(look, tmp_path, monkeypatch):
    found = []
    for cpus in (1, 2, 7):
        monkeypatch.setattr(os, "cpu_count", lambda cpus=cpus: cpus)
        found.append(bytes_of(look(pictures(30)), look.view, tmp_path / f"{cpus}"))

    assert found[0].keys() == {"observations.json", "observations.npz"}
    assert found[0] == found[1] == found[2]


def test_every_tensor_that_may_be_stored_has_a_histogram_and_every_product_its_moments(look):
    seen = look(pictures(9))

    assert set(seen.histograms) == {"x", "r", "d", "p", "f", "y"}  # a is never stored: Relu is computed with the convolution
    assert {name: one.total.shape for name, one in seen.moments.items()} == {"Conv_0": (1, 27, 27), "Conv_2": (4, 9, 9), "Gemm_5": (1, 4, 4)}
    assert seen.samples == 9


def test_what_is_kept_does_not_grow_with_the_samples(look):
    def kept(seen):
        return (
            {name: one.total.nbytes for name, one in seen.moments.items()},
            set(seen.histograms),
            max(len(one.counts) for one in seen.histograms.values()),
        )

    (few, few_tensors, _), (many, many_tensors, bins) = kept(look(pictures(4))), kept(look(pictures(100)))

    assert few == many
    assert few_tensors == many_tensors
    assert bins <= 4096


def test_samples_are_taken_as_they_come_and_not_all_at_once(look, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    taken, ahead = [], []

    class Listening:
        begin = end = note = staticmethod(lambda *_: None)

        @staticmethod
        def advance(units=1):
            ahead.append(len(taken) - sum(units for _ in ahead) - units)

    def feeds():
        for feed in pictures(40):
            taken.append(1)
            yield feed

    look(feeds(), Listening())

    assert len(ahead) == 10
    assert max(ahead) <= 8


def test_histograms_hold_the_extremes_of_all_samples_and_counts_of_all_values(look):
    feeds = pictures(10)
    seen = look(feeds)
    values = np.stack([feed["x"] for feed in feeds])
    x = seen.histograms["x"]

    assert (x.low, x.high) == (values.min(), values.max())
    assert x.counts.sum() == values.size
    assert x.samples == 10
    np.testing.assert_allclose(x.highs / 10, values.reshape(10, -1).max(axis=1).mean(), rtol=1e-6)


def test_averages_are_those_of_what_the_weights_are_multiplied_with(look, run, model_of):
    feeds = pictures(10)
    moments = look(feeds).moments["Conv_0"]
    padded = [np.pad(feed["x"][0], ((0, 0), (1, 1), (1, 1))) for feed in feeds]
    expected = [np.mean([one[c, y : y + 8, x : x + 8] for one in padded]) for c in range(3) for y in range(3) for x in range(3)]

    np.testing.assert_allclose(moments.mean[0], expected, atol=1e-5)
    assert moments.rows == 640
    assert moments.batches == 3  # chunks of four samples: what rows have in common within one is no proof


def test_a_net_with_large_tensors_is_run_in_portions_that_see_the_same(look, monkeypatch):
    at_once = look(pictures(6))
    monkeypatch.setattr(calibrating, "FETCHED_AT_ONCE_BYTES", 1)
    in_portions = look(pictures(6))

    assert in_portions.histograms.keys() == at_once.histograms.keys()
    for name, one in at_once.histograms.items():
        np.testing.assert_array_equal(in_portions.histograms[name].counts, one.counts)
    for name, one in at_once.moments.items():
        np.testing.assert_array_equal(in_portions.moments[name].total, one.total)


def test_a_graph_that_makes_no_float_tensor_shows_its_input_alone(model_of):
    model = model_of("net (float[1,4] x) => (int64[1] y) { y = ArgMax<axis=1, keepdims=0>(x) }")
    view = View(onnx_file.infer_shapes(onnx_file.load(model.path)))
    seen = calibrate(model.path, view, [{"x": np.array([[1.0, -3.0, 2.0, 0.0]], np.float32)}], SILENT)

    assert {name: (one.low, one.high) for name, one in seen.histograms.items()} == {"x": (-3.0, 2.0)}


def test_no_samples_and_bad_samples_are_refused(look):
    with pytest.raises(SamplesError, match="no samples to calibrate"):
        look([])
    with pytest.raises(SourceError, match="x: infinite or not a number"):
        look([*pictures(5), {"x": np.full((1, 3, 8, 8), np.nan, np.float32)}])
    with pytest.raises(SamplesError, match="does not fit"):
        look([*pictures(5), {"x": np.zeros((1, 3, 9, 9), np.float32)}])


def test_inputs_far_from_zero_that_hardly_vary_can_be_calibrated_on(look):
    """A white wall: float32 does not show how its pixels vary together."""
    generator = np.random.default_rng(2)
    seen = look([{"x": (1000.0 + 0.01 * generator.normal(size=(1, 3, 8, 8))).astype(np.float32)} for _ in range(12)])
    rounded = round_weights(look.view, weighted_nodes(look.view), seen.moments, dict.fromkeys(PRODUCTS, INT8_SYMMETRIC), per_channel=True)

    assert np.isfinite(rounded["Conv_0"].added).all()


def observed(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.observe(np.asarray(batch, np.float32))
    return histogram


def test_observations_are_read_as_they_were_written(tmp_path):
    written = Observations(
        histograms={
            "some": observed([1.0, -2.5, 1e-3], [7.0]),
            "nothing/at all": Histogram(),
            "zeros": observed(np.zeros(5)),
            "large": observed(np.linspace(-1e30, 1e30, 3 * COUNTED)),
        },
        averages={"conv": np.array([[0.1, 1 / 3]]), "gemm/1": np.zeros((2, 1))},
        weights={"conv": Rounded(np.array([[-127, 3]], np.int8), np.array([0.1], np.float32), np.array([1e-9]), np.array([2e-9]))},
        samples=12,
    )
    write(written, tmp_path)
    found = read(tmp_path)

    assert found.samples == 12
    assert list(found.histograms) == list(written.histograms)
    for name, one in written.histograms.items():
        other = found.histograms[name]
        for part in ("low", "high", "width", "first", "lows", "highs", "samples"):
            assert getattr(other, part) == getattr(one, part), (name, part)
        np.testing.assert_array_equal(other.counts, one.counts)
    assert (found.histograms["nothing/at all"].low, found.histograms["nothing/at all"].high) == (math.inf, -math.inf)
    for name, average in written.averages.items():
        np.testing.assert_array_equal(found.averages[name], average)
    for part in Rounded.__slots__:
        kept, expected = getattr(found.weights["conv"], part), getattr(written.weights["conv"], part)
        assert kept.dtype == expected.dtype
        np.testing.assert_array_equal(kept, expected)

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.numerics.affine import UINT8
from edgekit.numerics.observers import Histogram, range_of_least_divergence, range_of_least_error
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize

LAYERS = 4
CHANNELS = 12


def deep(generator):
    """Convolutions of smooth pictures: neighbours and channels resemble one another; weights of very different sizes."""
    layers, weights = ["t0 = Identity(x)"], {}
    for at in range(LAYERS):
        weights[f"w{at}"] = generator.normal(size=(CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / 10
        weights[f"w{at}"][:, at, 1, 1] = 4.0  # beside it the others lose most of their digits
        layers.append(f"c{at} = Conv<pads=[1,1,1,1]>(t{at}, w{at})  t{at + 1} = Relu(c{at})")
    return f"net (float[1,{CHANNELS},16,16] x) => (float[1,{CHANNELS},16,16] y) {{ {' '.join(layers)} y = Identity(t{LAYERS}) }}", weights


def smooth(generator, count):
    """Pictures whose neighbours are alike, of channels that are mixtures of three."""
    mixing = np.random.default_rng(99).normal(size=(CHANNELS, 3))
    found = []
    for _ in range(count):
        rough = np.fft.rfft2(generator.normal(size=(3, 16, 16)))
        rough[:, 3:-2], rough[:, :, 3:] = 0.0, 0.0
        found.append(np.einsum("ck,khw->chw", mixing, np.fft.irfft2(rough))[None].astype(np.float32))
    return found


def weights_of(proto):
    """Integers and scale of every convolution's weights, by node, and the float scale of its bias."""
    held = {one.name: onnx.numpy_helper.to_array(one) for one in proto.graph.initializer}
    makers = {one.output[0]: one for one in proto.graph.node}
    return {one.name: tuple(held[name] for name in makers[one.input[1]].input[:2]) for one in proto.graph.node if one.op_type == "Conv"}


def kept(tmp_path):
    """A ``shared`` that keeps what was made, and what it keeps."""
    folders = {}

    def shared(name, decided_by, make):
        key = (name, repr(sorted(decided_by.items(), key=str)))
        if key not in folders:
            folders[key] = tmp_path / f"shared{len(folders)}"
            folders[key].mkdir()
            make(folders[key])
        return folders[key]

    return shared, folders


def test_compensated_rounding_keeps_two_decibels_more_where_inputs_resemble_one_another(model_of, samples_of, quantize, schemes, run, sqnr_db):
    generator = np.random.default_rng(0)
    text, weights = deep(generator)
    model, samples = model_of(text, **weights), samples_of(x=smooth(generator, 24))
    new = smooth(generator, 8)
    expected = np.stack([run(model, x=x)[0] for x in new])
    found = {}
    for rounding in ("nearest", "compensated"):
        quantized = quantize(model, schemes["x86"], samples, rounding=rounding)
        found[rounding] = sqnr_db(expected, np.stack([run(quantized, x=x)[0] for x in new]))

    assert found["compensated"] > found["nearest"] + 2.0


def test_nearest_rounding_is_to_the_nearest_and_compensated_is_on_the_same_scales(model_of, samples_of, quantize, schemes):
    generator = np.random.default_rng(1)
    text, weights = deep(generator)
    model, samples = model_of(text, **weights), samples_of(x=smooth(generator, 12))
    nearest, compensated = (weights_of(quantize(model, schemes["x86"], samples, rounding=rounding)) for rounding in ("nearest", "compensated"))

    for at, (name, (integers, scale)) in enumerate(nearest.items()):
        exact = weights[f"w{at}"] / scale[:, None, None, None].astype(np.float64)
        np.testing.assert_array_equal(integers, np.rint(exact))
        np.testing.assert_array_equal(compensated[name][1], scale)
        assert 0.05 < (compensated[name][0] != integers).mean() < 0.9
        assert np.abs(compensated[name][0]).max() <= 127


@pytest.mark.parametrize("per", ["per-channel", "per-tensor"])
def test_schemes_that_store_weights_alike_share_their_rounding(model_of, samples_of, schemes, tmp_path, per):
    generator = np.random.default_rng(2)
    text, weights = deep(generator)
    model, samples = model_of(text, **weights), samples_of(x=smooth(generator, 6))
    shared, folders = kept(tmp_path)
    integers = []
    for name in ("x86", "tflite"):
        scheme = msgspec.structs.replace(schemes[name], weights=f"int8 symmetric {per}")
        (tmp_path / name).mkdir()
        made = Quantize()(model, Supplies(samples=samples, scheme=scheme, shared=shared), tmp_path / name)
        integers.append([one for one, _ in weights_of(onnx.load(made.path)).values()])

    assert len(folders) == 1
    for one, other in zip(*integers, strict=True):
        np.testing.assert_array_equal(one, other)


def test_schemes_that_store_weights_otherwise_do_not_share_it(model_of, samples_of, schemes, tmp_path):
    generator = np.random.default_rng(3)
    text, weights = deep(generator)
    model, samples = model_of(text, **weights), samples_of(x=smooth(generator, 6))
    shared, folders = kept(tmp_path)
    others = {"plain": {}, "reduced": {"reduce_range": True}, "per tensor": {"weights": "int8 symmetric per-tensor"}}
    for name, changes in others.items():
        (tmp_path / name).mkdir()
        scheme = msgspec.structs.replace(schemes["x86"], **changes)
        made = Quantize()(model, Supplies(samples=samples, scheme=scheme, shared=shared), tmp_path / name)
        largest = max(int(np.abs(integers).max()) for integers, _ in weights_of(onnx.load(made.path)).values())
        assert largest == (64 if name == "reduced" else 127)

    assert len(folders) == 3


def test_a_channel_whose_scale_was_raised_for_its_bias_is_rounded_to_the_nearest(model_of, samples_of, quantize, schemes):
    """Its integers were found for a smaller scale. The bias is 3e6 input steps: int32 holds it with weights that are small integers."""
    generator = np.random.default_rng(4)
    weight = generator.normal(size=(4, CHANNELS, 3, 3)).astype(np.float32)
    weight[2] *= np.float32(1e-6)
    bias = np.array([0.0, 0.0, 30.0, 0.0], np.float32)
    text = f"net (float[1,{CHANNELS},16,16] x) => (float[1,4,14,14] y) {{ y = Conv(x, w, b) }}"
    quantized = quantize(model_of(text, w=weight, b=bias), schemes["x86"], samples_of(x=smooth(generator, 12)))
    ((integers, scale),) = weights_of(quantized).values()
    usual = np.abs(weight).max(axis=(1, 2, 3)) / 127
    nearest = np.rint(weight / scale[:, None, None, None].astype(np.float64))

    assert (scale > 1.01 * usual).tolist() == [False, False, True, False]
    np.testing.assert_array_equal(integers[2], nearest[2])
    assert all((integers[at] != nearest[at]).any() for at in (0, 1, 3))


@pytest.fixture
def stored_range(model_of, samples_of, quantize, schemes, stored):
    """The range that the input of a net is stored in with some options, and the samples that it was calibrated on.

    Most values lie between -0.5 and 0.5, some far away; each sample has its own extremes.
    """
    generator = np.random.default_rng(5)
    pictures = [generator.laplace(size=(1, 3, 40, 40), scale=0.05).clip(-0.5, 0.5).astype(np.float32) for _ in range(5)]
    for at, picture in enumerate(pictures):
        picture[0, 0, 0, :2] = -2.0 - at, 3.0 + 2.0 * at
    model = model_of("net (float[1,3,40,40] x) => (float[1,2,40,40] y) { y = Conv(x, w) }", w=np.ones((2, 3, 1, 1), np.float32))
    samples = samples_of(x=pictures)

    def of(**options):
        scale, zero_point = stored(quantize(model, schemes["x86"], samples, **options), "x")
        return -scale * int(zero_point), scale * (255 - int(zero_point))

    of.samples = np.stack([feed["x"] for feed in samples.feeds("calibrating", model.signature)])
    return of


def close(found, low, high):
    """A range is moved by up to half a step, so that 0.0 is an integer."""
    step = (high - low) / 255
    return abs(found[0] - low) < step and abs(found[1] - high) < step


def test_ranges_of_minmax_and_of_the_moving_average_are_those_of_the_samples(stored_range):
    extremes = stored_range.samples.reshape(4, -1)

    assert close(stored_range(observer="minmax"), extremes.min(), extremes.max())
    assert close(stored_range(observer="moving_average"), extremes.min(axis=1).mean(), extremes.max(axis=1).mean())


def test_the_percentile_decides_how_much_is_left_out(stored_range):
    values = stored_range.samples.reshape(-1)

    for percentile in (90.0, 99.0):
        expected = np.percentile(values, [(100 - percentile) / 2, (100 + percentile) / 2])
        np.testing.assert_allclose(stored_range(observer="percentile", percentile=percentile), expected, atol=1.1 / 128)  # a bin's width
    assert close(stored_range(observer="percentile", percentile=100.0), values.min(), values.max())


@pytest.mark.parametrize(("observer", "search"), [("mse", range_of_least_error), ("entropy", range_of_least_divergence)])
def test_ranges_of_least_error_and_divergence_are_those_of_all_that_was_seen(stored_range, observer, search):
    histogram = Histogram()
    for sample in stored_range.samples:
        histogram.observe(sample)

    assert close(stored_range(observer=observer), *search(histogram, UINT8, symmetric=False))


def test_no_two_observers_give_one_range(stored_range):
    observers = ("minmax", "moving_average", "percentile", "entropy", "mse")

    assert len({stored_range(observer=observer, percentile=99.0) for observer in observers}) == len(observers)

import dataclasses
import os
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.errors import SamplesError, UnsupportedError, UsageError
from edgekit.graph.view import View
from edgekit.numerics.affine import INT4_SYMMETRIC, Affine
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.passes.quantize.calibrate import calibrate
from edgekit.passes.quantize.decide import decide, ranging
from edgekit.passes.quantize.learned import Start, learn
from edgekit.passes.quantize.observations import Observations
from edgekit.passes.quantize.place import place
from edgekit.passes.quantize.sensitivity import with_numbers
from edgekit.watch import SILENT

torch = pytest.importorskip("torch")

CHANNELS = 8
TEXT = f"""net (float[1,{CHANNELS},10,10] x) => (float[1,{CHANNELS},10,10] y) {{
    a = Conv<pads=[1,1,1,1]>(x, w0, b0)  b = Relu(a)
    c = Conv<pads=[1,1,1,1], group={CHANNELS}>(b, w1)  d = Relu(c)
    e = Conv(d, w2)  y = Add(e, b)
}}"""


def weights(generator):
    """Beside one large one, the others lose most of their digits where all share a scale."""
    shapes = {"w0": (CHANNELS, CHANNELS, 3, 3), "w1": (CHANNELS, 1, 3, 3), "w2": (CHANNELS, CHANNELS, 1, 1)}
    found = {name: generator.normal(size=shape).astype(np.float32) / 10 for name, shape in shapes.items()}
    for weight in found.values():
        weight[0, 0, 0, 0] = 12.0
    return {**found, "b0": generator.normal(size=CHANNELS).astype(np.float32)}


def smooth(generator, count):
    """Pictures whose neighbours are alike, of channels that are mixtures of three."""
    mixing = np.random.default_rng(99).normal(size=(CHANNELS, 3))
    found = []
    for _ in range(count):
        rough = np.fft.rfft2(generator.normal(size=(3, 10, 10)))
        rough[:, 3:-2], rough[:, :, 3:] = 0.0, 0.0
        found.append(np.einsum("ck,khw->chw", mixing, np.fft.irfft2(rough))[None].astype(np.float32))
    return found


class Told:
    """A Watcher that remembers."""

    def __init__(self):
        self.begun, self.ended, self.units = [], [], 0

    def begin(self, what, total=None):
        self.begun.append((what, total))
        self.units = 0

    def advance(self, units=1):
        self.units += units

    def end(self, note=""):
        self.ended.append((self.units, note))

    def note(self, text):
        pass


@pytest.fixture
def net(model_of, samples_of, schemes):
    """A residual network, its samples, and a scheme of one scale for all of a node's weights."""
    generator = np.random.default_rng(0)
    scheme = msgspec.structs.replace(schemes["x86"], weights="int8 symmetric per-tensor", reduce_range=True)
    return model_of(TEXT, **weights(generator)), samples_of(x=smooth(generator, 25)), scheme


def test_weights_of_four_bits_come_two_decibels_nearer_to_float_on_new_samples(proto_of, schemes, tmp_path, run, sqnr_db):
    """The start is rounded to the nearest, on scales that just hold the largest weight of each channel."""
    generator = np.random.default_rng(0)
    proto = proto_of(TEXT, **{name: generator.normal(size=value.shape).astype(np.float32) for name, value in weights(generator).items()})
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    feeds = [{"x": x} for x in smooth(generator, 24)]
    view = View(proto)
    seen = calibrate(path, view, feeds, SILENT)
    observations = Observations(histograms=seen.histograms, averages={}, weights={}, samples=seen.samples)
    placement = place(view, schemes["x86"])
    decision = decide(view, placement, observations, schemes["x86"], ranging("minmax", 100.0), correct_bias=False)
    of_four_bits = {}
    for name, one in decision.weights.items():
        scale = one.affine.scale * np.float32(127 / 7)
        exact = view.value(placement.weighted[name].weight) / scale[:, None, None, None]
        affine = Affine(scale, one.affine.zero_point, INT4_SYMMETRIC)
        bias_scale = one.bias_scale * np.float32(127 / 7)
        bias = None if one.bias is None else np.rint(one.bias * (7 / 127)).astype(np.int32)
        of_four_bits[name] = dataclasses.replace(one, integers=np.int8(np.rint(exact)), affine=affine, bias=bias, bias_scale=bias_scale)
    decision = dataclasses.replace(decision, weights=of_four_bits)

    learn(Start(proto, view, observations, decision, correct_bias=False), feeds, SILENT, tmp_path)
    after = dict(of_four_bits)
    with np.load(tmp_path / "integers.npz") as found:
        for name, integers in found.items():
            assert np.abs(integers).max() <= 7
            after[name] = dataclasses.replace(after[name], integers=integers.reshape(after[name].integers.shape))

    new = smooth(np.random.default_rng(5), 16)
    expected = np.stack([run(proto, x=x)[0] for x in new])
    sqnr = {}
    for step, stored in (("before", of_four_bits), ("after", after)):
        quantized = with_numbers(proto, dataclasses.replace(decision, weights=stored))
        sqnr[step] = sqnr_db(expected, np.stack([run(quantized, x=x)[0] for x in new]))
    assert sqnr["after"] > sqnr["before"] + 2.0


def test_the_same_step_gives_the_same_bytes_whatever_the_threads(net, tmp_path):
    model, samples, scheme = net
    made = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        out = tmp_path / f"out{threads}"
        out.mkdir()
        made.append(Quantize(rounding="learned")(model, Supplies(samples=samples, scheme=scheme), out).path.read_bytes())
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)

    assert made[0] == made[1]


@pytest.mark.parametrize("target", ["x86", "tflite", "tensorrt"])
def test_under_every_scheme_the_learned_graph_is_near_to_float(model_of, samples_of, quantize, schemes, run, sqnr_db, target):
    generator = np.random.default_rng(3)
    model = model_of(
        """net (float[1,6,16] x) => (float[1,6,16] y) {
            n = LayerNormalization(x, one, zero)
            q = MatMul(n, w0)  p = Add(q, b0)  t = Reshape(p, s)  h = Transpose<perm=[0,2,1,3]>(t)  k = Transpose<perm=[0,2,3,1]>(t)
            a = MatMul(h, k)  m = Softmax(a)  o = MatMul(m, h)  u = Transpose<perm=[0,2,1,3]>(o)  v = Reshape(u, f)
            r = MatMul(v, w1)  j = Add(r, b1)  g = Gelu(j)  y = Add(g, x)
        }""",
        one=np.ones(16, np.float32),
        zero=np.zeros(16, np.float32),
        s=np.array([1, 6, 2, 8]),
        f=np.array([1, 6, 16]),
        **{name: generator.normal(size=(16, 16)).astype(np.float32) / 4 for name in ("w0", "w1")},
        **{name: generator.normal(size=16).astype(np.float32) for name in ("b0", "b1")},
    )
    feeds = [generator.normal(size=(1, 6, 16)).astype(np.float32) for _ in range(17)]
    quantized = quantize(model, schemes[target], samples_of(x=feeds), rounding="learned")

    assert sqnr_db(np.stack([run(model, x=x)[0] for x in feeds]), np.stack([run(quantized, x=x)[0] for x in feeds])) > 30.0


def test_what_was_learned_is_kept_and_its_progress_told(net, tmp_path):
    model, samples, scheme = net
    folders, told = {}, Told()

    def shared(name, decided_by, make):
        key = (name, repr(sorted(decided_by.items(), key=str)))
        if key not in folders:
            folders[key] = tmp_path / f"shared{len(folders)}"
            folders[key].mkdir()
            make(folders[key])
        return folders[key]

    for number, options in enumerate([{"rounding": "learned"}, {"rounding": "learned", "min_sqnr_db": 1.0}, {"rounding": "compensated"}]):
        out = tmp_path / f"out{number}"
        out.mkdir()
        Quantize(**options)(model, Supplies(samples=samples, scheme=scheme, shared=shared, watcher=told), out)

    assert [name for name, _ in folders] == ["observations", "learned"]
    assert told.begun == [("calibrate", 24), ("learn rounding", 1)]
    assert told.ended[1] == (1, "1 of 1 blocks came nearer to float")


def test_a_block_that_is_no_nearer_on_held_out_samples_keeps_its_start(model_of, samples_of, quantize, schemes):
    """Every fourth sample, which judges, has numbers in other channels than those that are learned from."""
    generator = np.random.default_rng(1)
    feeds = []
    for at in range(16):
        x = np.zeros((1, 8), np.float32)
        x[0, 4 * (at % 4 == 3) :][:4] = generator.normal(size=4)
        feeds += [x]
    model = model_of("net (float[1,8] x) => (float[1,6] y) { y = Gemm(x, w) }", w=generator.normal(size=(8, 6)).astype(np.float32))
    samples = samples_of(x=[*feeds, feeds[0]])
    integers = {}
    for rounding in ("compensated", "learned"):
        proto = quantize(model, schemes["x86"], samples, rounding=rounding, correct_bias=False)
        integers[rounding] = next(onnx.numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == "w/quantized")

    np.testing.assert_array_equal(integers["learned"], integers["compensated"])


def test_a_reshape_that_says_that_its_batch_is_1_is_learned_through(model_of, samples_of, quantize, schemes, run, sqnr_db):
    generator = np.random.default_rng(2)
    model = model_of(
        "net (float[1,4,3,3] x) => (float[1,5] y) { c = Conv(x, v)  r = Reshape<allowzero=1>(c, s)  y = Gemm(r, w, b) }",
        v=generator.normal(size=(4, 4, 1, 1)).astype(np.float32),
        s=np.array([1, 36]),
        w=generator.normal(size=(36, 5)).astype(np.float32),
        b=generator.normal(size=5).astype(np.float32),
    )
    feeds = [generator.normal(size=(1, 4, 3, 3)).astype(np.float32) for _ in range(13)]
    quantized = quantize(model, schemes["x86"], samples_of(x=feeds), rounding="learned")

    assert sqnr_db(np.stack([run(model, x=x)[0] for x in feeds]), np.stack([run(quantized, x=x)[0] for x in feeds])) > 30.0


def test_too_few_samples_are_refused(model_of, samples_of, schemes, tmp_path):
    model = model_of(TEXT, **weights(np.random.default_rng(0)))
    supplies = Supplies(samples=samples_of(x=smooth(np.random.default_rng(0), 6)), scheme=schemes["x86"])
    with pytest.raises(SamplesError, match="needs 8 samples that calibrate, there are 5") as caught:
        Quantize(rounding="learned")(model, supplies, tmp_path)

    assert "quantize.rounding=compensated" in caught.value.hint


def test_a_graph_that_cannot_be_trained_is_refused_with_its_nodes(model_of, samples_of, schemes, tmp_path):
    model = model_of("net (float[1,4] x) => (float[1,4] y) { a = MatMul(x, w)  y = Hardmax(a) }", w=np.eye(4, dtype=np.float32))
    supplies = Supplies(samples=samples_of(x=[np.ones((1, 4), np.float32)] * 10), scheme=schemes["x86"])
    with pytest.raises(UnsupportedError) as caught:
        Quantize(rounding="learned")(model, supplies, tmp_path)

    assert [line.partition(":")[0] for line in caught.value.refusals] == ["Hardmax Hardmax_1"]
    assert caught.value.hint == "--set quantize.rounding=compensated"


def test_without_torch_it_says_what_to_install_before_anything_runs(model_of, samples_of, schemes, tmp_path, monkeypatch):
    model = model_of(TEXT, **weights(np.random.default_rng(0)))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match="rounding = learned needs the package torch") as caught:
        Quantize(rounding="learned")(model, Supplies(samples=samples_of(x=smooth(np.random.default_rng(0), 9)), scheme=schemes["x86"]), tmp_path)

    assert caught.value.hint == "pip install 'edgekit[torch]'"


def test_only_static_quantization_learns():
    with pytest.raises(ValueError, match="rounding = learned: of mode static alone, mode is weight_only"):
        Quantize(mode="weight_only", rounding="learned")


def test_nothing_imports_torch_for_other_roundings(net, tmp_path):
    code = "import sys, edgekit.passes.quantize.static; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert ran.stdout == "False\n"

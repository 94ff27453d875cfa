"""The pass: budgets are met by graphs that are really smaller, by every importance and scope."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import onnx
import pytest

from edgekit.errors import SamplesError, UsageError
from edgekit.graph import onnx_file
from edgekit.graph.inspect import layers, totals
from edgekit.graph.onnx_file import load
from edgekit.graph.run import Runner
from edgekit.graph.signature import signature_of
from edgekit.graph.structure import structures
from edgekit.model import seal_model
from edgekit.numerics.fidelity import fidelity
from edgekit.passes.compress.prune import Prune
from edgekit.passes.contract import Need, Supplies

NEEDS_TORCH = pytest.param("taylor", marks=[pytest.mark.torch, pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs torch")])


class Pruning:
    """The pass, run on a graph; what it was run on last."""

    def __init__(self, samples, folder):
        self._samples, self._folder, self._runs = samples, folder, 0
        self.model = None

    def __call__(self, proto, *, cost=None, given=True, **options):
        self._runs += 1
        self.model = saved(proto, self._folder / f"float{self._runs}")
        out = self._folder / f"pruned{self._runs}"
        out.mkdir()
        supplies = Supplies(samples=self._samples if given else None, channel_multiple=4, teacher=self.model, cost=cost)
        return Prune(**options)(self.model, supplies, out)

    def sqnr_db(self, made):
        """Of outputs beside those of the graph it was run on; 300 where they are the same."""
        before, after = Runner(self.model.path), Runner(made.path)
        found = fidelity((before(feed), after(feed)) for feed in self._samples.feeds("judging", made.signature)).sqnr_db
        return 300.0 if found is None else found


@pytest.fixture
def prune(samples, tmp_path):
    return Pruning(samples, tmp_path)


def saved(proto, folder):
    folder.mkdir()
    onnx_file.save(proto, folder)
    return seal_model(folder, signature_of(onnx_file.load(folder / "model.onnx")), ())


def changed(proto, *changes):
    """A graph whose constants some functions have changed in place."""
    values = {tensor.name: np.array(onnx.numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer}
    for change in changes:
        change(values)
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.graph.initializer[:]
    made.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in values.items())
    return made


def counted(model):
    return totals(layers(load(model.path)))


def weights(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in load(model.path).graph.initializer}


@pytest.mark.parametrize("importance", ["magnitude", "activation", "error", NEEDS_TORCH])
@pytest.mark.parametrize("scope", ["global", "layer", "sensitivity"])
def test_half_the_multiply_adds_go(prune, net, importance, scope):
    made = prune(net, importance=importance, scope=scope)

    before, after = counted(prune.model), counted(made)
    did = made.history[-1].did
    assert 0.35 * before.macs < after.macs <= 0.5 * before.macs
    assert (did["macs_before"], did["macs_after"]) == (before.macs, after.macs)
    assert (did["parameters_before"], did["parameters_after"]) == (before.parameters, after.parameters)
    assert all(group["kept"] % 4 == 0 for group in did["groups"])
    onnx.checker.check_model(load(made.path), full_check=True)


@pytest.mark.parametrize("of", ["parameters", "bytes"])
def test_a_third_of_the_parameters_or_bytes_goes(prune, net, of):
    made = prune(net, of=of, ratio=0.34, given=False)

    before, after = counted(prune.model), counted(made)
    assert 0.5 < after.parameters / before.parameters <= 0.66
    assert after.weight_bytes <= 0.66 * before.weight_bytes


@pytest.mark.parametrize("repair", [True, False])
def test_products_that_share_a_bias_are_pruned_as_if_each_had_its_own(prune, proto_of, repair):
    """Converters store equal constants once; that ties no channels, and what is counted is what is left."""
    text = """net (float[1,3,12,12] x) => (float[1,4] y) { a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a)
        b = Conv<pads=[1,1,1,1]>(r, w2, NAME) s = Relu(b) g = GlobalAveragePool(s) f = Flatten(g) y = Gemm(f, w4, b4) }"""
    draw = np.random.default_rng(3)
    given = {name: draw.normal(size=size).astype(np.float32) for name, size in (("w1", (16, 3, 3, 3)), ("w2", (16, 16, 3, 3)), ("w4", (16, 4)))}
    bias, given["b4"] = np.full(16, 0.25, np.float32), np.zeros(4, np.float32)

    shared = prune(proto_of(text.replace("NAME", "b1"), **given, b1=bias), importance="error", repair=repair)
    did, left = shared.history[-1].did, counted(shared)
    alone = prune(proto_of(text.replace("NAME", "b2"), **given, b1=bias, b2=bias), importance="error", repair=repair)

    assert (did["macs_after"], did["parameters_after"]) == (left.macs, left.parameters)
    assert len(did["groups"]) == 2
    assert {name: weights(shared)[name].tolist() for name in given} == {name: weights(alone)[name].tolist() for name in given}


ONLY_THE_FIRST = {"keep": ("Conv_2", "Conv_4"), "ratio": 0.249}
"""Of 373344 multiply-adds 16 channels of the first convolution hold 62208 + 124416: half of them are a quarter of all."""


@pytest.mark.parametrize("importance", ["activation", "error", NEEDS_TORCH])
def test_channels_that_carry_nothing_go_first_and_nothing_changes(prune, net, importance):
    hollow = changed(net, lambda values: values["w1"][1::2].fill(0.0), lambda values: values["b1"][1::2].fill(0.0))

    made = prune(hollow, importance=importance, repair=False, **ONLY_THE_FIRST)

    np.testing.assert_array_equal(weights(made)["w1"], weights(prune.model)["w1"][::2])
    assert prune.sqnr_db(made) > 100.0


def test_what_others_carry_too_is_taken_over(prune, net):
    """The second eight channels are copies of the first, two of them mixtures."""

    def doubled(values):
        values["w1"][8:] = values["w1"][:8]
        values["b1"][8:] = values["b1"][:8]

    twins = changed(net, doubled)

    repaired = prune(twins, importance="error", **ONLY_THE_FIRST)
    db = prune.sqnr_db(repaired)
    plain = prune(twins, importance="error", repair=False, **ONLY_THE_FIRST)

    assert weights(repaired)["w1"].shape[0] == 8
    assert db > 40.0  # a ten-thousandth of the variance is added before anything is inverted
    assert prune.sqnr_db(plain) < 20.0


def test_a_convolution_without_a_bias_gets_one_where_what_goes_had_a_mean(prune, net):
    made = prune(net, importance="activation", ratio=0.3)
    without = prune(net, importance="activation", ratio=0.3, repair=False)

    assert prune.sqnr_db(made) > prune.sqnr_db(without) + 1.0


@pytest.mark.parametrize(
    ("scope", "importance"), [("global", "magnitude"), ("layer", "magnitude"), ("global", "activation"), ("sensitivity", "magnitude")]
)
def test_weights_become_zero_where_they_are_and_stay_so(prune, net, scope, importance):
    made = prune(net, kind="unstructured", ratio=0.75, scope=scope, importance=importance)

    zeros = {name: 1.0 - np.count_nonzero(value) / value.size for name, value in weights(made).items() if name.startswith("w")}
    count = sum(value.size for name, value in weights(made).items() if name.startswith("w"))
    assert sum(share * weights(made)[name].size for name, share in zeros.items()) / count == pytest.approx(0.75, abs=0.01)
    assert made.history[-1].did["sparsity"] == pytest.approx(0.75, abs=0.01)
    assert set(structures(load(made.path))) == set(zeros)
    if scope == "layer":
        assert all(share == pytest.approx(0.75, abs=0.01) for share in zeros.values())


@pytest.mark.torch
def test_in_steps_the_model_learns_between_and_zeros_stay(prune, net):
    pytest.importorskip("torch")

    made = prune(net, kind="unstructured", ratio=0.6, steps=2)

    did = made.history[-1].did
    assert did["sparsity"] == pytest.approx(0.6, abs=0.01)
    assert len(did["learned"]) == 1


@pytest.mark.torch
@pytest.mark.parametrize("options", [{"steps": 2}, {"kind": "soft", "epochs": 2}])
def test_channels_go_while_the_model_learns(prune, net, options):
    pytest.importorskip("torch")

    made = prune(net, ratio=0.4, **options)

    before, after = counted(prune.model), counted(made)
    assert 0.45 < after.macs / before.macs <= 0.6
    assert made.history[-1].did["learned"]


def test_by_latency_layers_are_measured_and_the_whole_is_checked(prune, net):
    """A device on which a model takes a microsecond for each thousand multiply-adds, and one for each node."""
    asked = []

    def cost(model):
        rows = layers(load(model.path))
        asked.append(len(rows))
        return totals(rows).macs / 1e6 + len(rows) / 1e3

    made = prune(net, of="latency", ratio=0.4, importance="activation", cost=cost)

    did = made.history[-1].did
    assert did["ms_before"] == pytest.approx(0.373 + 0.011, abs=0.01)
    assert did["ms_after"] == pytest.approx(cost(made), abs=1e-3)
    assert did["ms_after"] < 0.64 * did["ms_before"]
    assert (
        asked.count(1) == 2 + 4 + 2 + 2
    )  # each axis at two sizes: of all four products one, but for the second that reads other channels than it makes


def test_what_has_to_be_there_is_asked_for(net, tmp_path):
    model = saved(net, tmp_path / "float")
    assert Prune().needs == {Need.CHANNEL_MULTIPLE}
    assert Prune(importance="error", multiple_of=8).needs == {Need.SAMPLES}
    assert Prune(steps=2, multiple_of=8).needs == {Need.SAMPLES, Need.TEACHER}
    assert Prune(of="latency").needs == {Need.CHANNEL_MULTIPLE, Need.COST}
    with pytest.raises(SamplesError, match="prune: needs samples"):
        Prune(importance="error")(model, Supplies(), tmp_path)
    with pytest.raises(UsageError, match="only a build measures"):
        Prune(of="latency")(model, Supplies(), tmp_path)


def test_a_ratio_that_cannot_be_reached_says_how_far_it_goes(prune, net):
    with pytest.raises(UsageError, match=r"prune: \d+% of the macs are left where every group is at its smallest"):
        prune(net, ratio=0.999, multiple_of=8)
    with pytest.raises(UsageError, match="no channel of this graph may be cut"):
        prune(net, keep=("*",))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"ratio": 1.0}, "ratio = 1.0: more than 0 and less than 1"),
        ({"kind": "2:4", "ratio": 0.6}, "half of all weights go"),
        ({"kind": "unstructured", "of": "latency"}, "of = latency"),
        ({"kind": "soft", "steps": 3}, "learns by itself"),
        ({"kind": "unstructured", "importance": "taylor"}, "of kind structured"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, fault):
    with pytest.raises(ValueError, match=fault):
        Prune(**options)


def test_what_needs_no_gradients_loads_no_torch():
    code = "import sys, edgekit.passes.compress.prune.pruning; print('torch' in sys.modules)"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "False"

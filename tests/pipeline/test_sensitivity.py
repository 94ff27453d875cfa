"""Each layer compressed alone: figures by hand and by the passes on their own, what is said where there are none, and what a broken-off run left."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.errors import SamplesError, UsageError
from edgekit.model import Store
from edgekit.pipeline import Question, sensitivity
from edgekit.plan import Request, parse_settings
from edgekit.watch import Silent

NET = """<ir_version: 10, opset_import: ["" : 21]> net (float[1,3,16,16] x) => (float[1,8] y) {
    a = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, v)  s = Relu(b)
    g = GlobalAveragePool(s)  f = Flatten(g)  y = Gemm(f, u) }"""
SIZES = {"w": (16, 3, 3, 3), "v": (32, 16, 3, 3), "u": (32, 8)}
CLASSIFIER = "Gemm_6"


@pytest.fixture
def weights():
    draw = np.random.default_rng(0)
    return {name: draw.normal(size=size).astype(np.float32) * 0.1 for name, size in SIZES.items()}


@pytest.fixture
def net(tmp_path, weights):
    return saved(tmp_path / "net.onnx", weights)


def saved(path, weights):
    proto = onnx.parser.parse_model(NET)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.save(proto, path)
    return path


@pytest.fixture
def find(net, arrays, store):
    samples = arrays("x", (3, 16, 16))

    def call(*techniques, levels=(), targets=(), settings=(), watcher=None, judged=8, source=net):
        request = Request(source=source, targets=targets, samples=samples, settings=parse_settings(settings))
        return sensitivity(request, Question(techniques, levels, judged), store=store, watcher=watcher or Silent())

    return call


def outputs(path, feeds):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": feed})[0] for feed in feeds]


def by_layer(found, technique):
    return {curve.layer: curve for curve in found.of(technique)}


def test_zeros_in_one_layer_cost_what_they_cost_when_set_by_hand(find, net, weights, tmp_path):
    """Half of the smallest weights of the last layer become zero in a copy of the file, which ONNX Runtime runs."""
    found = find("prune", levels=["prune=50"], settings=["prune.kind=unstructured"], judged=0)

    (point,) = by_layer(found, "prune")[CLASSIFIER].points
    flat = np.abs(weights["u"]).ravel()
    zeroed = np.where(np.abs(weights["u"]) > np.sort(flat)[flat.size // 2 - 1], weights["u"], np.float32(0))
    from edgekit.samples import read_samples

    paths = [sample.path for sample in read_samples(tmp_path / "arrays").judging]
    feeds = [np.load(path)["x"][None] for path in paths]
    wanted = np.stack(outputs(net, feeds))
    got = np.stack(outputs(saved(tmp_path / "zeroed.onnx", {**weights, "u": zeroed}), feeds))
    assert found.judged == len(feeds)
    assert point.sqnr_db == pytest.approx(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()), abs=0.02)
    assert point.agreement == np.mean(wanted.argmax(-1) == got.argmax(-1))


def test_all_techniques_are_tried_on_every_layer_and_more_is_never_better(find):
    found = find(targets=("x86:tflite",))

    assert set(found.techniques) == {"prune", "cluster", "factorize", "binarize", "quantize"}
    assert set(by_layer(found, "cluster")) == set(by_layer(found, "quantize")) == {"Conv_0", "Conv_2", CLASSIFIER}
    assert set(by_layer(found, "prune")) == {"Conv_0", "Conv_2"}  # what the classifier makes is the model's output
    for technique in ("prune", "cluster"):
        for curve in found.of(technique):
            figures = [point.sqnr_db for point in curve.points]
            assert len(figures) == 3
            assert figures == sorted(figures, reverse=True)
    worst = [curve.worst.sqnr_db for curve in found.curves if curve.worst.sqnr_db is not None]
    assert worst == sorted(worst)


def test_channels_of_a_layer_go_by_their_own_share_and_no_others(find):
    """Of 16 channels 1 goes at 6 % and 15 at 94 %, and the network of 1 channel has next to nothing of the other's outputs."""
    found = find("prune", levels=["prune=6,94"], settings=["prune.repair=false"])

    mild, strong = by_layer(found, "prune")["Conv_0"].points
    assert (mild.level, strong.level) == ("6 % gone", "94 % gone")
    assert mild.sqnr_db > strong.sqnr_db + 10


def test_a_layer_of_which_a_pass_makes_nothing_has_the_reason_in_the_place_of_a_figure(find):
    found = find("factorize", "quantize", levels=["factorize=99"], targets=("x86:onnxruntime",))

    no_ranks = by_layer(found, "factorize")[CLASSIFIER].points[-1]
    no_bits = by_layer(found, "quantize")["Conv_0"].points[-1]
    assert no_ranks.sqnr_db is None
    assert "ratio = 0.99" in no_ranks.reason
    assert no_bits.reason == "this runtime reads weights of Conv in no fewer than 8 bits"
    assert by_layer(found, "quantize")["Conv_0"].points[0].sqnr_db > 30


class Impatient(Silent):
    """Presses Ctrl-C after so many figures."""

    def __init__(self, most):
        self.most, self.total, self.advanced = most, None, []

    def begin(self, what, total=None):
        if what == "sensitivity":
            self.total = total

    def advance(self, units=1):
        if self.total:
            self.advanced.append(units)
            if len(self.advanced) == self.most:
                raise KeyboardInterrupt


def test_after_ctrl_c_it_goes_on_where_it_stopped(find):
    with pytest.raises(KeyboardInterrupt):
        find("cluster", watcher=Impatient(4))
    second = Impatient(1000)

    found = find("cluster", watcher=second)

    assert second.total == 9
    assert second.advanced == [4, 1, 1, 1, 1, 1]
    assert found == find("cluster")


def test_without_a_target_what_is_quantized_is_left_out_aloud_or_refused_where_it_was_asked_for(find):
    found = find(levels=["prune=50", "cluster=4", "factorize=25"])

    assert "quantize" not in found.techniques
    assert any(remark.startswith("quantize is left out") for remark in found.remarks)
    with pytest.raises(UsageError, match="quantize: which integers it is about is up to a target"):
        find("quantize")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"techniques": ("clustre",)}, r"clustre: no such technique; did you mean cluster\?"),
        ({"levels": ["cluster=9"]}, "cluster=9: 9 is no level of cluster"),
        ({"levels": ["cluster"]}, "not of the form TECHNIQUE=LEVEL,LEVEL"),
        ({"techniques": ("prune",), "levels": ["cluster=4"]}, "cluster is not tried"),
        ({"settings": ["prune.ratio=0.3"]}, "prune.ratio: set level by level"),
        ({"settings": ["cluster.scop='layer'"]}, r"scop: .*did you mean scope"),
        ({"settings": ["prune.kind=soft"]}, "with these options it learns"),
        ({"targets": ("x86:tflite", "x86:onnxruntime")}, "2 targets"),
    ],
)
def test_what_cannot_be_tried_is_said_before_anything_runs(find, given, said):
    with pytest.raises(UsageError, match=said) as caught:
        find(*given.pop("techniques", ()), **given)

    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_without_samples_it_says_so(net, tmp_path):
    with pytest.raises(SamplesError, match="needs samples"):
        sensitivity(Request(source=net, targets=()), Question(), store=Store(tmp_path / "store"))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.5, 0.75, 0.99])
def test_as_many_channels_of_a_group_go_as_its_share_rounds_to(net, share, tmp_path):
    """16 and 32 channels, one group each: round(share x units), at least 1, never all; the other group stays whole."""
    from edgekit.graph.onnx_file import infer_shapes
    from edgekit.passes.compress.prune import Prune
    from edgekit.passes.compress.prune.pruning import pruned
    from edgekit.passes.contract import Supplies
    from edgekit.pipeline.alone import Layers
    from edgekit.pipeline.levels import Level

    proto = onnx.load(net)
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    layers = Layers(infer_shapes(proto))
    for name, units in (("Conv_0", 16), ("Conv_2", 32)):
        options = layers.options(layers.groups[name], Level("prune", str(round(100 * share))), {}, None)

        _, did = pruned(infer_shapes(proto), None, Supplies(), Prune(**options))

        gone = {group["node"]: group["channels"] - group["kept"] for group in did["groups"]}
        expected = min(max(round(share * units), 1), units - 1)
        assert gone == {"Conv_0": 0, "Conv_2": 0} | {name: expected}

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.errors import UnsupportedError, UsageError
from edgekit.passes.contract import Need, Supplies
from edgekit.passes.learn.qat import Qat
from edgekit.target import Scheme
from edgekit.testing import check_pass

torch = pytest.importorskip("torch")

CHANNELS = 8
NET = f"""net (float[1,{CHANNELS},8,8] x) => (float[1,{CHANNELS},8,8] y) {{
    a = Conv<pads=[1,1,1,1]>(x, w0, b0)  b = Relu(a)
    c = Conv<pads=[1,1,1,1], group={CHANNELS}>(b, w1)  d = Relu(c)
    e = Conv(d, w2)  y = Add(e, b)
}}"""
SHAPES = {"w0": (CHANNELS, CHANNELS, 3, 3), "w1": (CHANNELS, 1, 3, 3), "w2": (CHANNELS, CHANNELS, 1, 1), "b0": CHANNELS}
FAST = {"epochs": 8, "batch": 16, "threads": 1, "rate": 5e-3, "range_rate": 0.5}


def pictures(count, seed):
    draw = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(CHANNELS, 3))
    rough = np.cumsum(np.cumsum(draw.normal(size=(count, 3, 8, 8)), axis=2), axis=3) / 8
    return [np.einsum("ck,khw->chw", mixing, one)[None].astype(np.float32) for one in rough]


@pytest.fixture
def net(model_of, samples_of):
    draw = np.random.default_rng(0)
    return model_of(NET, **{name: draw.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}), samples_of(x=pictures(97, 1))


@pytest.fixture
def narrow(schemes):
    """Convolutions may have weights of 4 bits."""
    return msgspec.structs.replace(schemes["tflite"], low_bit_static_ops=("Conv", "Gemm", "MatMul"))


@pytest.fixture
def trained(tmp_path):
    """Train a Model; its new proto, and what was done."""

    def make(model, scheme, samples, **options):
        out = tmp_path / f"trained{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        found = Qat(**{**FAST, **options})(model, Supplies(samples=samples, scheme=scheme), out)
        return onnx.load(found.path), found.history[-1].did

    return make


def test_a_few_samples_without_labels_repair_a_bad_quantization(net, narrow, trained, quantize, run, sqnr_db):
    """4 bits, all rounded to the nearest, with ranges that hold whatever was seen: on samples not seen 2 to 3 dB nearer to float by the seed."""
    model, samples = net
    bad = {"weight_bits": 4, "rounding": "nearest", "observer": "minmax", "correct_bias": False, "float_if_free": False}
    before = quantize(model, narrow, samples, **bad)
    after, did = trained(model, narrow, samples, **bad, epochs=16)
    unseen = pictures(16, 2)

    def of(proto):
        return sqnr_db(*(np.concatenate([run(one, x=x)[0] for x in unseen]) for one in (model, proto)))

    assert of(after) > of(before) + 1.5
    assert min(one["held_out"] for one in did["curve"]) < did["curve"][0]["held_out"]


def test_eight_bits_come_nearer_than_the_best_quantization_without_training(net, schemes, trained, quantize, run, sqnr_db):
    model, samples = net
    before = quantize(model, schemes["x86"], samples, float_if_free=False)
    after, _ = trained(model, schemes["x86"], samples, float_if_free=False)
    unseen = pictures(16, 2)

    def of(proto):
        return sqnr_db(*(np.concatenate([run(one, x=x)[0] for x in unseen]) for one in (model, proto)))

    assert of(after) > of(before)


@pytest.mark.parametrize("name", ["x86", "tflite", "tensorrt"])
def test_the_graph_has_the_form_that_quantization_gives_it(net, schemes, trained, quantize, name):
    model, samples = net
    plain = quantize(model, schemes[name], samples)
    learned, _ = trained(model, schemes[name], samples, epochs=1)

    assert [(node.op_type, node.name, list(node.input), list(node.output)) for node in learned.graph.node] == [
        (node.op_type, node.name, list(node.input), list(node.output)) for node in plain.graph.node
    ]
    assert [(one.name, one.data_type, one.dims) for one in learned.graph.initializer] == [
        (one.name, one.data_type, one.dims) for one in plain.graph.initializer
    ]


def test_ranges_can_be_left_as_they_were_calibrated(net, schemes, trained, quantize):
    model, samples = net
    plain = quantize(model, schemes["tflite"], samples)
    learned, _ = trained(model, schemes["tflite"], samples, epochs=2, range_rate=0.0, held_out=0.0)

    def held(proto, kind):
        return {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer if one.name.endswith(kind)}

    before, after = (held(one, "/scale") | held(one, "/zero_point") for one in (plain, learned))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not all(
        np.array_equal(one, other) for one, other in zip(held(plain, "/quantized").values(), held(learned, "/quantized").values(), strict=True)
    )


def test_it_holds_to_the_contract_of_a_pass(net, schemes, tmp_path):
    model, samples = net
    folder = tmp_path / "contract"
    folder.mkdir()
    check_pass(Qat(**{**FAST, "epochs": 1}), model, Supplies(samples=samples, scheme=schemes["tflite"]), folder)


def test_it_needs_samples_and_a_scheme_that_has_what_is_asked_for():
    assert Qat().needs == {Need.SAMPLES, Need.SCHEME, Need.TEACHER}
    assert "4 bits" in Qat(weight_bits=4).lacking(Scheme(integer_ops=("Conv",)))
    assert Qat().lacking(Scheme(integer_ops=("Conv",))) == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"range_rate": -1.0}, "range_rate = -1.0: 0 or more"),
        ({"bias_rate": float("nan")}, "bias_rate = nan: 0 or more"),
        ({"epochs": 0}, "epochs = 0: at least 1"),
        ({"weight_bits": 4, "activation_bits": 16}, "weight_bits = 4, activation_bits = 16: no runtime computes both together"),
    ],
)
def test_options_that_no_training_can_follow_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Qat(**options)


def test_a_node_that_no_gradient_goes_through_is_named_before_anything_calibrates(model_of, samples_of, schemes, trained):
    text = "net (float[1,4,4,4] x) => (float[1,4,4,4] y, int64[N,3] z) { y = Conv(x, w)  z = NonMaxSuppression(b, s) }"
    draw = np.random.default_rng(0)
    boxes = {"b": np.zeros((1, 2, 4), np.float32), "s": np.zeros((1, 1, 2), np.float32)}
    model = model_of(text, w=draw.normal(size=(4, 4, 1, 1)).astype(np.float32), **boxes)
    samples = samples_of(x=[draw.normal(size=(1, 4, 4, 4)).astype(np.float32) for _ in range(9)])

    with pytest.raises(UnsupportedError, match="qat: no gradient goes through these nodes") as raised:
        trained(model, schemes["tflite"], samples)
    assert "NonMaxSuppression" in str(raised.value)
    assert raised.value.hint == "--recipe static_wi8_ai8"


def test_without_a_scheme_it_says_what_to_choose(net, trained):
    model, samples = net
    with pytest.raises(UsageError, match="no quantization scheme"):
        trained(model, None, samples)

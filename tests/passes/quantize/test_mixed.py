import msgspec
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgekit.errors import SamplesError, UsageError
from edgekit.graph.view import View
from edgekit.passes.quantize.mixed import region
from edgekit.passes.quantize.place import place

AROUND = ["Conv_0", "Conv_2"]
"""The convolutions that make and read the uneven tensors."""


def rounded(proto):
    """Tensors that a graph rounds."""
    return {node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}


def test_the_nodes_around_a_tensor_that_no_scale_fits_stay_float_and_no_others(uneven, quantized, schemes):
    model, samples = uneven
    proto, did = quantized(model, schemes["x86"], samples, min_sqnr_db=30.0, max_float_share=1.0)

    assert sorted(did["kept_float"]) == AROUND
    assert did["budget_reached"] is True
    assert did["sqnr_db_all_integer"] < 30.0 <= did["sqnr_db_on_samples"]
    assert did["integer_nodes"] == {"Conv": 1}
    assert not rounded(proto) & {"x", "a", "h"}
    assert [did["left_float"][name] for name in AROUND] == ["kept in float: the budget"] * 2


def test_the_fidelity_that_is_reported_is_that_of_the_written_graph(uneven, quantized, schemes, sqnr_of):
    model, samples = uneven
    proto, did = quantized(model, schemes["x86"], samples, min_sqnr_db=30.0, max_float_share=1.0)
    whole, _ = quantized(model, schemes["x86"], samples)
    feeds = list(samples.feeds("calibrating", model.signature))

    assert did["sqnr_db_on_samples"] == pytest.approx(sqnr_of(onnx.load(model.path), proto, feeds), abs=0.05)
    assert did["sqnr_db_all_integer"] == pytest.approx(sqnr_of(onnx.load(model.path), whole, feeds), abs=0.05)


def test_a_budget_that_holds_already_keeps_nothing(uneven, quantized, schemes):
    model, samples = uneven
    proto, did = quantized(model, schemes["x86"], samples, min_sqnr_db=1.0)
    whole, _ = quantized(model, schemes["x86"], samples)

    assert did["kept_float"] == []
    assert did["budget_reached"] is True
    assert proto.graph.SerializeToString() == whole.graph.SerializeToString()


SLOW = {"first Conv": 0.1, "depthwise Conv": 1.0}
"""Integers take ten times as long as float for a convolution that reads four channels; others they make as fast as can be."""

TAPERED = """net (float[1,4,8,8] x) => (float[1,4,8,8] y) {
    a = Conv(x, w)  h = Relu(a)  b = Conv<group=8>(h, v)  r = Relu(b)  y = Conv(r, u)
}"""


@pytest.fixture
def tapered(model_of, samples_of, pictures_of_noise):
    """``tapered(tensor)``: a Model of a first, a depthwise and another convolution; no scale fits ``a``, or ``b``."""

    def make(tensor):
        draw = np.random.default_rng(5)
        weights = {name: draw.normal(size=size).astype(np.float32) for name, size in (("w", (8, 4, 1, 1)), ("v", (8, 1, 1, 1)), ("u", (4, 8, 1, 1)))}
        weights["v"] = np.abs(weights["v"])  # no channel is cut off by its ReLU altogether
        maker, reader = {"a": "wv", "b": "vu"}[tensor]
        weights[maker][0] *= 1000.0
        weights[reader][(0,) if reader == "v" else (slice(None), 0)] /= 1000.0
        return model_of(TAPERED, **weights), samples_of(x=pictures_of_noise)

    return make


def test_what_integers_make_no_faster_stays_float_where_that_helps_whatever_the_budget(tapered, quantized, schemes):
    model, samples = tapered("a")
    proto, did = quantized(model, msgspec.structs.replace(schemes["x86"], speedup=SLOW), samples, max_float_share=0.0)

    assert sorted(did["kept_float"]) == AROUND
    assert did["left_float"]["Conv_0"] == "kept in float: the runtime computes it no faster in integers"
    assert did["budget_reached"] is True
    assert not rounded(proto) & {"x", "a", "h"}


def test_what_integers_make_no_faster_is_integer_all_the_same_where_float_does_not_help(tapered, quantized, schemes):
    model, samples = tapered("b")  # what the first convolution frees is not what makes the error
    _, did = quantized(model, msgspec.structs.replace(schemes["x86"], speedup=SLOW), samples)

    assert did["kept_float"] == []


def test_all_that_can_be_is_integer_however_slow_if_one_says_so(tapered, quantized, schemes):
    model, samples = tapered("a")
    _, did = quantized(model, msgspec.structs.replace(schemes["x86"], speedup=SLOW), samples, float_if_free=False)

    assert did["integer_nodes"] == {"Conv": 3}


def test_no_more_multiply_adds_than_allowed_stay_float_and_a_missed_budget_is_said(uneven, quantized, schemes):
    model, samples = uneven
    _, did = quantized(model, schemes["x86"], samples, min_sqnr_db=30.0, max_float_share=0.4)  # one of three equal convolutions

    assert len(did["kept_float"]) <= 1
    assert did["budget_reached"] is False
    assert did["sqnr_db_on_samples"] < 30.0


def test_no_node_stays_float_where_integers_are_computed_alone_and_the_missed_budget_is_said(uneven, quantized, schemes):
    model, samples = uneven
    alone = msgspec.structs.replace(schemes["x86"], integers_alone=True)
    _, did = quantized(model, alone, samples, min_sqnr_db=30.0, max_float_share=1.0)

    assert did["kept_float"] == []
    assert did["integer_nodes"] == {"Conv": 3}
    assert did["budget_reached"] is False
    assert did["sqnr_db_on_samples"] == did["sqnr_db_all_integer"] < 30.0


CLASSES = """net (float[1,4,8,8] x) => (float[1,4] y) {
    a = Conv(x, w)  h = Relu(a)  b = Conv(h, v)  g = GlobalAveragePool(b)  y = Flatten(g)
}"""


@pytest.fixture
def classifier(model_of, samples_of, pictures_of_noise, weights_of_uneven):
    """A Model whose classes int8 confuses, and its samples without labels."""
    weights = {name: weights_of_uneven[name] for name in "wv"}
    return model_of(CLASSES, **weights), samples_of(x=pictures_of_noise)


def classes_of(proto, feeds):
    evaluator = ReferenceEvaluator(proto)
    return [int(evaluator.run(None, feed)[0].argmax()) for feed in feeds]


def test_nodes_stay_float_until_the_classes_are_those_of_the_float_graph(classifier, quantized, schemes):
    model, samples = classifier
    feeds = list(samples.feeds("calibrating", model.signature))
    wanted = classes_of(onnx.load(model.path), feeds)
    whole, _ = quantized(model, schemes["x86"], samples)

    proto, did = quantized(model, schemes["x86"], samples, min_agreement=1.0, max_float_share=1.0)

    assert classes_of(whole, feeds) != wanted
    assert classes_of(proto, feeds) == wanted
    assert did["budget_reached"] is True
    assert did["agreement_on_samples"] == 1.0
    assert did["kept_float"]


def with_labels(samples, labels):
    labelled = tuple(msgspec.structs.replace(sample, label=label) for sample, label in zip(samples.calibrating, labels, strict=True))
    return msgspec.structs.replace(samples, calibrating=labelled)


def test_nodes_stay_float_until_the_accuracy_falls_no_more_than_allowed(classifier, quantized, schemes):
    model, samples = classifier
    feeds = list(samples.feeds("calibrating", model.signature))
    right = with_labels(samples, classes_of(onnx.load(model.path), feeds))  # the float graph is right on all of them
    whole, _ = quantized(model, schemes["x86"], samples)
    lost = np.mean([one != sample.label for one, sample in zip(classes_of(whole, feeds), right.calibrating, strict=True)])

    _, loose = quantized(model, schemes["x86"], right, max_accuracy_drop=float(lost), max_float_share=1.0)
    _, strict = quantized(model, schemes["x86"], right, max_accuracy_drop=0.0, max_float_share=1.0)

    assert lost > 0
    assert (loose["accuracy_drop_on_samples"], loose["kept_float"]) == (pytest.approx(lost), [])
    assert strict["accuracy_drop_on_samples"] == 0.0
    assert strict["kept_float"]


def test_a_drop_of_accuracy_cannot_be_asked_for_without_labels(classifier, quantized, schemes):
    model, samples = classifier
    with pytest.raises(SamplesError, match="max_accuracy_drop: the samples made that calibrate have no labels"):
        quantized(model, schemes["x86"], samples, max_accuracy_drop=0.01)


def test_labels_that_are_none_of_the_classes_are_refused(classifier, quantized, schemes):
    model, samples = classifier
    with pytest.raises(UsageError, match="label 4 is not one of 4 classes"):
        quantized(model, schemes["x86"], with_labels(samples, [4] * len(samples.calibrating)), max_accuracy_drop=0.01)


def test_agreement_cannot_be_asked_for_where_there_are_no_classes(uneven, quantized, schemes):
    model, samples = uneven
    with pytest.raises(UsageError, match="the first output, y, holds no classes"):
        quantized(model, schemes["x86"], samples, min_agreement=0.99)


@pytest.mark.parametrize("pattern", ["Conv_0", "*_0", "Conv_[0]"])
def test_a_node_is_kept_float_by_its_name_or_a_pattern(uneven, quantized, schemes, pattern):
    model, samples = uneven
    _, did = quantized(model, schemes["x86"], samples, keep_float=(pattern,))

    assert did["left_float"]["Conv_0"] == "kept in float by keep_float"
    assert did["integer_nodes"] == {"Conv": 2}


def test_all_nodes_of_an_operator_are_kept_float_by_its_name(uneven, quantized, schemes):
    model, samples = uneven
    proto, did = quantized(model, schemes["x86"], samples, keep_float=("Conv",))
    assert {node.op_type for node in proto.graph.node if any(entry.key == "edgekit.kept_float" for entry in node.metadata_props)} == {"Conv", "Relu"}

    assert did["integer_nodes"] == {}
    assert not rounded(proto)


def test_a_node_that_is_not_there_is_refused_with_the_nearest(uneven, quantized, schemes):
    model, samples = uneven
    with pytest.raises(UsageError, match=r"keep_float: no node is called Conv_00; did you mean Conv_0\?"):
        quantized(model, schemes["x86"], samples, keep_float=("Conv_00",))


def test_what_a_float_node_makes_another_float_node_reads_as_it_was_made(model_of, samples_of, quantized, schemes):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y, float[1,4,8,8] z) { s = Softsign(x)  y = Conv(s, w)  z = Softplus(s) }"
    draw = np.random.default_rng(1)
    model = model_of(text, w=draw.normal(size=(4, 4, 1, 1)).astype(np.float32))
    samples = samples_of(x=[draw.normal(size=(1, 4, 8, 8)).astype(np.float32) for _ in range(3)])
    proto, _ = quantized(model, schemes["x86"], samples)
    feed = {"x": draw.normal(size=(1, 4, 8, 8)).astype(np.float32)}
    before, after = (ReferenceEvaluator(one).run(["y", "z"], feed) for one in (onnx.load(model.path), proto))

    assert "Softplus_2" in {node.name for node in proto.graph.node}
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


BIASED = """net (float[1,6,8] x) => (float[1,6,4] y) {
    m = MatMul(x, w)
    a = Add(m, b)
    t = Sigmoid(a)
    y = MatMul(t, v)
}"""


def test_the_add_of_a_bias_stays_float_with_its_product(proto_of, schemes):
    draw = np.random.default_rng(2)
    weights = {"w": draw.normal(size=(8, 4)), "b": draw.normal(size=4), "v": draw.normal(size=(4, 4))}
    view = View(proto_of(BIASED, **{name: value.astype(np.float32) for name, value in weights.items()}))
    placed = place(view, schemes["tflite"])
    around = region(view, placed, ["a"])
    kept = place(view, schemes["tflite"], dict.fromkeys(around, "kept"))

    assert "a" in placed.tensors
    assert around == ("MatMul_0", "Sigmoid_2")
    assert kept.left_float == dict.fromkeys(("MatMul_0", "Add_1", "Sigmoid_2"), "kept")
    assert set(kept.tensors) == {"t", "y"}

import shlex

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.errors import UsageError
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.passes.quantize.diagnosis import Diagnosis
from edgekit.plan import parse_settings


def diagnosed(model, samples, scheme, **options):
    return Quantize(**options).diagnose(model, Supplies(samples=samples, scheme=scheme))


def pasted(option):
    """The options of `quantize` that a remedy sets, as a shell hands them over."""
    flag, setting = shlex.split(option)
    assert flag == "--set"
    options = parse_settings([setting])["quantize"]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


CHANNELS = (1.0, 2.0, 2.0, 100.0, 0.0)
"""Largest value of each channel."""


@pytest.fixture
def known(model_of, samples_of):
    """A network whose tensor r holds what is fed, and the values that calibrate."""
    draw = np.random.default_rng(11)
    largest = np.reshape(CHANNELS, (1, 5, 1, 1)).astype(np.float32)
    pictures = [draw.random((1, 5, 20, 20)).astype(np.float32) * np.float32(0.99) * largest for _ in range(5)]
    for picture in pictures:
        picture[0, :, 0, 0] = CHANNELS
    text = "net (float[1,5,20,20] x) => (float[1,2,20,20] y) { r = Relu(x)  y = Conv(r, w) }"
    model, samples = model_of(text, w=draw.normal(size=(2, 5, 1, 1)).astype(np.float32)), samples_of(x=pictures)
    return model, samples, np.stack([feed["x"] for feed in samples.feeds("calibrating", model.signature)])


def test_ranges_channels_and_clipped_values_are_those_of_the_samples(known, schemes):
    model, samples, values = known
    found = diagnosed(model, samples, schemes["x86"], observer="percentile", percentile=95.0)
    one = next(one for one in found.tensors if one.tensor == "r")

    assert (one.made_by, one.op, one.shape, one.members) == ("Relu_0", "Relu", (1, 5, 20, 20), 1)
    assert one.seen == (0.0, 100.0)
    assert one.stored[0] == 0.0
    assert one.stored[1] == pytest.approx(np.percentile(values, 97.5), rel=0.02)  # half of what may be cut off is at each end
    assert one.clipped == pytest.approx((values > one.stored[1]).mean(), abs=0.002)
    assert (one.unevenness, one.dead_channels, one.channels) == (50.0, 1, 5)
    assert sum(one.histogram) == values.size
    assert found.calibrated == found.samples == 4


def test_weights_of_dead_channels_are_counted(model_of, samples_of, schemes):
    draw = np.random.default_rng(12)
    w = draw.normal(size=(4, 3, 1, 1)).astype(np.float32)
    w[1] *= 1e-5
    model = model_of("net (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv(x, w) }", w=w)
    (one,) = diagnosed(model, samples_of(x=[draw.normal(size=(1, 3, 8, 8)).astype(np.float32) for _ in range(3)]), schemes["x86"]).weights

    assert (one.node, one.op, one.shape, one.dead_channels, one.channels) == ("Conv_0", "Conv", (4, 3, 1, 1), 1, 4)


def test_findings_name_the_tensor_that_no_scale_fits_first_and_why(uneven, schemes):
    model, samples = uneven
    found = diagnosed(model, samples, schemes["x86"])

    assert {one.where for one in found.findings[:2]} == {"a", "h"}
    assert all("one scale must fit both" in one.what for one in found.findings[:2])
    assert {one.tensor for one in found.tensors[:2]} == {"a", "h"}
    assert sum(one.share for one in (*found.tensors, *found.weights)) == pytest.approx(1.0)


def test_each_correction_is_switched_off_alone_and_all_are_together(uneven, schemes):
    model, samples = uneven
    found = diagnosed(model, samples, schemes["x86"])
    nearest = diagnosed(model, samples, schemes["x86"], rounding="nearest")

    assert list(found.corrections) == [
        "rounding = nearest",
        "correct_bias = false",
        "observer = minmax",
        "rounding = nearest, correct_bias = false, observer = minmax",
    ]
    assert found.corrections["rounding = nearest"] == nearest.sqnr_db


def test_a_remedy_can_be_pasted_and_frees_its_tensor_whatever_a_budget_keeps(uneven, schemes, quantized):
    model, samples = uneven
    for options in ({}, {"min_sqnr_db": 24.0, "max_float_share": 0.4}, {"keep_float": ("Conv_4",)}):
        for finding in diagnosed(model, samples, schemes["x86"], **options).findings:
            proto, did = quantized(model, schemes["x86"], samples, **{**options, **pasted(finding.remedy)})
            assert finding.where not in {node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
            assert set(options.get("keep_float", ())) <= set(did["left_float"])


def test_a_remedy_takes_the_signs_of_a_pattern_in_names_literally(model_of, samples_of, schemes, quantized):
    draw = np.random.default_rng(13)
    model = model_of("net (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv(x, w) }", w=draw.normal(size=(4, 3, 1, 1)).astype(np.float32))
    proto = onnx.load(model.path)
    proto.graph.node[0].name = "it's [0]*"
    onnx.save(proto, model.path)
    samples = samples_of(x=[draw.normal(size=(1, 3, 8, 8)).astype(np.float32) for _ in range(3)])
    found = diagnosed(model, samples, schemes["x86"], observer="minmax")
    _, did = quantized(model, schemes["x86"], samples, **pasted(found.findings[0].remedy))

    assert did["left_float"] == {"it's [0]*": "kept in float by keep_float"}


def test_a_poor_quantization_names_the_budget_that_repairs_it(uneven, schemes, quantized):
    model, samples = uneven
    found = diagnosed(model, samples, schemes["x86"], max_float_share=1.0)
    repair = found.repair
    _, did = quantized(model, schemes["x86"], samples, max_float_share=1.0, min_sqnr_db=repair.min_sqnr_db)

    assert found.is_poor
    assert found.sqnr_db < 22.0
    assert sorted(repair.kept) == ["Conv_0", "Conv_2"]
    assert repair.float_share == pytest.approx(2 / 3)
    assert (did["kept_float"], did["sqnr_db_on_samples"], did["budget_reached"]) == (list(repair.kept), repair.sqnr_db, True)


def test_no_repair_is_named_where_too_much_would_stay_float(uneven, schemes):
    model, samples = uneven
    found = diagnosed(model, samples, schemes["x86"], max_float_share=0.25)

    assert found.is_poor
    assert found.repair is None


def test_a_good_quantization_needs_none(known, schemes):
    model, samples, _ = known
    found = diagnosed(model, samples, schemes["x86"])

    assert found.sqnr_db > 25.0
    assert (found.is_poor, found.repair) == (False, None)


def test_what_was_kept_for_a_budget_counts_as_a_correction(uneven, schemes):
    model, samples = uneven
    whole = diagnosed(model, samples, schemes["x86"])
    mixed = diagnosed(model, samples, schemes["x86"], min_sqnr_db=30.0, max_float_share=1.0)

    assert mixed.sqnr_db > 30.0
    assert mixed.corrections["nodes kept in float"] == whole.sqnr_db
    assert mixed.corrections["rounding = nearest"] == whole.corrections["rounding = nearest"]


def test_a_diagnosis_survives_json(uneven, schemes):
    model, samples = uneven
    found = diagnosed(model, samples, schemes["x86"])

    assert msgspec.json.decode(msgspec.json.encode(found), type=Diagnosis) == found


def test_what_stores_no_activations_as_integers_is_refused(uneven, schemes):
    model, samples = uneven
    with pytest.raises(UsageError, match="mode float16"):
        diagnosed(model, samples, schemes["x86"], mode="float16")

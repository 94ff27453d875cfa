"""The page of a diagnosis, from made-up data."""

import msgspec
import pytest

from edgekit.passes.quantize.diagnosis import Diagnosis, Finding, Repair, TensorDiagnosis, WeightsDiagnosis
from edgekit.report import Debugged, render_debug_html, write_debug_page
from edgekit.report.charts import distribution
from edgekit.report.debugged import correction_rows, float_rows, headline, portion, repair_lines, tensor_row
from edgekit.report.words import NONE

HOSTILE = "<script>alert(1)</script>\"' onload=x"


def tensor(name, share, **more):
    told = {
        "made_by": "conv_1",
        "op": "Conv",
        "shape": (1, 32, 56, 56),
        "members": 1,
        "alone_db": 21.4,
        "cumulative_db": 30.0,
        "seen": (-4.0, 12.0),
        "stored": (-2.0, 6.0),
        "clipped": 0.00034,
        "unevenness": 12.5,
        "dead_channels": 2,
        "channels": 32,
        "histogram": (0, 3, 900, 40, 1),
    }
    return TensorDiagnosis(tensor=name, share=share, **{**told, **more})


WEIGHTS = WeightsDiagnosis(
    node="conv_2", op="Conv", shape=(64, 32, 3, 3), alone_db=33.0, share=0.1, rounding_gain_db=4.2, dead_channels=0, channels=64
)
FINDING = Finding(where="relu_1", what="it is uneven", remedy="--set 'quantize.keep_float=[\"conv_1\"]'")
DIAGNOSIS = Diagnosis(
    sqnr_db=18.0,
    expected_db=18.5,
    samples=16,
    calibrated=100,
    tensors=(tensor("relu_1", 0.7), tensor("image", 0.2, made_by="", op="", cumulative_db=None, channels=0, unevenness=0.0, members=3)),
    weights=(WEIGHTS,),
    left_float={"softmax": "no kernel", "gelu_1": "no kernel", "conv_9": "kept in float by keep_float"},
    findings=(FINDING,),
    corrections={"nodes kept in float": 14.0, "rounding = nearest": 13.0, "without equalize": None},
    is_poor=True,
    repair=Repair(min_sqnr_db=25.0, kept=("conv_1", "conv_2"), sqnr_db=25.6, float_share=0.125),
)
DEBUGGED = Debugged(source="nets/mobile.onnx", target="x86-64-onnxruntime", recipe="static_wi8_ai8", diagnosis=DIAGNOSIS)


def test_the_headline_says_how_near_the_outputs_are_and_what_the_parts_add_up_to():
    assert headline(DIAGNOSIS) == "18.0 dB at the outputs on 16 samples; its parts add up to 18.5 dB"


def test_a_correction_gains_the_difference_to_all_integer_and_kept_nodes_that_to_the_whole():
    assert [row[2] for row in correction_rows(DIAGNOSIS)] == ["+4.0 dB", "+1.0 dB", NONE]


def test_a_row_tells_all_of_a_tensor_and_nothing_of_what_an_input_has_not():
    assert tensor_row(DIAGNOSIS.tensors[0]) == (
        "relu_1", "conv_1 (Conv)", "1×32×56×56", "21.4 dB", "30.0 dB", "70 %", "-4 to 12", "-2 to 6", "0.034 %", "12×", "2 of 32"
    )  # fmt: skip
    assert tensor_row(DIAGNOSIS.tensors[1])[:5] == ("image and 2 more", "input", "1×32×56×56", "21.4 dB", NONE)


@pytest.mark.parametrize(("share", "said"), [(0.0, "0 %"), (1e-7, "< 0.0001 %"), (6.8e-5, "0.0068 %"), (0.1341, "13 %"), (1.0, "100 %")])
def test_small_shares_stay_readable(share, said):
    assert portion(share) == said


def test_nodes_in_float_are_grouped_by_reason_the_commonest_first():
    assert float_rows(DIAGNOSIS) == [("no kernel", "2", "softmax, gelu_1"), ("kept in float by keep_float", "1", "conv_9")]
    assert float_rows(DIAGNOSIS, most=1)[0] == ("no kernel", "2", "softmax and 1 more")


def test_a_repair_is_a_command_and_what_it_does():
    assert list(repair_lines(DIAGNOSIS)) == [
        "--set quantize.min_sqnr_db=25 keeps 2 nodes in float, 12 % of the multiply-adds, and brings 25.6 dB: conv_1, conv_2"
    ]
    (nothing,) = repair_lines(msgspec.structs.replace(DIAGNOSIS, repair=None))
    assert "--set quantize.max_float_share=0.5" in nothing
    assert list(repair_lines(msgspec.structs.replace(DIAGNOSIS, repair=None, is_poor=False))) == []


def test_the_page_loads_nothing_and_has_findings_before_tables():
    page = render_debug_html([DEBUGGED])

    assert page.startswith("<!doctype html>")
    for part in ("<script", "<link", "url(", "http:", "https:", 'src="'):
        assert part not in page.partition("</style>")[2]
    order = [page.index(f">{name}</h2>") for name in ("Findings", "Corrections", "Tensors", "Weights", "In float")]
    assert order == sorted(order)
    for said in ("mobile.onnx", "relu_1", "conv_2", "it is uneven", "--set quantize.min_sqnr_db=25", "kept in float by keep_float"):
        assert said in page


def test_targets_are_told_apart_on_one_page():
    other = msgspec.structs.replace(DEBUGGED, target="raspberry-pi-5-tflite")
    page = render_debug_html([DEBUGGED, other])

    assert ">x86-64-onnxruntime: Findings</h2>" in page
    assert ">raspberry-pi-5-tflite: Findings</h2>" in page
    assert len(set(page.split('id="')[1:])) == len(page.split('id="')[1:]) == 10


def test_only_the_costliest_are_drawn_and_all_are_in_the_table():
    page = render_debug_html([DEBUGGED], top=1)

    assert page.count("<figure") == 1
    assert ">image and 2 more</td>" in page


def test_nothing_from_a_model_becomes_markup():
    hostile = msgspec.structs.replace(DEBUGGED, source=HOSTILE, diagnosis=msgspec.structs.replace(
        DIAGNOSIS, tensors=(tensor(HOSTILE, 1.0),), left_float={HOSTILE: HOSTILE}, findings=(Finding(where=HOSTILE, what=HOSTILE, remedy=HOSTILE),),
    ))  # fmt: skip
    page = render_debug_html([hostile])

    assert "<script" not in page
    assert '" onload' not in page


def test_the_stored_range_is_marked_where_it_lies_and_what_is_beyond_is_tinted():
    drawn = distribution((1, 5, 9, 5), (-4.0, 12.0), (-2.0, 6.0), "relu_1")

    assert '<line x1="125.0" x2="125.0"' in drawn
    assert '<line x1="625.0" x2="625.0"' in drawn
    assert '<rect x="0.0" y="0" width="125.0"' in drawn
    assert '<rect x="625.0" y="0" width="375.0"' in drawn


def test_a_range_wider_than_what_was_seen_has_nothing_beyond():
    drawn = distribution((1, 5), (0.0, 6.0), (0.0, 8.0), "relu_1")

    assert "beyond" not in drawn
    assert 'd="M0.0 100' in drawn
    assert drawn.count("H750.0") == 1


def test_an_exact_network_without_tensors_has_a_page_too():
    nothing = Diagnosis(sqnr_db=None, expected_db=None, samples=1, calibrated=1, tensors=(), weights=(), left_float={})
    page = render_debug_html([msgspec.structs.replace(DEBUGGED, diagnosis=nothing)])

    assert "exact at the outputs on 1 sample" in page
    assert "what is lost is spread over many" in page


def test_the_page_is_one_file_and_nothing_is_left_beside_it(tmp_path):
    write_debug_page([DEBUGGED], tmp_path / "new" / "debug.html")

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["debug.html"]
    assert (tmp_path / "new" / "debug.html").read_text(encoding="utf-8") == render_debug_html([DEBUGGED])

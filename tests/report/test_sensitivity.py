"""Tables, sentences and the page of curves, from made-up data."""

import json

import pytest

from edgekit.report import render_sensitivity_html, write_sensitivity
from edgekit.report.charts import falling
from edgekit.report.sensitivity import Curve, Point, Sensitivity, columns, costliest, ordered, row, unmeasured

HOSTILE = "<script>alert(1)</script>\"' onload=x"
BITS = (Point("4 bits", 0.125, sqnr_db=30.0, agreement=0.98), Point("2 bits", 0.0625, sqnr_db=12.0, agreement=0.5))
MILD = Curve("conv_1", "Conv", 1728, "cluster", BITS)
GRAVE = Curve("conv_9", "Conv", 512, "prune", (Point("50 % gone", 0.5, sqnr_db=-3.0, top1=0.25),), with_layers=("conv_7", "conv_8"))
SAME = Curve("dense", "Gemm", 64, "cluster", (Point("4 bits", 0.125), Point("2 bits", 0.0625, reason="too few")))


def made(*curves, **more):
    return Sensitivity(source="nets/mobile.onnx", target="", samples="photos", judged=64, top1=None, curves=ordered(curves), **more)


def test_what_costs_most_comes_first_and_what_changes_nothing_last():
    found = made(SAME, MILD, GRAVE)

    assert [curve.layer for curve in found.curves] == ["conv_9", "conv_1", "dense"]
    assert found.techniques == ("prune", "cluster")
    assert costliest(found) == "what hurts most: prune conv_9, 50 % gone: -3.0 dB, top-1 25.0 %"
    assert costliest(made(SAME)) == costliest(made()) == "nothing that was tried changes the outputs"


def test_a_row_has_a_figure_for_each_level_and_others_whose_channels_go_along():
    assert columns([MILD]) == ("Layer", "Operator", "Weights", "4 bits", "2 bits")
    assert row(MILD) == ("conv_1", "Conv", "1,728", "30.0 dB, agrees 98.0 %", "12.0 dB, agrees 50.0 %")
    assert row(GRAVE)[0] == "conv_9 and 2 more"
    assert row(SAME)[3:] == ("exact", "\N{EN DASH}")


def test_each_reason_for_no_figure_is_told_once():
    many = [Curve(f"dense_{at}", "Gemm", 64, "cluster", SAME.points) for at in range(5)]

    assert list(unmeasured(many)) == ["not measured: dense_0 2 bits, dense_1 2 bits, dense_2 2 bits and 2 more: too few"]


def test_the_page_has_a_chart_a_layer_escapes_names_and_loads_nothing():
    page = render_sensitivity_html(made(MILD, SAME, GRAVE, Curve(HOSTILE, "Conv", 1, "prune", GRAVE.points), remarks=("quantize is left out",)))

    assert page.count("<figure") == 4
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "quantize is left out" in page


def test_a_page_of_nothing_but_reasons_says_so():
    assert "Nothing that was tried changes the outputs." in render_sensitivity_html(made(Curve("d", "Gemm", 4, "cluster", (SAME.points[1],))))


def test_a_line_goes_through_its_points_the_more_decibels_the_higher():
    """A fortieth of the bits is the left edge, all the right; 40 of 40 dB is the top, less than 0 the bottom."""
    drawn = falling([(2, [(1.0, 40.0), (1 / 40, -5.0)])], 40.0, "conv")

    assert 'd="M0 100.0L1000 0.0"' in drawn


def test_both_files_are_written_and_the_data_can_be_read_again(tmp_path):
    import msgspec

    data, page = write_sensitivity(made(MILD, GRAVE), tmp_path / "new")

    assert msgspec.json.decode(data.read_bytes(), type=Sensitivity) == made(MILD, GRAVE)
    assert json.loads(data.read_text())["schema"] == 1
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("curves", [(MILD,), (GRAVE, SAME)])
def test_pages_are_the_same_twice(curves):
    assert render_sensitivity_html(made(*curves)) == render_sensitivity_html(made(*curves))

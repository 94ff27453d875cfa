"""TensorRT in plan, build and report: what is proved, what is taken by rule, and by whom."""

from __future__ import annotations

import importlib.util
import json

import pytest

HAS_RTX = importlib.util.find_spec("tensorrt_rtx") is not None
NEEDS = pytest.mark.skipif(not HAS_RTX, reason="pip install 'edgekit[tensorrt-rtx]'")


@pytest.mark.skipif(HAS_RTX, reason="the extra is installed")
def test_without_the_extra_plan_and_report_say_that_rules_alone_answered(edgekit, net):
    planned = edgekit("plan", net, "--target", "jetson", "--recipe", "fp16")
    built = edgekit("build", net, "--target", "jetson", "--recipe", "fp16", "--no-bench", "-o", "out")

    for said in (planned, built):
        assert said.status == 0, said.err
        assert "TensorRT 10.3.0: " in said.out
        assert "taken by rule, none is proved (by edgekit's rules alone; pip install 'edgekit[tensorrt-rtx]' asks NVIDIA's parser)" in said.out


@pytest.mark.skipif(HAS_RTX, reason="the extra is installed")
def test_without_the_extra_an_rtx_card_is_an_install_command_and_another_runtime(edgekit, net):
    said = edgekit("plan", net, "--target", "rtx30", "--recipe", "fp16")

    assert said.status == 2
    assert "pip install 'edgekit[tensorrt-rtx]'" in said.err
    assert edgekit("plan", net, "--target", "rtx30:tensorrt", "--recipe", "fp16").status == 0


@NEEDS
def test_a_plan_for_a_jetson_counts_what_nvidias_parser_proved(edgekit, net):
    said = edgekit("plan", net, "--target", "jetson", "--recipe", "fp16")

    assert said.status == 0, said.err
    assert "nodes proved by NVIDIA's parser (TensorRT-RTX 1." in said.out
    assert ", 0 by rule, 0 unknown" in said.out


@NEEDS
def test_an_rtx_engine_is_built_here_and_the_report_says_what_was_not_done(edgekit, net, tmp_path):
    said = edgekit("build", net, "--target", "rtx30", "--recipe", "fp16", "-o", "out")
    report = json.loads((tmp_path / "work" / "out" / "report.json").read_text(encoding="utf-8"))
    (engine,) = report["engines"]

    assert said.status == 0, said.err
    assert (engine["runtime"], engine["status"], engine["path"].rpartition("/")[2]) == ("tensorrt-rtx", "built", "model.engine")
    assert engine["details"]["memory"]["total_weights_memory_bytes"] >= 0
    assert engine["latency"] is None
    assert "never opened: that takes an RTX card" in engine["latency_reason"]
    assert "never on a Jetson" in said.out


def test_what_a_dla_is_expected_to_take_is_a_sentence_with_what_can_stand_in_for_the_rest(edgekit, net):
    said = edgekit("build", net, "--target", "jetson-orin-nx-jp62", "--recipe", "fp16", "--set", "tensorrt.dla_core=0", "--no-bench", "-o", "out")

    assert said.status == 0, said.err
    assert "On the DLA, predicted: the DLA takes " in said.out
    assert "(GlobalAveragePool): the DLA has no GlobalAveragePool; in its place: an AveragePool" in said.out

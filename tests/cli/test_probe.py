"""`edgekit targets probe`: a reading becomes a target file."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def reading(tmp_path):
    file = tmp_path / "build-result.json"
    machine = {
        "tensorrt": "10.3.0",
        "compute_capability": "8.7",
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.3",
        "memory_mib": 7620,
    }
    file.write_text(json.dumps({"schema": 1, "status": "fits", "machine": machine}), encoding="utf-8")
    return file


def test_the_file_it_writes_is_a_target_that_can_be_planned_for(edgekit, reading, net):
    said = edgekit("targets", "probe", reading, "-o", "my-orin.toml")

    assert said.status == 0, said.err
    assert "my-orin.toml: NVIDIA Jetson Orin Nano Developer Kit, L4T 36.4.3, TensorRT 10.3.0" in said.out
    assert edgekit("targets", "check", "my-orin.toml").status == 0
    assert edgekit("plan", net, "--target", "my-orin.toml", "--recipe", "fp16").status == 0


def test_a_file_that_is_no_reading_is_a_line(edgekit, net):
    (net.parent / "other.json").write_text("{}")

    assert "no reading of a board" in edgekit("targets", "probe", net.parent / "other.json").err

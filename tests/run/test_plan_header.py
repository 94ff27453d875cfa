"""A plan is asked what it is before it is opened."""

from __future__ import annotations

import json
import struct

import pytest

from edgekit.run.plan_header import NotAnEngineError, read_header, why_not_here


@pytest.fixture
def plan(tmp_path):
    """An engine's file with a header as TensorRT 8.6 and newer, or TensorRT-RTX, writes it."""

    def write(version=(10, 3, 0, 30), magic=b"ftrt", size=200, claims=None):
        file = tmp_path / "model.plan"
        head = magic + struct.pack("<IQQ", 0, 2, size if claims is None else claims) + bytes(version)
        file.write_bytes(head.ljust(size, b"\0"))
        return str(file)

    return write


ORIN = {"tensorrt": "10.3.0", "compute_capability": "8.7", "gpu": "Orin", "board": "NVIDIA Jetson Orin Nano Developer Kit"}


def test_the_header_says_maker_version_and_size(plan):
    assert read_header(plan()) == {"made_by": "TensorRT", "version": "10.3.0.30", "bytes": 200, "claimed_bytes": None}
    assert read_header(plan((1, 7, 1, 116), b"vtrt"))["version"] == "1.7.1.116"


def test_a_plan_of_this_release_and_board_may_be_opened(plan):
    assert why_not_here(plan(), ORIN) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"PK\3\4 not an engine at all", "no TensorRT engine: it begins with b'PK"), (b"ftrt", "cut off after 4 bytes"), (b"", "begins with b''")],
)
def test_what_is_no_plan_is_told_by_its_first_bytes(tmp_path, content, says):
    file = tmp_path / "model.plan"
    file.write_bytes(content)

    with pytest.raises(NotAnEngineError) as caught:
        read_header(str(file))
    assert says in str(caught.value)
    assert says in why_not_here(str(file), ORIN)[0]


def test_a_plan_that_is_cut_off_is_told_by_the_size_it_claims(plan):
    (reason,) = why_not_here(plan((1, 7, 1, 116), b"vtrt", size=200, claims=5000), {"tensorrt": "1.7.1.116", "made_by": "TensorRT-RTX"})

    assert "cut off: 200 of 5000 bytes are there" in reason


def test_a_plan_of_another_release_is_refused_in_one_line(plan):
    (reason,) = why_not_here(plan((10, 7, 0, 23)), ORIN)

    assert reason.endswith("built by TensorRT 10.7.0.23, and this machine has 10.3.0")


def test_a_release_before_8_6_tells_no_version_in_its_plan_but_the_builder_does_beside_it(plan):
    file, old = plan((3, 0, 0, 0)), {"tensorrt": "8.5.2"}
    assert why_not_here(file, old) == []

    with open(file.replace("model.plan", "build-result.json"), "w", encoding="utf-8") as stream:
        json.dump({"status": "built", "engine": {"bytes": 200}, "machine": {"tensorrt": "8.4.1"}}, stream)

    assert why_not_here(file, old)[0].endswith("built with TensorRT 8.4.1, and this machine has 8.5.2")


def test_an_rtx_engine_is_refused_on_a_jetson(plan):
    (reason,) = why_not_here(plan((1, 7, 1, 116), b"vtrt"), ORIN)

    assert "an engine of TensorRT-RTX, and this machine has TensorRT" in reason


def test_a_plan_built_on_another_board_is_refused_by_what_the_builder_wrote_beside_it(plan):
    file = plan()
    result = {"status": "built", "engine": {"bytes": 200}, "machine": {**ORIN, "compute_capability": "7.2", "gpu": "Xavier"}}
    with open(file.replace("model.plan", "build-result.json"), "w", encoding="utf-8") as stream:
        json.dump(result, stream)

    assert [line.partition(": ")[2] for line in why_not_here(file, ORIN)] == [
        "built on compute capability 7.2, and this one is 8.7",
        "built on GPU Xavier, and this one is Orin",
    ]


def test_a_plan_that_has_lost_bytes_since_it_was_built_is_refused(plan):
    file = plan(size=150)
    with open(file.replace("model.plan", "build-result.json"), "w", encoding="utf-8") as stream:
        json.dump({"status": "built", "engine": {"bytes": 200}, "machine": {}}, stream)

    assert why_not_here(file, ORIN)[0].endswith("has 150 bytes, 200 were built")


def test_a_file_that_is_not_there_is_a_line_too(tmp_path):
    assert "No such file" in why_not_here(str(tmp_path / "model.plan"), ORIN)[0]

"""`edgekit debug engine`: a package that came back from its board."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def returned(edgekit, net, tmp_path):
    """A package for a Jetson with the layers and times that its builder script would have written; made up in NVIDIA's form."""
    assert edgekit("build", net, "--target", "jetson", "--recipe", "fp16", "--no-bench", "-o", "out").status == 0
    (folder,) = [path.parent for path in (tmp_path / "work" / "out").glob("engines/*/build-plan.json")]
    row = {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [{"Name": "image", "Format/Datatype": "Half"}], "Outputs": []}
    copy = {
        "Name": "Reformatting CopyNode for Input Tensor 0 to conv",
        "LayerType": "Reformat",
        "Inputs": [{"Name": "image", "Format/Datatype": "Row major linear FP32"}],
        "Outputs": [{"Name": "copied", "Format/Datatype": "Half"}],
    }
    (folder / "layers.json").write_text(json.dumps({"Layers": [copy, row]}), encoding="utf-8")
    rows = [{"count": 50}, {"name": copy["Name"], "averageMs": 0.25}, {"name": "conv", "averageMs": 0.75}]
    (folder / "profile.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def test_it_says_where_the_time_goes_and_what_is_to_blame(edgekit, returned):
    said = edgekit("debug", "engine", returned)

    assert said.status == 0, said.err
    assert said.out.splitlines()[0] == "1.000 ms a query: 75% float16, 25% reformat; 1 layers cost what they need not"
    assert "Reformatting CopyNode for Input Tensor 0 to conv (0.250 ms): numbers go from float32 to float16; to blame: image" in said.out


def test_it_is_json_where_asked_for(edgekit, returned):
    assert edgekit("debug", "engine", returned, "--json").data["ms"] == {"reformat": 0.25, "float16": 0.75}


def test_a_package_that_was_not_built_yet_says_how_to(edgekit, tmp_path):
    said = edgekit("debug", "engine", tmp_path)

    assert said.status == 2
    assert "no layers.json" in said.err
    assert "build on the board with build_engine.py --run" in said.err


def test_damaged_files_are_a_line_and_no_traceback(edgekit, returned):
    (returned / "layers.json").write_text("{", encoding="utf-8")

    said = edgekit("debug", "engine", returned)

    assert (said.status, "no JSON" in said.err, "Traceback" in said.err) == (2, True, False)

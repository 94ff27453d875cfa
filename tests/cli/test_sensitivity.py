"""`edgekit sensitivity`: what is told, what is written, and what is refused."""

import json
import re


def sensitivity(edgekit, net, pictures, *more):
    return edgekit("sensitivity", net, "--samples", pictures, *more)


def test_each_technique_has_a_table_the_costliest_layer_first(edgekit, net, pictures):
    said = sensitivity(edgekit, net, pictures, "--technique", "cluster", "--technique", "binarize", "--levels", "cluster=8,2")

    assert said.status == 0, said.err
    assert said.out.startswith("what hurts most: ")
    assert "(6 samples judge; the untouched model is right on " in said.out
    heads = [line.split() for line in said.out.splitlines() if line.split()[:1] == ["Layer"]]
    assert ["Layer", "Operator", "Weights", "8", "bits", "2", "bits"] in heads
    assert ["Layer", "Operator", "Weights", "ternary"] in heads
    table = said.out.partition("cluster: all 2 layers")[2].partition("layers, the costliest first")[0]
    last = [float(re.findall(r"(-?[\d.]+) dB", line)[-1]) for line in table.splitlines() if " dB" in line]
    assert len(last) == 2
    assert last == sorted(last)
    assert "\x1b[" not in said.out


def test_data_and_a_page_are_written_and_json_is_the_same_data(edgekit, net, pictures, tmp_path):
    said = sensitivity(edgekit, net, pictures, "--technique", "prune", "--levels", "prune=50", "-o", tmp_path / "out", "--json")

    assert said.status == 0, said.err
    assert said.data == json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    (curve,) = said.data["curves"]
    assert (curve["layer"], curve["technique"], curve["points"][0]["level"], curve["points"][0]["left"]) == ("conv", "prune", "50 % gone", 0.5)
    assert "<figure" in (tmp_path / "out" / "sensitivity.html").read_text()


def test_a_second_run_takes_every_figure_from_the_store(edgekit, net, pictures):
    first = sensitivity(edgekit, net, pictures, "--technique", "cluster", "-v")
    second = sensitivity(edgekit, net, pictures, "--technique", "cluster", "-v")

    assert "6 levels of 2 layers, 0 from the store" in first.err
    assert "6 levels of 2 layers, 6 from the store" in second.err
    assert first.out == second.out


def test_mistakes_are_one_line_and_a_hint_without_a_traceback(edgekit, net, pictures, tmp_path):
    (tmp_path / "file").write_text("")
    for more in (("--technique", "quantise"), ("--levels", "prune=100"), ("--technique", "quantize"), ("-o", tmp_path / "file")):
        said = sensitivity(edgekit, net, pictures, *more)

        assert said.status == 2
        first, second = said.err.strip().splitlines()
        assert first.startswith("edgekit: ")
        assert second.startswith("  hint: ")


def test_labels_that_are_none_of_the_classes_are_said(edgekit, net, pictures):
    labels = pictures / "labels.csv"
    labels.write_text(labels.read_text().replace(",3", ",17"))

    said = sensitivity(edgekit, net, pictures, "--technique", "cluster")

    assert said.status != 0
    assert "label 17 is none of the model's 4 classes" in said.err


def test_a_model_that_came_quantized_is_refused(edgekit, net, pictures, tmp_path):
    assert edgekit("build", net, "--target", "x86-64-avx2:onnxruntime", "--samples", pictures, "--no-bench", "-o", tmp_path / "built").status in (
        0,
        3,
    )
    (engine,) = (tmp_path / "built" / "engines").glob("x86-64-avx2-onnxruntime/*.onnx")

    said = sensitivity(edgekit, engine, pictures, "--technique", "cluster")

    assert said.status == 2
    assert "came quantized" in said.err

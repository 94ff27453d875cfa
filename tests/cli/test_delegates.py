"""What `edgekit plan`, `build` and `inspect` say of the nodes that XNNPACK leaves to TFLite's own kernels."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

SOFTMAX = (
    "softmax (SOFTMAX int8 -> int8; 1x4 -> 1x4): XNNPACK has no kernel for int8 -> int8; keep it in float: --set 'quantize.keep_float=[\"softmax\"]'"
)
IN_FLOAT = ("--set", 'quantize.keep_float=["softmax"]')


@pytest.fixture
def classifier(net, tmp_path):
    """The tiny network with a Softmax behind it, which in integers XNNPACK has no kernel for."""
    proto = onnx.load(net)
    proto.graph.node.append(onnx.helper.make_node("Softmax", ["scores"], ["shares"], "softmax"))
    proto.graph.output[0].name = "shares"
    path = tmp_path / "classifier.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def samples(tmp_path):
    folder, random = tmp_path / "arrays", np.random.default_rng(5)
    folder.mkdir()
    for index in range(8):
        np.savez(folder / f"{index}.npz", image=random.random((1, 3, 16, 16)).astype(np.float32))
    return folder


def test_a_plan_says_what_falls_back_before_anything_calibrates(edgekit, classifier, samples):
    said = edgekit("plan", classifier, "--target", "rpi5", "--samples", samples)

    assert said.status == 0, said.err
    assert "raspberry-pi-5-tflite: XNNPACK takes 6 of 7 operators in 2 parts (predicted: scales, and which nodes" in said.out
    assert f"  left: {SOFTMAX}" in said.out


def test_a_plan_of_16_bit_activations_names_ten_nodes_at_most(edgekit, tmp_path):
    nodes = " ".join(f"t{at + 1} = Mul(t{at}, w)" for at in range(12))
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> net (float[1,8] t0) => (float[1,8] t12) {{ {nodes} }}')
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.linspace(0.5, 2, 8, dtype=np.float32), "w"))
    onnx.save(proto, tmp_path / "twelve.onnx")
    samples = tmp_path / "arrays"
    samples.mkdir()
    for index in range(4):
        np.savez(samples / f"{index}.npz", t0=np.full((1, 8), index, np.float32))

    said = edgekit("plan", tmp_path / "twelve.onnx", "--target", "rpi5", "--samples", samples, "--recipe", "static_wi8_ai16")

    assert said.status == 0, said.err
    assert said.out.count("  left: ") == 10
    assert "  … and 4 more" in said.out  # of twelve products, a QUANTIZE and a DEQUANTIZE
    assert "quantize activations to 8 bits: --set quantize.activation_bits=8" in said.out


def test_what_needs_no_samples_is_known_and_not_predicted(edgekit, classifier):
    said = edgekit("plan", classifier, "--target", "rpi5", "--recipe", "fp16")

    assert "XNNPACK takes all" in said.out
    assert "predicted" not in said.out


def test_a_plan_as_json_holds_the_delegation(edgekit, classifier, samples):
    found = edgekit("plan", classifier, "--target", "rpi5,rpi5:onnxruntime", "--samples", samples, "--json").data["delegations"]

    assert list(found) == ["raspberry-pi-5-tflite"]  # ONNX Runtime has no delegate
    assert [one["op"] for one in found["raspberry-pi-5-tflite"]["left"]] == ["SOFTMAX"]


@pytest.mark.parametrize("asked", [("--require-full-delegation",), ("--set", "tflite.require_full_delegation=true")])
@pytest.mark.parametrize("verb", [("plan",), ("build", "--no-bench", "-o", "out")])
def test_full_delegation_is_refused_before_anything_calibrates(verb, asked, edgekit, classifier, samples):
    said = edgekit(verb[0], classifier, *verb[1:], "--target", "rpi5", "--samples", samples, *asked)

    assert said.status == 6
    assert f"1 operator of {classifier.name} would be left to the runtime's own kernels, and full delegation was asked for:" in said.err
    assert f"  - raspberry-pi-5-tflite: {SOFTMAX}" in said.err
    assert "calibrate" not in said.err


def test_the_remedy_that_is_named_lets_all_be_delegated(edgekit, classifier, samples, delegated, tmp_path):
    said = edgekit(
        "build", classifier, "--target", "rpi5", "--samples", samples, "--no-bench", "-o", "out", "--require-full-delegation", *IN_FLOAT, "--json"
    )

    assert said.status in (0, 3), said.err
    found = said.data["engines"][0]["delegation"]
    operators, parts = delegated((tmp_path / "work" / "out" / "engines" / "raspberry-pi-5-tflite" / "model.tflite").read_bytes())
    assert (found["taken"], found["parts"]) == (found["operators"], 1) == (len(operators), parts)


def test_full_delegation_is_asked_of_no_runtime_without_a_delegate(edgekit, classifier, samples):
    said = edgekit("plan", classifier, "--target", "rpi5:onnxruntime", "--samples", samples, "--require-full-delegation")

    assert said.status == 2
    assert "no runtime of these targets has a delegate whose answer is known before it builds" in said.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tflite.require_full=true", "--set tflite: require_full: no such key; did you mean require_full_delegation?"),
        ("tflite.io_dtype=int8", "--set tflite.io_dtype: asked for by --set io.dtype"),
        ("tensorrt.typing=weak", "--set tensorrt.…: no such step in this recipe"),
    ],
)
def test_a_wrong_option_of_a_runtime_is_said(setting, message, edgekit, classifier, samples):
    said = edgekit("plan", classifier, "--target", "rpi5", "--samples", samples, "--set", setting)

    assert said.status == 2
    assert message in said.err


def test_the_report_says_what_the_built_engine_leaves(edgekit, classifier, samples, tmp_path):
    said = edgekit("build", classifier, "--target", "rpi5", "--samples", samples, "--no-bench", "-o", "out")

    out = tmp_path / "work" / "out"
    sentence = "XNNPACK takes 6 of 7 operators in 2 parts; left: softmax (SOFTMAX) (by the rules of LiteRT 2.3.0)"
    assert f"raspberry-pi-5: {sentence}" in said.out
    assert "## Left to the runtime's own kernels" in (out / "report.md").read_text()
    assert sentence in (out / "report.html").read_text()


def test_inspect_says_what_each_delegate_would_take_of_a_file(edgekit, classifier, samples):
    edgekit("build", classifier, "--target", "rpi5", "--samples", samples, "--no-bench", "-o", "out")

    said = edgekit("inspect", "out/engines/raspberry-pi-5-tflite/model.tflite", "--no-layers")

    lines = [line for line in said.out.splitlines() if " takes " in line]
    assert [line.partition(" takes ")[0] for line in lines] == ["XNNPACK", "the GPU delegate", "NNAPI", "the Edge TPU"]
    assert "SOFTMAX int8 -> int8; 1x4 -> 1x4): XNNPACK has no kernel for int8 -> int8" in said.out
    assert "keep_float" not in said.out  # nobody knows the recipe of a file

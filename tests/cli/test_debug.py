"""`edgekit debug quantization`: what is told, what is written, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.cli.terminal import print_table_or_lines
from edgekit.report import Debugged
from edgekit.report.words import NONE


def debug(edgekit, model, pictures, *more, target="x86"):
    return edgekit("debug", "quantization", model, "--target", target, "--samples", pictures, *more)


ALL_INTEGER = ("--set", "quantize.float_if_free=false")
"""x86 computes the first convolution of a small net no faster in integers."""


@pytest.fixture
def uneven(tmp_path) -> Path:
    """A network between whose first two convolutions one channel is a thousand times the others, and counts no more."""
    import onnx

    draw = np.random.default_rng(5)
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[1,3,16,16] image) => (float[1,4,16,16] y) {
        a = Conv(image, w)  g = Sigmoid(a)  h = Mul(a, g)  b = Conv(h, v)  r = Relu(b)  y = Conv(r, u)
    }"""
    weights = {"w": draw.normal(size=(4, 3, 1, 1)), "v": draw.normal(size=(4, 4, 1, 1)), "u": draw.normal(size=(4, 4, 1, 1))}
    weights["w"][0] *= 1000.0
    weights["v"][:, 0] /= 1000.0
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items())
    onnx.save(proto, tmp_path / "uneven.onnx")
    return tmp_path / "uneven.onnx"


def test_what_costs_most_is_told_and_what_it_gains_to_correct_it(edgekit, net, pictures):
    said = debug(edgekit, net, pictures, *ALL_INTEGER)

    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("x86-64-vnni-onnxruntime with recipe static_wi8_ai8: ")
    assert " dB at the outputs on 6 samples; its parts add up to " in lines[0]
    for words in ("weights rounded on samples (rounding)", "equalized channels", "relu6 (Clip)", "1×8×8×8", "classifier (Gemm)"):
        assert words in said.out
    assert "\x1b[" not in said.out


def test_no_more_rows_are_shown_than_asked_for(edgekit, net, pictures):
    said = debug(edgekit, net, pictures, *ALL_INTEGER, "--top", "1")

    assert "the costliest of 2 weights" in said.out
    assert len([line for line in said.out.splitlines() if line.lstrip().startswith(("conv (", "classifier ("))]) == 1


def test_json_is_what_the_library_returns_for_each_target(edgekit, net, pictures):
    said = debug(edgekit, net, pictures, *ALL_INTEGER, "--json", target="x86,rpi5")
    one, other = msgspec.json.decode(said.out, type=tuple[Debugged, ...])

    assert (one.target, other.target) == ("x86-64-vnni-onnxruntime", "raspberry-pi-5-tflite")
    assert one.recipe == "static_wi8_ai8"
    assert {weights.node for weights in one.diagnosis.weights} == {"conv", "classifier"}
    assert one.diagnosis.samples == 6


def test_several_targets_are_told_one_after_the_other(edgekit, net, pictures):
    said = debug(edgekit, net, pictures, target="x86,rpi5")

    assert [line.partition(" ")[0] for line in said.out.splitlines() if " with recipe " in line] == [
        "x86-64-vnni-onnxruntime",
        "raspberry-pi-5-tflite",
    ]


def test_nodes_in_float_are_counted_by_reason_and_named_on_request(edgekit, net, pictures):
    keep = ("--set", 'quantize.keep_float=["classifier"]')

    assert "  1 × kept in float by keep_float\n" in debug(edgekit, net, pictures, *ALL_INTEGER, *keep).out
    assert "  1 × kept in float by keep_float: classifier\n" in debug(edgekit, net, pictures, *ALL_INTEGER, *keep, "--verbose").out


def test_what_the_runtime_computes_no_faster_in_integers_is_named(edgekit, net, pictures):
    said = debug(edgekit, net, pictures, "--set", "quantize.float_if_free=true", "--verbose")

    assert ": conv" in next(line for line in said.out.splitlines() if "the runtime computes it no faster in integers" in line)


def test_a_model_all_of_whose_nodes_stay_float_is_told_so(edgekit, net, pictures):
    said = debug(edgekit, net, pictures, "--set", 'quantize.keep_float=["*"]')

    assert said.status == 0, said.err
    assert "exact at the outputs" in said.out


def test_the_page_is_written_and_names_the_tensor(edgekit, uneven, pictures):
    said = debug(edgekit, uneven, pictures, "-o", "out/debug.html")
    page = Path("out/debug.html").read_text(encoding="utf-8")

    assert said.status == 0, said.err
    assert said.out.splitlines()[-1] == f"page: {Path('out/debug.html').resolve()}"
    assert ">h</h3>" in page
    assert "<script" not in page
    assert [path.name for path in Path("out").iterdir()] == ["debug.html"]


def test_a_poor_quantization_ends_with_a_command_that_repairs_it(edgekit, uneven, pictures):
    options = ("--set", "quantize.max_float_share=0.9", "--recipe", "static_wi8_ai8", "--set", "quantize.min_sqnr_db=-50")
    repair = debug(edgekit, uneven, pictures, *options, target="x86-64").out.splitlines()[-1]
    flag, setting, *_ = shlex.split(repair)
    said = debug(edgekit, uneven, pictures, *options, flag, setting, "--json", target="x86-64")
    assert said.status == 0, (repair, said.err)
    mended = said.data[0]["diagnosis"]

    assert repair.startswith("--set quantize.min_sqnr_db=25 keeps ")
    assert mended["sqnr_db"] >= 25.0
    assert mended["is_poor"] is False
    assert f"brings {mended['sqnr_db']:.1f} dB" in repair


def test_a_remedy_can_be_pasted_behind_the_command(edgekit, uneven, pictures):
    said = debug(edgekit, uneven, pictures, "--json").data[0]["diagnosis"]
    finding = said["findings"][0]
    mended = debug(edgekit, uneven, pictures, *shlex.split(finding["remedy"]), "--json").data[0]["diagnosis"]

    assert finding["where"] not in {tensor["tensor"] for tensor in mended["tensors"]}


def test_a_row_too_wide_for_a_table_takes_a_few_lines_without_what_is_empty(capsys):
    print_table_or_lines(("Node", "Weights", "Share"), [("n" * 200, "8×3", NONE), ("conv", "4×4", "1 %")])

    assert capsys.readouterr().out == f"\n{'n' * 200}\n  Weights        8×3\n\nconv\n  Weights        4×4\n  Share          1 %\n\n"


def test_the_project_file_is_respected(edgekit, net, pictures):
    Path("edgekit.toml").write_text(f'schema = 1\nmodel = "{net}"\ntarget = "rpi5"\nsamples = "{pictures}"\n[set.quantize]\nrounding = "nearest"\n')
    said = edgekit("debug", "quantization", "--json")

    assert said.status == 0, said.err
    assert said.data[0]["target"] == "raspberry-pi-5-tflite"
    assert all(weights["rounding_gain_db"] == 0.0 for weights in said.data[0]["diagnosis"]["weights"])


FOREIGN = 'schema = 1\nname = "mine"\n[[step]]\npass = "fuse"\n'


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--recipe", "fp16"), "recipe fp16: quantize.mode float16 has no calibrated integers to look at"),
        (("--recipe", "dynamic_wi8_afp32"), "recipe dynamic_wi8_afp32: quantize.mode dynamic has no calibrated integers"),
        (("--recipe", "float"), "recipe float has no step quantize"),
        (("--recipe", "mine.toml"), "recipe mine has no step quantize"),
        (("-o", "net.onnx"), "--out net.onnx: not the name of an HTML file"),
        (("--set", "quantize.keep_float=clasifier"), "keep_float"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_one_line_with_a_hint(edgekit, net, pictures, more, words):
    Path("mine.toml").write_text(FOREIGN)
    said = debug(edgekit, net, pictures, *(() if "-o" in more else ("-o", "page.html")), *more)

    assert said.status == 2, said.err
    assert said.out == ""
    assert words in said.err
    assert said.err.splitlines()[-1].startswith("  hint: ")
    assert "Traceback" not in said.err
    assert [path.name for path in Path().iterdir()] == ["mine.toml"]


def test_without_samples_nothing_is_looked_at(edgekit, net):
    said = edgekit("debug", "quantization", net, "--target", "x86", "-o", "page.html")

    assert said.status == 2
    assert "need samples: --samples DIR" in said.err
    assert not Path("page.html").exists()


def test_a_folder_is_no_page(edgekit, net, pictures):
    Path("page.html").mkdir()

    assert debug(edgekit, net, pictures, "-o", "page.html").status == 2


def test_an_old_page_stays_whole_where_a_new_one_cannot_be_made(edgekit, net, pictures):
    Path("page.html").write_text("old")
    said = debug(edgekit, net, pictures, "-o", "page.html", "--set", "quantize.keep_float=nowhere")

    assert said.status == 2
    assert Path("page.html").read_text() == "old"

"""What users get wrong: one clear line, a hint, the right exit status, nothing half written."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgekit.cli


def check(said, status, *words):
    assert said.status == status, said.err
    assert "\nedgekit: " in f"\n{said.err}"
    assert said.err.splitlines()[-1].startswith("  hint: ")
    assert "Traceback" not in said.err
    assert said.out == ""
    for word in words:
        assert word in said.err


def build(edgekit, model, *more, target="x86"):
    return edgekit("build", model, "--target", target, "--no-bench", *more)


def test_a_truncated_model(edgekit, net, pictures):
    net.write_bytes(net.read_bytes()[:200])

    check(build(edgekit, net, "--samples", pictures), 1, "net.onnx", "cut")
    assert not Path("edgekit-out/engines").exists()


def test_a_text_file_named_onnx(edgekit, tmp_path, pictures):
    (tmp_path / "notes.onnx").write_text("to do: train the model\n")

    check(build(edgekit, tmp_path / "notes.onnx", "--samples", pictures), 1, "notes.onnx", "a text file")


def test_a_model_that_is_not_there(edgekit):
    check(build(edgekit, "nowhere.onnx", "--recipe", "fp16"), 2, "nowhere.onnx: no such file")


def test_files_are_compared_on_samples_or_on_random_inputs(edgekit, pictures):
    said = edgekit("compare", "a.tflite", "b.tflite", "--samples", pictures, "--seed", "1")

    assert said.status == 2
    assert "--samples and --seed both say which inputs" in said.err


def test_a_sample_folder_that_may_not_be_read(edgekit, net, pictures, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read everything
    said = edgekit("plan", net, "-t", "rpi5", "--samples", pictures)

    assert "permission denied" in said.err
    assert "defect" not in said.err


def test_a_sample_folder_that_is_not_there(edgekit, net):
    check(build(edgekit, net, "--samples", "nowhere"), 1, "nowhere: no such folder")


def test_samples_that_are_needed_and_not_given(edgekit, net):
    said = build(edgekit, net)

    assert said.status == 2
    assert "steps 1 (equalize) and 2 (quantize): need samples: --samples DIR, or --recipe fp16" in said.err


def test_unreadable_pictures_among_good_ones_are_named_and_left_out_on_request(edgekit, net, pictures):
    (pictures / "00.png").write_bytes(b"")
    (pictures / "01.png").write_bytes((pictures / "01.png").read_bytes()[:100])
    (pictures / "02.png").write_bytes(b"hello, I am no picture")

    check(build(edgekit, net, "--samples", pictures), 1, "3 of 12 samples", "00.png: empty file", "01.png: PNG cut short", "02.png: not a picture")

    said = build(edgekit, net, "--samples", pictures, "--skip-bad-samples", "--set", "budget.min_sqnr_db=0", "--json")
    assert said.status in (0, 3)
    assert len(said.data["samples"]["skipped"]) == 3


def test_a_picture_damaged_inside_is_named_and_left_out_on_request(edgekit, net, pictures):
    content = bytearray((pictures / "03.png").read_bytes())
    content[60:80] = b"\0" * 20
    (pictures / "03.png").write_bytes(content)

    check(build(edgekit, net, "--samples", pictures), 1, "03.png")
    assert build(edgekit, net, "--samples", pictures, "--skip-bad-samples", "--set", "budget.min_sqnr_db=0").status in (0, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "rasberry-pi-5", "--recipe", "fp16"], "did you mean raspberry-pi-5?"),
        (["--target", "rpi5:tensorrt", "--recipe", "fp16"], "raspberry-pi-5 does not run tensorrt; it runs tflite, onnxruntime"),
        (["--target", "rpi5", "--recipe", "static_w8_ai8"], "did you mean static_wi8_ai8?"),
        (["--target", "rpi5", "--recipe", "fp16", "--set", "quantise.mode=static"], "did you mean quantize?"),
        (["--target", "rpi5", "--recipe", "fp16", "--set", "quantize.weight_bit=8"], "did you mean weight_bits?"),
        (["--target", "rpi5", "--recipe", "fp16", "--set", "quantize"], "not of the form step.field=value"),
        (["--target", "rpi5", "--recipe", "fp16", "--set", "quantize.weight_bits=3"], "weight_bits"),
        (["--target", "rpi5", "--recipe", "fp16", "--shape", "1;3;16;16"], "not a shape"),
        (["--target", "rpi5", "--recipe", "fp16", "--device", "shs://pi"], "shs"),
        (["--recipe", "fp16"], "no target"),
    ],
)
def test_words_that_are_not_known_suggest_the_nearest(edgekit, net, arguments, words):
    check(edgekit("build", net, *arguments), 2, words)


def test_all_faults_are_said_at_once(edgekit, net):
    said = edgekit("build", net, "-t", "rpi6,x86:tflit", "--recipe", "static_wi8_ai8", "--set", "fuse.wihtout=1", "--set", "nothing.x=1")

    check(
        said, 2, "no plan:", "rpi6: no such target", "does not run tflit", "steps 1 (equalize) and 2 (quantize): need samples", "wihtout", "nothing"
    )


def test_an_unknown_recipe_key_names_its_path(edgekit, net):
    Path("mine.toml").write_text('schema = 1\nname = "mine"\n[budget]\nmin_sqnr = 3\n')

    check(build(edgekit, net, "--recipe", "mine.toml"), 2, "mine.toml", "budget.min_sqnr", "did you mean min_sqnr_db?")


def test_an_op_that_no_backend_knows_is_refused_before_anything_calibrates(edgekit, tmp_path, pictures):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["r"], "relu"), helper.make_node("Det", ["r"], ["d"], "determinant")],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("d", TensorProto.FLOAT, [1, 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "det.onnx")

    said = build(edgekit, tmp_path / "det.onnx", "--samples", pictures, target="rpi5")

    check(said, 6, "determinant", "Det")
    assert "calibrate" not in said.err


def test_an_operator_of_another_domain_is_refused(edgekit, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Magic", ["x"], ["y"], "trick", domain="com.example")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "magic.onnx")

    said = build(edgekit, tmp_path / "magic.onnx", "--recipe", "fp16")

    check(said, 6, "Magic")


def test_pictures_without_known_preprocessing_are_not_guessed(edgekit, net, pictures):
    (pictures / "samples.toml").unlink()

    check(build(edgekit, net, "--samples", pictures), 1, "preprocess.mean")
    given = ("--set", "preprocess.mean=127", "--set", "preprocess.std=128")
    assert build(edgekit, net, "--samples", pictures, *given).status == 0


def test_an_output_folder_that_cannot_be_written(edgekit, net, tmp_path):
    (tmp_path / "file").write_text("in the way")

    said = build(edgekit, net, "--recipe", "float", "-o", tmp_path / "file" / "out")

    check(said, 1, "file")


def test_an_engine_that_is_not_there_cannot_be_measured(edgekit):
    check(edgekit("bench", "nowhere"), 2, "no engine here")
    check(edgekit("report", "nowhere"), 2, "nowhere")
    check(edgekit("compare", "nowhere", "there"), 2, "nowhere")


def test_an_unknown_option_is_exit_status_2(edgekit):
    said = edgekit("build", "--taget", "x86")

    assert said.status == 2
    assert "taget" in said.err


def test_labels_that_the_model_has_no_class_for(edgekit, net, pictures):
    (pictures / "labels.csv").write_text("file,class_index\n" + "".join(f"{index:02d}.png,{index}\n" for index in range(12)))

    check(build(edgekit, net, "--samples", pictures), 1, "samples little: label", "is none of the model's 4 classes")


def test_with_json_a_failure_is_data_too(edgekit, net):
    said = edgekit("build", net, "-t", "rpi6,rpi7", "--json")

    assert said.status == 2
    assert said.data["error"]["kind"] == "PlanError"
    assert said.data["error"]["exit_status"] == 2
    assert any("rpi6" in reason for reason in said.data["error"]["reasons"])
    assert said.data["error"]["hint"]


def test_a_folder_that_edgekit_did_not_make_is_not_filled(edgekit, net, pictures):
    before = sorted(path.name for path in pictures.iterdir())

    check(build(edgekit, net, "--samples", pictures, "-o", pictures), 2, "not empty, and not made by edgekit")

    assert sorted(path.name for path in pictures.iterdir()) == before


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("preprocess.mean=[1,2]", "mean has 2 values for 3 channels"),
        ("preprocess.std=0", "std is 0"),
        ("preprocess.crop=-5", "crop is not between 1 and 8192"),
        ("preprocess.resize_short=99999", "resize_short is not between"),
    ],
)
def test_preprocessing_that_no_picture_could_bear(edgekit, net, pictures, setting, words):
    check(build(edgekit, net, "--samples", pictures, "--set", setting), 2, words)


def test_samples_that_make_the_original_give_nan_are_not_called_exact(edgekit, net, tmp_path):
    import numpy as np

    (tmp_path / "nan").mkdir()
    for index in range(4):
        np.savez(tmp_path / "nan" / f"{index}.npz", image=np.full((3, 16, 16), np.nan, np.float32))

    check(build(edgekit, net, "--recipe", "float", "--samples", tmp_path / "nan"), 1, "NaN")


@pytest.mark.parametrize(
    "content", [b"file,class_index\n\xe9.png,1\n", b"name,label\n0.png,1\n", b"file,class_index\nzz.png,1\n", b"file,class_index\n00.png\n"]
)
def test_labels_that_cannot_be_meant(edgekit, net, pictures, content):
    (pictures / "labels.csv").write_bytes(content)

    check(build(edgekit, net, "--samples", pictures), 1, "labels.csv")


def test_arrays_of_objects_are_refused(edgekit, net, tmp_path):
    import numpy as np

    (tmp_path / "objects").mkdir()
    for index in range(4):
        np.savez(tmp_path / "objects" / f"{index}.npz", image=np.array([{"a": 1}], dtype=object))

    check(build(edgekit, net, "--recipe", "float", "--samples", tmp_path / "objects"), 1, "cannot be read")


def test_integer_ports_of_a_package_for_the_device(edgekit, net, pictures):
    said = build(edgekit, net, "--samples", pictures, "--set", "io.dtype=int8", target="jetson")

    check(said, 2, "tensorrt engines (jetson-orin-nano-jp62) have their ports as the source has them")


def test_one_kind_by_two_names_is_built_once(edgekit, net):
    said = build(edgekit, net, "--recipe", "float", "--json", target="rpi5,raspberry-pi-5,rpi5")

    assert [engine["target"] for engine in said.data["engines"]] == ["raspberry-pi-5"]


def test_control_c_that_a_module_in_c_turned_into_an_import_error_is_still_control_c(capsys, monkeypatch):
    def interrupted(**_: object) -> None:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr(edgekit.cli, "app", interrupted)

    assert edgekit.cli.run(["plan"]) == 130
    assert capsys.readouterr().err == "edgekit: interrupted; the same command goes on where this one stopped\n"

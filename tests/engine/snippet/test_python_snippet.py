import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgekit.model import Signature, Tensor
from edgekit.samples import image_input

KINDS = ["photo", "stretched", "grey", "as told by the input", "cut", "nearest"]


def ort_scores(path, feed):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["scores"], feed)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_onnxruntime_gives_for_the_same_picture(kit, pictures, tmp_path, kind):
    signature = kit.signature_of(kind)
    kit.save_onnx(signature, tmp_path / "model.onnx")
    kit.write(kit.engine_of(signature, "model.onnx", "onnxruntime"), signature, tmp_path)
    run = kit.imported(tmp_path / "run.py")
    model = run.Model()
    for picture in pictures:
        expected = image_input(picture, signature.inputs[0], signature.preprocess)

        assert np.array_equal(run.preprocess(picture), expected)
        assert np.array_equal(model({run.INPUT: run.preprocess(picture)})["scores"], ort_scores(tmp_path / "model.onnx", {"the input:0": expected}))


def test_it_gives_what_litert_gives_for_the_same_picture(kit, pictures, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    signature = kit.signature_of("photo", layout="nhwc")
    kit.save_tflite(signature, tmp_path / "model.tflite")
    kit.write(kit.engine_of(signature, "model.tflite", "tflite"), signature, tmp_path)
    run = kit.imported(tmp_path / "run.py")
    direct = interpreter.Interpreter(model_path=str(tmp_path / "model.tflite"))
    direct.allocate_tensors()
    for picture in pictures:
        direct.set_tensor(direct.get_input_details()[0]["index"], image_input(picture, signature.inputs[0], signature.preprocess))
        direct.invoke()

        assert np.array_equal(run.Model()({run.INPUT: run.preprocess(picture)})["scores"], direct.get_tensor(direct.get_output_details()[0]["index"]))


def test_a_channels_first_source_is_fed_to_a_channels_last_engine(kit, pictures, tmp_path):
    pytest.importorskip("ai_edge_litert")
    source, laid = kit.signature_of("photo"), kit.signature_of("photo", layout="nhwc")
    kit.save_tflite(laid, tmp_path / "model.tflite")
    kit.write(kit.engine_of(laid, "model.tflite", "tflite"), source, tmp_path)
    run = kit.imported(tmp_path / "run.py")
    expected = image_input(pictures[0], source.inputs[0], source.preprocess)

    assert np.array_equal(run.preprocess(pictures[0]), expected.transpose(0, 2, 3, 1))


def test_integers_at_both_ends_stand_for_the_real_values(kit, pictures, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    signature = kit.signature_of("photo", layout="nhwc")
    grids = ((0.0186, -14), (1.5, 3))
    kit.save_tflite(signature, tmp_path / "model.tflite", grids)
    ports = kit.engine_of(signature, "model.tflite", "tflite")
    engine = kit.engine_of(
        signature,
        "model.tflite",
        "tflite",
        inputs=(replaced(ports.inputs[0], dtype="int8", scale=0.0186, zero_point=-14),),
        outputs=(replaced(ports.outputs[0], dtype="int8", scale=1.5, zero_point=3),),
    )
    kit.write(engine, signature, tmp_path)
    run = kit.imported(tmp_path / "run.py")
    values = image_input(pictures[0], signature.inputs[0], signature.preprocess)
    by_hand = np.clip(np.round(values / np.float32(0.0186)) - 14, -128, 127).astype(np.int8)
    direct = interpreter.Interpreter(model_path=str(tmp_path / "model.tflite"))
    direct.allocate_tensors()
    direct.set_tensor(direct.get_input_details()[0]["index"], by_hand)
    direct.invoke()
    stored = direct.get_tensor(direct.get_output_details()[0]["index"])

    assert np.array_equal(run.preprocess(pictures[0]), by_hand)
    assert np.array_equal(run.Model()({run.INPUT: by_hand})["scores"], (stored.astype(np.float32) - 3) * np.float32(1.5))


def replaced(struct, **fields):
    import msgspec

    return msgspec.structs.replace(struct, **fields)


def test_it_names_the_five_best_classes_when_called_as_a_program(kit, pictures, tmp_path):
    signature = kit.signature_of("photo")
    kit.save_onnx(signature, tmp_path / "model.onnx")
    kit.write(kit.engine_of(signature, "model.onnx", "onnxruntime"), signature, tmp_path)
    scores = ort_scores(tmp_path / "model.onnx", {"the input:0": image_input(pictures[0], signature.inputs[0], signature.preprocess)})[0]
    told = subprocess.run([sys.executable, str(tmp_path / "run.py"), str(pictures[0])], capture_output=True, text=True, check=True, cwd="/")

    lines = told.stdout.splitlines()
    assert lines[0] == str(pictures[0])
    assert [line.split(maxsplit=1)[1] for line in lines[1:]] == [kit.LABELS[index].replace("\t", "\t") for index in np.argsort(scores)[::-1][:5]]
    assert float(lines[1].split()[0]) == pytest.approx(scores.max(), abs=1e-4)


def test_arrays_go_in_and_come_out_by_name(kit, tmp_path):
    signature = Signature(
        inputs=(Tensor(name="a b", dtype="float32", shape=(1, 2, 3)), Tensor(name="n", dtype="int64", shape=(1,))),
        outputs=(Tensor(name="sum", dtype="float32", shape=(1, 2, 3)), Tensor(name="same", dtype="int64", shape=(1,))),
    )
    nodes = [
        helper.make_node("Cast", ["n"], ["real"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Add", ["a b", "real"], ["sum"], name="add"),
        helper.make_node("Identity", ["n"], ["same"], name="same"),
    ]
    info = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    ends = [
        [helper.make_tensor_value_info(tensor.name, info[tensor.dtype], tensor.shape) for tensor in group]
        for group in (signature.inputs, signature.outputs)
    ]
    graph = helper.make_graph(nodes, "net", *ends)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "model.onnx")
    kit.write(kit.engine_of(signature, "model.onnx", "onnxruntime"), signature, tmp_path)
    np.savez(tmp_path / "inputs.npz", **{"a b": np.ones((2, 3), np.float32), "n": np.array([4])})

    subprocess.run([sys.executable, "run.py", "inputs.npz"], capture_output=True, check=True, cwd=tmp_path)

    with np.load(tmp_path / "outputs.npz") as outputs:
        assert np.array_equal(outputs["sum"], np.full((1, 2, 3), 5, np.float32))
        assert outputs["same"].tolist() == [4]


def test_the_session_is_opened_as_it_was_measured(kit, tmp_path):
    signature = kit.signature_of("photo")
    options = {"graph_optimization": "extended", "session_config": {"session.intra_op.allow_spinning": "0"}}
    kit.write(kit.engine_of(signature, "model.onnx", "onnxruntime", options=options), signature, tmp_path)
    text = (tmp_path / "run.py").read_text()

    assert "onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED" in text
    assert 'options.add_session_config_entry("session.intra_op.allow_spinning", "0")' in text


def test_tflites_own_kernels_are_asked_for_where_they_were_measured(kit, pictures, tmp_path):
    pytest.importorskip("ai_edge_litert")
    signature = kit.signature_of("photo", layout="nhwc")
    kit.save_tflite(signature, tmp_path / "model.tflite")
    kit.write(kit.engine_of(signature, "model.tflite", "tflite", options={"xnnpack": False}), signature, tmp_path)
    run = kit.imported(tmp_path / "run.py")
    model = run.Model()

    assert model({run.INPUT: run.preprocess(pictures[0])})["scores"].shape == (1, kit.CLASSES)
    assert "DELEGATE" not in {detail["op_name"] for detail in model.interpreter._get_ops_details()}


def test_names_cannot_break_out_of_what_is_written(kit, tmp_path):
    hostile = 'x"""\n$y {z} \\ \'; raise SystemExit(9)  #'
    signature = Signature(
        inputs=(Tensor(name=hostile, dtype="float32", shape=(1, 3, 8, 8), layout="nchw"),),
        outputs=(Tensor(name=hostile, dtype="float32", shape=(1, 4)),),
        preprocess=kit.PREPROCESS["photo"],
        labels=(hostile,),
    )
    kit.write(kit.engine_of(signature, "model.onnx", "onnxruntime"), signature, tmp_path)
    run = kit.imported(tmp_path / "run.py")

    told = [run.INPUT, *run.OUTPUTS, *run.LABELS]

    assert told == [hostile] * 3


def test_an_engine_that_is_not_built_yet_or_of_another_runtime_gets_none(kit, tmp_path):
    signature = kit.signature_of("photo")
    engine = kit.engine_of(signature, "model.onnx", "tensorrt", status="not built: needs the device")

    assert kit.write(engine, signature, tmp_path) == ()
    assert kit.write(replaced(engine, status="built"), signature, tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_kotlin_is_for_android_alone(kit, tmp_path):
    signature = kit.signature_of("photo", layout="nhwc")
    here = kit.write(kit.engine_of(signature, "model.tflite", "tflite", target="raspberry-pi-5"), signature, tmp_path)
    there = kit.write(kit.engine_of(signature, "model.tflite", "tflite", target="android-arm64"), signature, tmp_path)

    assert [path.name for path in here] == ["run.py", "run.cc"]
    assert [path.name for path in there] == ["run.py", "run.cc", "Model.kt"]

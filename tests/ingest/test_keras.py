import shutil
import sys

import numpy as np
import onnxruntime
import pytest

from edgekit.errors import SourceError
from edgekit.graph.onnx_file import load
from edgekit.model import Preprocess
from edgekit.passes.simplify.stages import simplify
from edgekit.samples import read_samples

pytestmark = pytest.mark.keras


def agrees(model, inputs, outputs, names=None):
    session = onnxruntime.InferenceSession(model.path)
    got = session.run(None, dict(zip(names or [value.name for value in session.get_inputs()], inputs, strict=True)))
    for one, other in zip(got, outputs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


def test_a_keras_archive_keeps_names_and_layout_and_computes_what_keras_does(keras_files, ingested, kept):
    was_imported = "tensorflow" in sys.modules
    model = ingested(keras_files / "cnn.keras")
    assert ("tensorflow" in sys.modules) == was_imported
    agrees(model, *kept(keras_files / "cnn.npz"))
    assert [(tensor.name, tensor.shape, tensor.layout) for tensor in model.signature.inputs] == [("picture", (1, 28, 28, 1), "nhwc")]
    assert [(tensor.name, tensor.shape) for tensor in model.signature.outputs] == [("classes", (1, 10))]
    assert model.signature.preprocess == Preprocess(colour="grey")  # its first layer scales raw pixels
    step = model.history[0]
    assert (step.name, step.did["format"], step.did["parity_samples"]) == ("ingest", "Keras archive", 2)
    assert step.did["parity_sqnr_db"] > 90
    assert set(step.tools) == {"keras", "tensorflow", "tf2onnx", "onnx"}
    assert sorted(path.name for path in model.folder.iterdir()) == ["model.json", "model.onnx", "parity.npz"]


def test_an_hdf5_file_is_read(keras_files, ingested, kept):
    model = ingested(keras_files / "mlp.h5")
    agrees(model, *kept(keras_files / "mlp.npz"))
    assert (model.signature.inputs[0].name, model.signature.outputs[0].name) == ("features", "scores")
    assert model.signature.preprocess is None


@pytest.mark.parametrize(
    ("name", "operators"),
    [("lstm", {"LSTM": 1}), ("gru", {"GRU": 1}), ("gru_before", {"GRU": 1}), ("plain", {"RNN": 1}), ("both", {"LSTM": 2})],
)
def test_recurrent_layers_end_as_the_operators_of_that_name(keras_files, ingested, kept, name, operators):
    model = ingested(keras_files / f"{name}.keras")
    simplified, did = simplify(load(model.path))
    inputs, outputs = kept(keras_files / f"{name}.npz")
    got = onnxruntime.InferenceSession(simplified.SerializeToString()).run(None, {"rows": inputs[0]})
    np.testing.assert_allclose(got[0], outputs[0], rtol=1e-4, atol=1e-5)
    assert {op: count for op, count in did["ops_after"].items() if op in ("LSTM", "GRU", "RNN", "Loop")} == operators


def test_several_inputs_and_outputs_keep_order_and_names(keras_files, ingested, kept):
    model = ingested(keras_files / "residual.keras", shape={"image": (1, 8, 8, 3)})
    agrees(model, *kept(keras_files / "residual.npz"))
    assert [tensor.name for tensor in model.signature.inputs] == ["image", "extra"]
    assert [tensor.name for tensor in model.signature.outputs] == ["sum", "head"]


def test_statistics_of_a_normalization_layer_are_constants_and_its_input_is_raw_pixels(keras_files, ingested, kept):
    model = ingested(keras_files / "normalized.keras")
    agrees(model, *kept(keras_files / "normalized.npz"))
    assert [tensor.name for tensor in model.signature.inputs] == ["image"]
    assert model.signature.preprocess == Preprocess()


def test_a_saved_model_is_read_by_its_serving_signature(keras_files, ingested, kept, needs_sandbox):
    model = ingested(keras_files / "residual")
    agrees(model, *kept(keras_files / "residual.npz"), names=["image", "extra"])
    assert [tensor.name for tensor in model.signature.outputs] == ["output_0", "output_1"]


def test_a_convolution_in_groups_is_a_node_and_no_call_of_a_compiled_function(keras_files, ingested, kept):
    agrees(ingested(keras_files / "grouped.keras"), *kept(keras_files / "grouped.npz"))


def test_an_old_depthwise_layer_saved_with_groups_is_read(keras_files, ingested, kept):
    agrees(ingested(keras_files / "depthwise.h5"), *kept(keras_files / "depthwise.npz"))


@pytest.mark.slow
def test_open_sizes_are_pinned_or_kept_open(keras_files, ingested):
    with pytest.raises(SourceError, match="input image is open in axis 0, axis 1, axis 2"):
        ingested(keras_files / "open.keras")
    shutil.copy(keras_files / "open.keras", keras_files / "kept.keras")
    model = ingested(keras_files / "kept.keras", shape={"image": ("batch", 16, 20, 3)})
    assert model.signature.inputs[0].shape == ("batch", 16, 20, 3)
    assert model.signature.outputs[0].shape[1:] == (14, 18, 2)
    session = onnxruntime.InferenceSession(model.path)
    assert session.run(None, {"image": np.zeros((3, 16, 20, 3), np.float32)})[0].shape == (3, 14, 18, 2)


def test_pictures_take_part_in_the_parity_check_inside_the_sandbox(keras_files, ingested, tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(6):
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{index}.png")
    model = ingested(keras_files / "cnn.keras", samples=read_samples(folder), check_samples=3)
    assert model.history[0].did["parity_samples"] == 5


@pytest.mark.slow
def test_a_lambda_layer_is_refused_until_the_user_trusts_the_file(keras_files, ingested):
    with pytest.raises(SourceError, match=r"Keras cannot load it: .*Lambda") as caught:
        ingested(keras_files / "lambda.keras")
    assert "--trust" in caught.value.hint
    shutil.copy(keras_files / "lambda.keras", keras_files / "trusted.keras")
    model = ingested(keras_files / "trusted.keras", trust=True)
    session = onnxruntime.InferenceSession(model.path)
    assert session.run(None, {model.signature.inputs[0].name: np.ones((1, 4), np.float32)})[0].tolist() == [[2.0] * 4]


def test_a_file_of_weights_alone_is_named_as_such(keras_files, ingested):
    with pytest.raises(SourceError) as caught:
        ingested(keras_files / "mlp.weights.h5")
    assert "mlp.weights.h5: Keras cannot load it" in caught.value.message
    assert "weights only" in caught.value.hint


@pytest.mark.parametrize("keep_bytes", [9000, 2000])
def test_a_file_that_is_cut_short_is_one_line(keras_files, ingested, tmp_path, keep_bytes):
    source = tmp_path / "cut.h5"
    source.write_bytes((keras_files / "mlp.h5").read_bytes()[:keep_bytes])
    with pytest.raises(SourceError) as caught:
        ingested(source)
    assert caught.value.message.startswith(f"{source}: Keras cannot load it")
    assert "\n" not in caught.value.message


@pytest.mark.slow
def test_the_same_keras_file_gives_the_same_bytes(keras_files, ingested, tmp_path):
    copy = tmp_path / "copy.keras"
    shutil.copy(keras_files / "cnn.keras", copy)
    assert ingested(keras_files / "cnn.keras").sha256 == ingested(copy).sha256


def test_numbers_that_the_converter_counted_in_names_are_counted_anew():
    import onnx

    from edgekit.ingest.names import number_names

    def net(first, second):
        squeezed, half = f"mean/Squeeze__{first}:0", f"mean__{second}/half"
        text = "net (float[1,4] x) => (float[1,4] y) { a = Relu(x)  b = Neg(a)  y = Abs(b) }"
        proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
        renamed = {"a": squeezed, "b": half}
        for node, name in zip(proto.graph.node, (f"mean/Squeeze__{first}", f"mean__{second}", "last"), strict=True):
            node.name = name
            node.input[:] = [renamed.get(one, one) for one in node.input]
            node.output[:] = [renamed.get(one, one) for one in node.output]
        number_names(proto)
        return proto

    assert [node.name for node in net(29, 7).graph.node] == ["mean/Squeeze__0", "mean__1", "last"]
    assert net(29, 7) == net(1, 0) == net(30, 29)

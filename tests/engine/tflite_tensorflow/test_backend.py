"""TensorFlow's own converter as a backend: what of a recipe it follows, what it makes, and what it is not asked for."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgekit
from edgekit.engine.contract import Conversion, read_engine
from edgekit.engine.tflite_tensorflow import TfliteTensorflowBackend
from edgekit.engine.tflite_tensorflow.modes import lacking, left_out, mode_of
from edgekit.errors import PlanError, UsageError
from edgekit.graph.onnx_file import save
from edgekit.graph.signature import signature_of
from edgekit.model import Signature, Step, Store, seal_model
from edgekit.model.source import keep_source, kept_source, with_source
from edgekit.passes.quantize import Quantize
from edgekit.target import Runtime, Target, choose

BOARD = Target(schema=1, name="board", arch="aarch64", runtimes=(Runtime("tflite-tensorflow"),), sources={})
RELU = '<ir_version: 10, opset_import: ["" : 21]> net (float[1,4] x) => (float[1,4] y) { y = Relu(x) }'

KERAS_CODE = """
import sys
import keras, numpy as np
from keras import layers

keras.utils.set_random_seed(5)
picture, more = keras.Input((12, 12, 3), name="picture"), keras.Input((5,), name="more")
hidden = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6")(picture)
hidden = layers.DepthwiseConv2D(3, padding="same", activation="relu")(hidden)
pooled = layers.GlobalAveragePooling2D(name="pooled")(hidden)
classes = layers.Dense(4, name="classes")(layers.Concatenate()([pooled, more]))
net = keras.Model([picture, more], [classes, pooled])
net.save("net.keras")
random = np.random.default_rng(3)
for index in range(12):
    feed = {"picture": random.standard_normal((1, 12, 12, 3)).astype("float32"), "more": random.standard_normal((1, 5)).astype("float32")}
    np.savez(f"samples/{index}.npz", **feed)
    if index == 0:
        outputs = net([feed["picture"], feed["more"]], training=False)
        np.savez("wanted.npz", classes=np.asarray(outputs[0]), pooled=np.asarray(outputs[1]), **feed)
"""


def quantize(**options):
    step = Quantize(**options)
    return (Step(name="quantize", options={field.name: getattr(step, field.name) for field in dataclasses.fields(step)}),)


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    """A network of two inputs and two outputs that are not in the order of their names; samples and Keras's outputs beside it."""
    folder = tmp_path_factory.mktemp("keras")
    (folder / "samples").mkdir()
    subprocess.run([sys.executable, "-c", KERAS_CODE], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def relu(tmp_path):
    """A Model in a store, made of nothing that is known."""
    store = Store(tmp_path / "store")

    def make(out):
        onnx.save(onnx.parser.parse_model(RELU), out / "model.onnx")
        seal_model(out, Signature((), ()), (Step(name="ingest"),))

    from edgekit.model import read_model

    return store, read_model(store.keep("ab" * 20, make))


def test_whatever_runs_tflite_runs_what_tensorflow_makes_for_it():
    one = choose("rpi5:tflite-tensorflow")

    assert (one.key, one.target.runtime(one.runtime).scheme) == ("raspberry-pi-5-tflite-tensorflow", None)
    assert one.target.runtime("tflite-tensorflow").version == one.target.runtime("tflite").version
    with pytest.raises(UsageError, match="does not run tflite-nobody; it runs tflite, onnxruntime"):
        choose("rpi5:tflite-nobody")
    with pytest.raises(UsageError, match="does not run tflite-tensorflow; it runs tensorrt"):
        choose("jetson:tflite-tensorflow")


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({"mode": "static"}, "int8"),
        ({"mode": "static", "activation_bits": 16}, "int16"),
        ({"mode": "dynamic"}, "dynamic int8"),
        ({"mode": "float16"}, "float16"),
    ],
)
def test_the_recipes_mode_is_what_the_converter_is_asked_for(options, mode):
    assert lacking(quantize(**options)) == ""
    assert mode_of(quantize(**options)) == mode
    assert mode_of(()) == "float32"


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        (quantize(mode="weight_only", weight_bits=4), "has no form for mode weight_only, weights of 4 bits"),
        (quantize(mode="static", weight_bits=4), "has no form for mode static, weights of 4 bits"),
        (quantize(mode="bfloat16"), "has no form for mode bfloat16"),
        (quantize(mode="static", keep_float=("Softmax",)), "cannot be asked for quantize.keep_float"),
        ((Step(name="prune"),), "without prune: leave it out, or build for tflite"),
    ],
)
def test_what_the_converter_cannot_do_is_said_with_what_can_be_done(steps, fault):
    assert fault in lacking(steps)


def test_what_is_edgekits_own_is_named_and_left_out():
    steps = (Step(name="equalize"), *quantize(mode="static", min_sqnr_db=21.0))

    assert left_out(steps) == ("equalize", "quantize.observer", "quantize.rounding", "quantize.correct_bias", "quantize.min_sqnr_db")
    assert left_out(quantize(mode="float16")) == ()


def test_a_model_whose_source_is_not_kept_is_refused(relu):
    _, model = relu

    (refusal,) = TfliteTensorflowBackend().refusals(model, BOARD)
    assert refusal.line() == (
        "source (Keras of this model): it is not in the store, and TensorFlow converts it, not the graph; build from the Keras file itself"
    )


def test_recurrent_layers_that_tensorflow_crashes_on_are_refused_where_it_would_calibrate(tmp_path):
    text = "net (float[5,1,3] x) => (float[5,1,1,4] y) { y = GRU<hidden_size=4>(x, w, r) }"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
    for name, shape in {"w": (1, 12, 3), "r": (1, 12, 4)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name))
    (tmp_path / "model").mkdir()
    save(proto, tmp_path / "model")
    model = seal_model(tmp_path / "model", signature_of(proto), ())

    asked = TfliteTensorflowBackend(conversion=Conversion(steps=quantize(mode="static"))).refusals(model, BOARD)
    assert [one.op for one in asked] == ["GRU", "Keras"]
    assert [one.op for one in TfliteTensorflowBackend(conversion=Conversion(steps=quantize(mode="float16"))).refusals(model, BOARD)] == ["Keras"]


def test_a_source_that_is_kept_is_found_by_what_the_history_says(relu, tmp_path):
    store, model = relu
    (tmp_path / "net.keras").write_bytes(b"weights")
    keep_source(store, tmp_path / "net.keras", "12ab")

    assert kept_source(model) is None
    found = kept_source(with_source(model, "12ab"))
    assert (found.name, found.read_bytes()) == ("source.keras", b"weights")
    assert TfliteTensorflowBackend().refusals(with_source(model, "12ab"), BOARD) == ()
    assert kept_source(with_source(model, "34cd")) is None


def test_sources_of_other_frameworks_are_refused_before_anything_is_read(tmp_path):
    onnx.save(onnx.parser.parse_model(RELU), tmp_path / "net.onnx")

    with pytest.raises(UsageError, match=r"raspberry-pi-5-tflite-tensorflow converts Keras sources themselves; .*net.onnx is ONNX") as caught:
        edgekit.build(tmp_path / "net.onnx", target="rpi5:tflite-tensorflow", recipe="float", out=tmp_path / "out")
    assert caught.value.hint == "--target rpi5"


def test_a_recipe_it_cannot_follow_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n")

    with pytest.raises((PlanError, UsageError), match="weights of 4 bits"):
        edgekit.build(tmp_path / "net.h5", target="rpi5:tflite-tensorflow", recipe="weight_only_wi4_afp32", out=tmp_path / "out")


def outputs_of(path, feed):
    """The file's outputs by number, fed by its signature's names."""
    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    return runner(input_0=feed["picture"], input_1=feed["more"])


@pytest.mark.keras
@pytest.mark.slow
def test_both_converters_stand_side_by_side_in_one_report(net, tmp_path):
    report = edgekit.build(
        net / "net.keras",
        target=("rpi5", "rpi5:tflite-tensorflow"),
        samples=net / "samples",
        out=tmp_path / "out",
        bench=False,
        store=Store(tmp_path / "store"),
    )

    ours, theirs = report.engines
    assert (ours.runtime, theirs.runtime) == ("tflite", "tflite-tensorflow")
    assert (ours.precision, theirs.precision) == ("int8", "int8")
    assert ours.fidelity.sqnr_db > 20
    assert theirs.fidelity.sqnr_db > 20
    assert theirs.details["operators"]["CONV_2D"] == 1
    assert any("equalize" in remark and "had no part in it" in remark for remark in theirs.remarks)
    engine = read_engine((tmp_path / "out" / theirs.path).parent)
    assert {port.name for port in engine.inputs} == {"picture", "more"}
    assert {port.name: port.layout for port in engine.inputs}["picture"] == "nhwc"
    assert {path.name for path in (tmp_path / "out" / theirs.path).parent.iterdir()} >= {"model.tflite", "run.py", "run.cc"}


@pytest.mark.keras
@pytest.mark.slow
def test_the_float_engine_has_the_sources_weights(net, tmp_path):
    report = edgekit.build(
        net / "net.keras", target="rpi5:tflite-tensorflow", recipe="float", out=tmp_path / "out", bench=False, store=Store(tmp_path / "store")
    )

    wanted = np.load(net / "wanted.npz")
    got = outputs_of(tmp_path / "out" / report.engines[0].path, wanted)
    np.testing.assert_allclose(got["output_0"], wanted["classes"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["output_1"], wanted["pooled"], rtol=1e-4, atol=1e-5)


@pytest.mark.keras
@pytest.mark.slow
def test_a_live_model_is_no_file_that_could_be_converted(tmp_path):
    keras = pytest.importorskip("keras")
    inputs = keras.Input((4,))

    with pytest.raises(UsageError, match="this is a live model") as caught:
        edgekit.build(keras.Model(inputs, keras.layers.Dense(2)(inputs)), target="rpi5:tflite-tensorflow", recipe="float", out=tmp_path / "out")
    assert caught.value.hint == "model.save('net.keras'), and build from that"

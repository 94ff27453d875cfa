"""The backend as the pipeline sees it: refusals, engine, options."""

import sys
from importlib.metadata import entry_points

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.engine.contract import Engine, read_engine
from edgekit.engine.tflite import TfliteBackend, TfliteOptions
from edgekit.errors import SourceError, UnsupportedError, UsageError
from edgekit.model import Signature, Tensor, file_sha256, seal_model
from edgekit.strict import convert
from edgekit.target import Runtime, Target

RNG = np.random.default_rng(4)
BACKEND = TfliteBackend()


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def target(**options):
    return Target(schema=1, name="board", arch="aarch64", runtimes=(Runtime("tflite", options=options),), sources={})


def test_backend_is_found_by_its_entry_point():
    (point,) = entry_points(group="edgekit.backends", name="tflite")

    assert point.load() is TfliteBackend


def test_engine_and_its_record(graph, build):
    built = build(graph("(float[1,3,8,8] x) => (y) { c = Conv(x, w) y = GlobalAveragePool(c) }", w=normal(4, 3, 3, 3)))

    engine = built.engine
    assert read_engine(built.path.parent) == engine
    assert (engine.runtime, engine.target, engine.status, engine.precision) == ("tflite", "board", "built", "float32")
    assert (engine.bytes, engine.sha256) == (built.path.stat().st_size, file_sha256(built.path))
    assert engine.details["operators"] == {"CONV_2D": 1, "MEAN": 1}
    assert msgspec.json.decode(msgspec.json.encode(engine), type=Engine).details["tensors"] == engine.details["tensors"]


def test_all_that_stands_in_the_way_is_said_at_once(graph, store):
    text = "(float[1,3,8,8] x, float[4,3,3,3] w, float[3] s) => (y) { a = Conv(x, w) b = Det(x) c, i = MaxPool<kernel_shape=[9,8], pads=[4,3,3,3]>(x)"
    text += " y = BatchNormalization(c, s, s, s, s) }"

    found = BACKEND.refusals(store(graph(text)), target())

    assert [refusal.line() for refusal in found] == [
        "Conv_0 (Conv 1x3x8x8, 4x3x3x3 -> 1x4x6x6): its weights are computed; make them a constant, or use another runtime",
        "Det_1 (Det 1x3x8x8 -> 1x3): TFLite has no operator for it that this backend knows;"
        " replace that layer, or build for another runtime, such as onnxruntime",
        "MaxPool_2 (MaxPool 1x3x8x8 -> 1x3x7x7, 1x3x7x7): it says which of 72 values is the greatest,"
        " and TFLite has no operator for that; use a smaller window, or no indices",
        "BatchNormalization_3 (BatchNormalization 1x3x7x7, 3, 3, 3, 3 -> 1x3x7x7):"
        " its scale, bias, mean or variance is computed; make them constants",
    ]


def test_a_quantized_graph_is_judged_by_the_same_rules(graph, store, quantize):
    proto = quantize(graph("(float[1,3,8,8] x) => (y) { c = Conv(x, w) y = Det(c) }", w=normal(4, 3, 3, 3)))

    (refusal,) = BACKEND.refusals(store(proto), target())

    assert (refusal.node, refusal.op, refusal.reason) == ("Det_1", "Det", "TFLite has no operator for it that this backend knows")


def test_what_was_refused_is_not_compiled(graph, build):
    with pytest.raises(UnsupportedError, match="Det_0") as caught:
        build(graph("(float[1,3,8,8] x) => (y) { y = Det(x) }"))

    assert caught.value.exit_status == 6
    assert len(caught.value.refusals) == 1


def test_sizes_left_open_are_refused_by_the_name_of_the_input(store):
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> net (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) z = Det(y) }'
    )

    assert [refusal.line() for refusal in BACKEND.refusals(store(proto), target())] == [
        "z (Det Nx3x8x8 -> Nx3): TFLite has no operator for it that this backend knows;"
        " replace that layer, or build for another runtime, such as onnxruntime",
        "x (input Nx3x8x8): its size is left open; fix it with --shape",
    ]


def test_numbers_that_are_not_float32_are_refused(graph, store):
    proto = graph("(uint64[4] x) => (y) { y = Add(x, x) }")

    (refusal,) = BACKEND.refusals(store(proto), target())

    assert refusal.reason == "x is uint64, only float32, int32, int64 and what is quantized is computed here"


def test_operators_of_other_domains_are_refused(store):
    node = onnx.helper.make_node("Fancy", ["x"], ["y"], name="f", domain="com.example")
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "xy"]
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.example", 1)]
    proto = onnx.helper.make_model(onnx.helper.make_graph([node], "net", ports[:1], ports[1:]), opset_imports=opsets, ir_version=10)

    (refusal,) = BACKEND.refusals(store(proto), target())

    assert refusal.op == "com.example.Fancy"


def test_refusals_write_nothing_and_need_no_litert(graph, store, monkeypatch):
    model = store(graph("(float[1,3,8,8] x) => (y) { y = Relu(x) }"))
    before = sorted(model.folder.iterdir())
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ai_edge_litert", "flatbuffers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)

    assert BACKEND.refusals(model, target()) == ()
    assert sorted(model.folder.iterdir()) == before


def test_a_damaged_model_is_a_source_error(graph, store):
    model = store(graph("(float[1,3,8,8] x) => (y) { y = Conv(x, w) }", w=normal(4, 3, 3, 3)))
    model.path.write_bytes(model.path.read_bytes()[:100])

    with pytest.raises(SourceError, match="no ONNX model can be read from it"):
        BACKEND.refusals(model, target())


def test_unknown_options_are_answered_with_the_nearest(graph, store):
    model = store(graph("(float[1,3,8,8] x) => (y) { y = Relu(x) }"))
    with pytest.raises(UsageError, match=r"board: options of tflite: io_type: no such key; did you mean io_dtype\?"):
        BACKEND.refusals(model, target(io_type="int8"))
    with pytest.raises(UsageError, match="io_layout"):
        BACKEND.refusals(model, target(io_layout="channels"))


def test_options_are_read_from_plain_data():
    assert convert({"io_dtype": "uint8"}, TfliteOptions, where="here") == TfliteOptions(io_dtype="uint8", io_layout="nhwc")


def test_tools_name_what_decides_the_bytes():
    assert {"ai-edge-litert", "onnx"} <= set(BACKEND.tools())


def test_shapes_that_the_file_does_not_state_are_inferred(build, graph):
    proto = graph("(float[1,3,8,8] x) => (y) { c = Conv(x, w) r = Relu(c) y = Flatten(r) }", w=normal(4, 3, 3, 3))
    del proto.graph.value_info[:]

    assert build(proto).engine.outputs[0].shape == (1, 144)


def test_several_inputs_and_outputs_keep_their_order(graph, assert_same):
    text = "(float[1,4] b, float[1,4] a) => (q, p) { p = Add(a, b) q = Sub(b, a) }"

    built = assert_same(graph(text))

    assert [port.name for port in built.engine.inputs] == ["b", "a"]
    assert [port.name for port in built.engine.outputs] == ["q", "p"]


def test_an_output_may_be_read_inside_too(graph, assert_same):
    assert_same(graph("(float[1,3,8,8] x) => (y, z) { y = Conv(x, w) z = Relu(y) }", w=normal(4, 3, 3, 3)))


def test_an_output_may_be_a_tensor_under_another_name(graph, assert_same):
    built = assert_same(graph("(float[1,3,8,8] x) => (y) { c = Conv(x, w) y = Identity(c) }", w=normal(4, 3, 3, 3)))

    assert built.operators == {"CONV_2D": 1}


def test_a_model_with_its_weights_beside_it(graph, tmp_path):
    proto = graph("(float[1,3,8,8] x) => (y) { y = Conv(x, w) }", w=normal(64, 3, 3, 3))
    onnx.save(proto, tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    signature = Signature((Tensor("x", "float32", (1, 3, 8, 8), "nchw"),), (Tensor("y", "float32", (1, 64, 6, 6)),))
    out = tmp_path / "out"
    out.mkdir()

    engine = BACKEND.compile(seal_model(tmp_path, signature, ()), target(), None, out)

    assert engine.bytes > 64 * 27 * 4

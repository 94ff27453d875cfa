import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgekit.engine.contract import read_engine
from edgekit.engine.onnxruntime import OnnxRuntimeBackend
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import file_sha256

RNG = np.random.default_rng(0)
BACKEND = OnnxRuntimeBackend()
CONV = "net (float[1,3,8,8] images) => (float[1,4,8,8] logits) { c = Conv<pads=[1,1,1,1]>(images, w)  logits = Relu(c) }"


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture
def compile_for(tmp_path):
    def make(model, target):
        out = tmp_path / "engine"
        out.mkdir()
        return BACKEND.compile(model, target, None, out), out

    return make


def test_an_engine_is_the_onnx_file_with_its_record(model_of, target_of, compile_for, run):
    model = model_of(CONV, w=normal(4, 3, 3, 3))
    engine, out = compile_for(model, target_of())
    images = normal(1, 3, 8, 8)

    assert engine == read_engine(out)
    assert (engine.runtime, engine.target, engine.status, engine.precision) == ("onnxruntime", "bench", "built", "float32")
    assert engine.sha256 == file_sha256(out / engine.file)
    assert engine.bytes == (out / engine.file).stat().st_size
    assert [(port.name, port.dtype, port.shape, port.layout) for port in engine.inputs] == [("images", "float32", (1, 3, 8, 8), "nchw")]
    assert [(port.name, port.dtype, port.shape) for port in engine.outputs] == [("logits", "float32", (1, 4, 8, 8))]
    np.testing.assert_array_equal(run(out / engine.file, images=images)[0], run(model.path, images=images)[0])


def test_convolutions_left_in_float_are_counted(model_of, target_of, compile_for):
    engine, _ = compile_for(model_of(CONV, w=normal(4, 3, 3, 3)), target_of())

    assert engine.details["float_nodes"] == 1
    assert engine.details["integer_nodes"] == 0


def test_unsigned_activations_become_integer_kernels_on_x86(quantized_conv, target_of, compile_for):
    engine, _ = compile_for(quantized_conv("uint8"), target_of())

    assert engine.precision == "int8"
    assert engine.details["integer_nodes"] == 1
    assert engine.details["float_nodes"] == 0
    assert engine.details["operators"]["QLinearConv"] == 1


def test_signed_activations_are_judged_by_the_rules_of_the_targets_processor(quantized_conv, target_of, compile_for):
    engine, _ = compile_for(quantized_conv("int8"), target_of(arch="aarch64"))

    assert engine.details["integer_nodes"] == 1
    assert engine.details["optimized_by"].endswith("by the rules of aarch64")
    assert engine.options == {}


def test_a_signed_matmul_with_a_bias_asks_for_the_rule_of_arm_without_which_it_does_not_open_on_x86(model_of, target_of, compile_for, run):
    text = """net (float[1,3,8] x) => (float[1,3,4] y) {
        xq = QuantizeLinear(x, s, z)  xd = DequantizeLinear(xq, s, z)  wd = DequantizeLinear(wq, s)  bd = DequantizeLinear(bq, s)
        m = MatMul(xd, wd)  a = Add(m, bd)  yq = QuantizeLinear(a, s, z)  y = DequantizeLinear(yq, s, z)
    }"""
    weights = {"wq": RNG.integers(-127, 128, (8, 4)).astype(np.int8), "bq": np.arange(4, dtype=np.int32)}
    model = model_of(text, **weights, s=np.float32(0.02), z=np.int8(0))
    engine, out = compile_for(model, target_of(arch="aarch64"))
    x = RNG.integers(-100, 100, (1, 3, 8))
    sums = x @ weights["wq"] * 0.0004 + weights["bq"] * 0.02
    found = run(out / engine.file, config=engine.options["session_config"], x=(x * 0.02).astype(np.float32))[0]

    assert engine.options == {"session_config": {"session.qdqisint8allowed": "1"}}
    np.testing.assert_allclose(found, np.clip(sums, -2.56, 2.54), atol=0.0101)


def test_float16_is_told_from_its_weights(model_of, target_of, compile_for):
    text = """net (float[1,8] x) => (float[1,2] y) { h = Cast<to=10>(x)  m = MatMul(h, w)  y = Cast<to=1>(m) }"""
    engine, _ = compile_for(model_of(text, w=normal(8, 2).astype(np.float16)), target_of())

    assert engine.precision == "float16"


def test_options_reach_the_session_and_unknown_ones_are_refused(model_of, target_of, compile_for, tmp_path):
    model = model_of(CONV, w=normal(4, 3, 3, 3))
    engine, _ = compile_for(model, target_of(allow_spinning=False, graph_optimization="extended"))

    assert engine.options == {"graph_optimization": "extended", "session_config": {"session.intra_op.allow_spinning": "0"}}
    with pytest.raises(UsageError, match=r"bench: onnxruntime\.options: allow_spining: no such key; did you mean allow_spinning"):
        BACKEND.compile(model, target_of(allow_spining=False), None, tmp_path)


@pytest.mark.parametrize(("kind", "zero_points"), [("uint8", (128, 0)), ("int8", (0, -128))])
def test_integer_ports_are_what_the_graph_stores(kind, zero_points, quantized_conv, target_of, compile_for, run):
    model = quantized_conv(kind)
    engine, out = compile_for(model, target_of(io_dtype=kind))
    (taken,), (given,) = engine.inputs, engine.outputs
    integers = RNG.integers(-100, 28, (1, 3, 8, 8))
    stored = (integers + zero_points[0]).astype(kind)
    found = run(out / engine.file, images=stored)[0]
    expected = run(model.path, images=(integers * 0.02).astype(np.float32))[0]

    assert (taken.dtype, taken.scale, taken.zero_point) == (kind, float(np.float32(0.02)), zero_points[0])
    assert (given.dtype, given.scale, given.zero_point) == (kind, float(np.float32(0.05)), zero_points[1])
    assert found.dtype == kind
    np.testing.assert_allclose((found.astype(np.float32) - given.zero_point) * given.scale, expected, atol=1e-5)


def test_integer_ports_that_the_graph_does_not_have_are_refused(model_of, quantized_conv, target_of, tmp_path):
    with pytest.raises(UsageError, match="does not store images so"):
        BACKEND.compile(quantized_conv("uint8"), target_of(io_dtype="int8"), None, tmp_path)


def test_float_graphs_have_no_integer_ports(model_of, target_of, tmp_path):
    with pytest.raises(UsageError, match="does not store images so"):
        BACKEND.compile(model_of(CONV, w=normal(4, 3, 3, 3)), target_of(io_dtype="uint8"), None, tmp_path)


def test_images_are_taken_channels_last_if_asked(model_of, target_of, compile_for, run):
    model = model_of(CONV, w=normal(4, 3, 3, 3))
    engine, out = compile_for(model, target_of(io_layout="nhwc"))
    images = normal(1, 3, 8, 8)

    assert (engine.inputs[0].shape, engine.inputs[0].layout) == ((1, 8, 8, 3), "nhwc")
    found = run(out / engine.file, images=np.ascontiguousarray(images.transpose(0, 2, 3, 1)))[0]
    np.testing.assert_allclose(found, run(model.path, images=images)[0], rtol=1e-5, atol=1e-5)


def test_a_graph_newer_than_the_runtime_is_written_in_an_older_opset(quantized_conv, target_of, compile_for, run):
    model = quantized_conv("uint8")
    engine, out = compile_for(model, target_of(max_opset=20))
    images = normal(1, 3, 8, 8)

    assert onnx.load(out / engine.file).opset_import[0].version == 20
    np.testing.assert_array_equal(run(out / engine.file, images=images)[0], run(model.path, images=images)[0])


def test_an_operator_newer_than_the_runtimes_opset_is_refused(model_of, target_of):
    model = model_of("net (float[1,4] x) => (float[1,4] y) { y = Gelu(x) }")
    (refusal,) = BACKEND.refusals(model, target_of(max_opset=17))

    assert "opset 17" in refusal.reason
    assert "Gelu" in refusal.reason


def test_every_node_without_a_kernel_is_named_with_its_types(model_of, target_of, tmp_path):
    text = """net (float[1,4] x) => (bfloat16[1,4] y, bfloat16[1,4] z) {
        a = Cast<to=16>(x)  y = Erf(a)  b = Cast<to=16>(x)  z = Selu(b)
    }"""
    model = model_of(text)
    refusals = BACKEND.refusals(model, target_of())

    assert [(one.op, one.shapes) for one in refusals] == [("Erf", "bfloat16[1,4] -> bfloat16[1,4]"), ("Selu", "bfloat16[1,4] -> bfloat16[1,4]")]
    assert "Could not find an implementation for Erf" in refusals[0].reason
    assert "bfloat16" in refusals[1].reason
    assert all("on the CPU" in one.remedy for one in refusals)
    with pytest.raises(UnsupportedError) as caught:
        BACKEND.compile(model, target_of(), None, tmp_path)
    assert len(caught.value.refusals) == 2


def test_what_onnx_runtime_runs_is_not_refused(quantized_conv, target_of):
    assert BACKEND.refusals(quantized_conv("uint8"), target_of()) == ()


def test_the_same_model_gives_the_same_engine(quantized_conv, target_of, tmp_path):
    model, folders = quantized_conv("uint8"), [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        BACKEND.compile(model, target_of(), None, folder)

    assert sorted(path.name for path in folders[0].iterdir()) == ["engine.json", "model.onnx"]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in ("engine.json", "model.onnx"))


@pytest.mark.parametrize("module", ["edgekit.engine.onnxruntime", "edgekit.passes.quantize"])
def test_a_plugin_is_imported_without_anything_heavy(module):
    heavy = "{'numpy', 'onnx', 'onnxruntime', 'torch', 'tensorflow', 'PIL'}"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"], check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == "[]"


def test_zeros_before_a_maximum_count(model_of, target_of, compile_for, run):
    text = "net (float[1,1,4,4] x) => (float[1,1,2,2] y) { a = Sub(x, t)  b = Pad(a, p)  y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(b) }"
    model = model_of(text, t=np.float32(3), p=np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    key = "optimization.disable_specified_optimizers"
    engine, out = compile_for(model, target_of(session_config={key: "GeluFusion"}))
    found = run(out / engine.file, config=engine.options["session_config"], x=np.zeros((1, 1, 4, 4), np.float32))[0]

    assert engine.options == {"session_config": {key: "GeluFusion;Pad_Fusion"}}
    assert engine.details["operators"] == {"MaxPool": 1, "Pad": 1, "Sub": 1}
    np.testing.assert_array_equal(found, [[[[0, 0], [0, -3]]]])


BETWEEN_INTEGERS = """net (float[1,3,8,8] x) => (float[1,4,8,8] y) {
    xq = QuantizeLinear(x, s, z)  xd = DequantizeLinear(xq, s, z)
    a = Conv(xd, w)
    aq = QuantizeLinear(a, t, z)  ad = DequantizeLinear(aq, t, z)
    vd = DequantizeLinear(vq, u)
    b = Conv(ad, vd)
    yq = QuantizeLinear(b, t, z)  y = DequantizeLinear(yq, t, z)
}"""


def test_the_weights_of_a_convolution_kept_in_float_between_integers_are_not_rounded(model_of, target_of, compile_for, run):
    draw = np.random.default_rng(3)
    w = draw.normal(size=(4, 3, 1, 1)).astype(np.float32)
    w[0] = 1000.0  # with one scale for all weights, as ONNX Runtime would have it, nothing of the others is left
    numbers = {"s": np.float32(0.02), "t": np.float32(0.02), "u": np.float32(0.01), "z": np.uint8(128)}
    model = model_of(BETWEEN_INTEGERS, w=w, vq=draw.integers(-127, 128, (4, 4, 1, 1)).astype(np.int8), **numbers)
    engine, out = compile_for(model, target_of())
    x = draw.normal(size=(1, 3, 8, 8)).astype(np.float32)
    wanted = ReferenceEvaluator(onnx.load(model.path)).run(None, {"x": x})[0]

    assert "WeightBiasQuantization" in engine.options["session_config"]["optimization.disable_specified_optimizers"].split(";")
    assert (engine.details["float_nodes"], engine.details["integer_nodes"]) == (1, 1)
    np.testing.assert_allclose(run(out / engine.file, config=engine.options["session_config"], x=x)[0], wanted, atol=0.0201)
    assert np.abs(run(out / engine.file, x=x)[0] - wanted).max() > 0.5

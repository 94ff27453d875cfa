"""int8 activations for x86: the same numbers in uint8, and every graph opens."""

import numpy as np
import onnx
import pytest

from edgekit.engine.onnxruntime import OnnxRuntimeBackend

RNG = np.random.default_rng(2)


def held(path):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.fixture
def compiled(tmp_path):
    def make(model, target):
        out = tmp_path / "engine"
        out.mkdir()
        engine = OnnxRuntimeBackend().compile(model, target, None, out)
        return engine, out / engine.file

    return make


def test_zero_points_move_by_128_on_x86_and_weights_stay(quantized_conv, target_of, compiled, run):
    model = quantized_conv("int8")
    engine, path = compiled(model, target_of())
    images = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)

    zero_points = {held(path)[node.input[2]].item() for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"}
    assert zero_points == {0 + 128, -128 + 128}
    np.testing.assert_array_equal(held(path)["wq"], held(model.path)["wq"])
    assert (engine.details["integer_nodes"], engine.details["float_nodes"]) == (1, 0)
    np.testing.assert_allclose(run(path, images=images)[0], run(model.path, images=images)[0], atol=0.0501)


def test_on_arm_they_stay_int8(quantized_conv, target_of, compiled):
    _, path = compiled(quantized_conv("int8"), target_of(arch="aarch64"))

    assert {held(path)[node.input[2]].dtype.name for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"} == {"int8"}


def test_a_constant_that_is_added_follows(model_of, target_of, compiled, run):
    text = """net (float[1,4] x) => (float[1,4] y) { xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
        cd = DequantizeLinear(c, s, z) a = Add(xd, cd) aq = QuantizeLinear(a, s, z) y = DequantizeLinear(aq, s, z) }"""
    model = model_of(text, s=np.float32(0.1), z=np.int8(-3), c=np.int8([-100, 0, 7, 127]))
    engine, path = compiled(model, target_of())

    assert engine.details["operators"]["QLinearAdd"] == 1
    # 2.0 is 20 steps above zero, the constants are -97, 3, 10 and 130 steps above it; 130 more than int8 holds above -3.
    np.testing.assert_allclose(run(path, x=np.full((1, 4), 2, np.float32))[0], [[-7.7, 2.3, 3.0, 13.0]], atol=1e-5)


def test_int8_at_a_port_stays(model_of, target_of, compiled):
    text = """net (int8[1,4] x) => (int8[1,4] y) { xd = DequantizeLinear(x, s, z) a = Relu(xd) y = QuantizeLinear(a, s, z) }"""
    _, path = compiled(model_of(text, s=np.float32(0.1), z=np.int8(-3)), target_of())

    assert {array.dtype.name for name, array in held(path).items() if name.startswith("z")} == {"int8"}


@pytest.mark.parametrize("moves", ["t = Transpose<perm=[0,2,1]>(xd)", "r = Reshape(xd, shape) t = Transpose<perm=[0,2,1]>(r)"])
def test_int8_that_is_moved_before_a_product_opens(moves, model_of, target_of, compiled, run):
    text = f"""net (float[1,8,3] x) => (float[1,3,4] y) {{ xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z) {moves}
        wd = DequantizeLinear(w, s) m = MatMul(t, wd) y = Add(m, b) }}"""
    weights = {"w": RNG.integers(-127, 128, (8, 4)).astype(np.int8), "b": np.float32([1, 2, 3, 4]), "shape": np.array([1, 8, 3])}
    engine, path = compiled(model_of(text, s=np.float32(0.02), z=np.int8(0), **weights), target_of())
    steps = RNG.integers(-100, 100, (1, 8, 3))

    found = run(path, config=engine.options.get("session_config"), x=(steps * 0.02).astype(np.float32))[0]

    np.testing.assert_allclose(found, steps.transpose(0, 2, 1) @ weights["w"] * 0.0004 + weights["b"], rtol=1e-4, atol=1e-4)
    assert (engine.details["integer_nodes"], engine.details["float_nodes"]) == (1, 0)


SYMMETRIC = """net (float[1,3,8,8] x) => (float[1,4,6,6] y) {{ xq = QuantizeLinear(x, sx, z) xd = DequantizeLinear(xq, sx, z)
    wd = DequantizeLinear(w, sw) c = Conv(xd, wd, b) r = {clamp} q = QuantizeLinear(r, sy, {zero}) y = DequantizeLinear(q, sy, {zero}) }}"""


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize("clamp", ["Relu(c)", "Clip(c, low, high)", "Clip(c, low)"])
def test_a_clamp_that_symmetric_int8_does_not_imply_costs_no_integer_kernel(clamp, arch, model_of, target_of, compiled, run):
    numbers = {
        "sx": np.float32(0.02), "sy": np.float32(0.047), "sw": np.float32(0.01), "z": np.int8(0), "low": np.float32(0), "high": np.float32(5),
        "w": RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), "b": np.float32([0.5, -0.5, 0, 1]),
    }  # fmt: skip
    model = model_of(SYMMETRIC.format(clamp=clamp, zero="z"), **numbers)
    engine, path = compiled(model, target_of(arch=arch))
    x = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)

    assert (engine.details["integer_nodes"], engine.details["float_nodes"]) == (1, 0)
    np.testing.assert_allclose(run(path, x=x)[0], run(model.path, x=x)[0], atol=0.0471)


@pytest.mark.parametrize(("clamp", "zero"), [("Relu(c)", "least"), ("Clip(c, low, high)", "least")])
def test_a_clamp_that_rounding_implies_is_left_to_onnx_runtime(clamp, zero, model_of, target_of, compiled):
    numbers = {
        "sx": np.float32(0.02), "sy": np.float32(0.01), "sw": np.float32(0.01), "z": np.int8(0), "least": np.int8(-128), "low": np.float32(0),
        "high": np.float32(5), "w": RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), "b": np.float32([0.5, -0.5, 0, 1]),
    }  # fmt: skip
    engine, path = compiled(model_of(SYMMETRIC.format(clamp=clamp, zero=zero), **numbers), target_of())

    assert [node.op_type for node in onnx.load(path).graph.node].count("QuantizeLinear") == 2
    assert engine.details["integer_nodes"] == 1

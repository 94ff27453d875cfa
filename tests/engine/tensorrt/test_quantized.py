"""What the quantizer makes by the scheme of a TensorRT target, TensorRT takes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.engine.tensorrt import TensorrtBackend
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.samples import read_samples

NET = """net (float[1,3,16,16] x) => (float[1,5] y) {
  a = Conv<pads = [1,1,1,1]>(x, w1, b1)  r = Relu(a)  p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(r)
  c = Conv<pads = [1,1,1,1]>(p, w2, b2)  s = Add(c, p)  t = Relu(s)
  g = GlobalAveragePool(t)  f = Flatten(g)  y = Gemm(f, w3, b3) }"""
SHAPES = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,), "w3": (8, 5), "b3": (5,)}


@pytest.fixture
def quantized(model, target, tmp_path: Path):
    def make(name: str, mode: str):
        random = np.random.default_rng(0)
        weights = tuple(onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), word) for word, shape in SHAPES.items())
        samples = tmp_path / "samples"
        samples.mkdir(exist_ok=True)
        for index in range(3):
            np.savez(samples / f"{index}.npz", x=random.standard_normal((1, 3, 16, 16)).astype(np.float32))
        out = tmp_path / f"{name}-{mode}"
        out.mkdir()
        scheme = target(name).runtime("tensorrt").scheme
        return Quantize(mode=mode)(model(NET, weights), Supplies(samples=read_samples(samples), scheme=scheme), out)

    return make


@pytest.mark.parametrize("name", ["jetson-xavier-nx-jp51", "jetson-orin-nano-jp62", "jetson-agx-thor-jp72", "nvidia-rtx-ada"])
@pytest.mark.parametrize(("mode", "precision"), [("static", "int8"), ("float16", "float16")])
def test_it_is_packaged_for_every_release(quantized, target, tmp_path, name, mode, precision):
    out = tmp_path / "out"
    out.mkdir()
    made = quantized(name, mode)

    assert TensorrtBackend().refusals(made, target(name)) == ()
    assert TensorrtBackend().compile(made, target(name), None, out).precision == precision


def test_it_has_symmetric_int8_float_biases_and_no_scale_between_a_convolution_and_its_residual_add(quantized):
    graph = onnx.load(quantized("jetson-orin-nano-jp62", "static").path).graph
    dtypes = {tensor.name: tensor.data_type for tensor in graph.initializer}
    zero_points = [node.input[2] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    makers = {name: node.op_type for node in graph.node for name in node.output}
    (add,) = [node for node in graph.node if node.op_type == "Add"]

    assert {dtypes[name] for name in zero_points} == {onnx.TensorProto.INT8}
    assert all(dtypes[node.input[2]] == onnx.TensorProto.FLOAT for node in graph.node if node.op_type == "Conv")
    assert sorted(makers[name] for name in add.input) == ["Conv", "DequantizeLinear"]


@pytest.mark.parametrize("mode", ["static", "float16", "bfloat16"])
def test_nvidias_own_compiler_builds_it(quantized, target, tmp_path, mode, rtx_python):
    out = tmp_path / "out"
    out.mkdir()
    TensorrtBackend().compile(quantized("nvidia-rtx-ampere", mode), target("nvidia-rtx-ampere"), None, out)
    argv = [rtx_python, str(out / "build_engine.py"), "--module", "tensorrt_rtx", "--anyway", "--no-timing-cache", "--no-open"]

    ran = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    complaints = json.loads((out / "build-result.json").read_text(encoding="utf-8"))["complaints"]
    # with a float16 rest, scales are float16 in the graph: TensorRT-RTX says so, and computes with them in float32
    assert [one for one in complaints if "scales to fp32" not in one] == []

"""Each operator that a target lists for dynamic products or integer weights is: quantized by its scheme, built, looked at in its runtime."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.engine.contract import Engine
from edgekit.engine.onnxruntime import OnnxRuntimeBackend
from edgekit.engine.tflite import TfliteBackend
from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import Model, seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.recipe import recipe_files
from edgekit.target import read_target

TARGETS = Path(__file__).resolve().parents[2] / "targets"
BASES = ("x86-64", "aarch64")
NETS = {
    "Conv": ("(float[1,8,6,6] x) => (float[1,5,6,6] y) { y = Conv(x, w, b) }", (5, 8, 1, 1)),
    "ConvTranspose": ("(float[1,8,6,6] x) => (float[1,5,6,6] y) { y = ConvTranspose(x, w, b) }", (8, 5, 1, 1)),
    "Gemm": ("(float[2,48] x) => (float[2,5] y) { y = Gemm(x, w, b) }", (48, 5)),
    "MatMul": ("(float[2,48] x) => (float[2,5] y) { m = MatMul(x, w) y = Add(m, b) }", (48, 5)),
}


def listed(field: str, runtime: str) -> list[tuple[str, str]]:
    return [(name, op) for name in BASES for op in getattr(read_target(TARGETS / f"{name}.toml").runtime(runtime).scheme, field)]


@pytest.fixture
def engine(tmp_path: Path):
    """The engine of a net of one operator, quantized for a target's runtime."""

    def make(op: str, name: str, runtime: str, **options) -> Engine:
        text, shape = NETS[op]
        proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> net ' + text)
        random = np.random.default_rng(1)
        for word, size in {"w": shape, "b": (5,)}.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(random.standard_normal(size).astype(np.float32), word))
        folders = [tmp_path / word for word in ("float", "quantized", "engine")]
        for folder in folders:
            folder.mkdir()
        onnx_file.name_nodes(proto.graph)
        onnx_file.save(onnx_file.infer_shapes(proto), folders[0])
        model = seal_model(folders[0], signature_of(onnx_file.load(folders[0] / "model.onnx")), ())
        target = read_target(TARGETS / f"{name}.toml")
        quantized: Model = Quantize(**options)(model, Supplies(scheme=target.runtime(runtime).scheme), folders[1])
        backend = OnnxRuntimeBackend() if runtime == "onnxruntime" else TfliteBackend()
        assert backend.refusals(quantized, target) == ()
        return backend.compile(quantized, target, None, folders[2])

    return make


@pytest.mark.parametrize(("name", "op"), listed("dynamic_ops", "onnxruntime"))
def test_onnxruntime_computes_dynamic_products_in_integers(name, op, engine, tmp_path):
    built = engine(op, name, "onnxruntime", mode="dynamic")

    assert built.precision == "dynamic int8"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "engine" / built.file, options, providers=["CPUExecutionProvider"])
    assert Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node) == {"DynamicQuantizeMatMul": 1}


@pytest.mark.parametrize(("name", "op"), listed("dynamic_ops", "tflite"))
def test_litert_computes_dynamic_products_in_one_operator(name, op, engine):
    built = engine(op, name, "tflite", mode="dynamic")

    assert built.precision == "dynamic int8"
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(built.details["operators"])


@pytest.mark.parametrize(("runtime", "bits"), list(itertools.product(("onnxruntime", "tflite"), (8, 4, 2))))
@pytest.mark.parametrize(("name", "op"), list(itertools.product(BASES, NETS)))
def test_weights_alone_have_the_bits_that_the_target_lists(name, op, runtime, bits, engine):
    scheme = read_target(TARGETS / f"{name}.toml").runtime(runtime).scheme
    assert op in scheme.weight_only_ops

    built = engine(op, name, runtime, mode="weight_only", weight_bits=bits, block=16 if scheme.blocked_ops and bits < 8 else 0)

    assert built.precision == f"int{bits if op in scheme.low_bit_ops else 8} weights"


@pytest.mark.parametrize("recipe", [name for name in recipe_files() if name.endswith("_afp32")])
@pytest.mark.parametrize("name", BASES)
def test_targets_say_how_fast_a_recipe_without_samples_was(name, recipe):
    target = read_target(TARGETS / f"{name}.toml")

    for runtime in target.runtimes:
        assert recipe in runtime.remarks
        assert target.sources[f"{runtime.name}.remarks"]

"""A detector that ends in NonMaxSuppression, built as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import edgekit
from edgekit.engine.contract import read_engine
from edgekit.errors import UnsupportedError

NET = """net (float[1,3,24,24] x) => (float[n,5] y)
  <int64[3] flat={1,5,144}, int64[2] parts={4,1}, int64[1] k={20}, float[1] t={0.5}, float[1] s={0.5}, int64[2] which={0,2}> {
  a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w1)  r = Relu(a)  c = Conv(r, w2)  f = Reshape(c, flat)  h = Transpose<perm=[0,2,1]>(f)
  b, l = Split<axis=2>(h, parts)  g = Sigmoid(l)  p = Transpose<perm=[0,2,1]>(g)
  i = NonMaxSuppression<center_point_box=1>(b, p, k, t, s)
  j = Gather<axis=1>(i, which)  rows = GatherND(b, j)  q = GatherND(g, j)  y = Concat<axis=1>(rows, q) }"""


@pytest.fixture
def detector(tmp_path) -> Path:
    random = np.random.default_rng(0)
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {NET}')
    for word, shape in {"w1": (8, 3, 3, 3), "w2": (5, 8, 1, 1)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array((0.3 * random.standard_normal(shape)).astype(np.float32), word))
    onnx.save(proto, tmp_path / "detector.onnx")
    return tmp_path / "detector.onnx"


def test_the_engine_gives_as_many_rows_as_onnx_runtime(detector, store, tmp_path):
    edgekit.build(detector, target="rpi5:tflite", recipe="float", out=tmp_path / "out", bench=False, store=store)
    from ai_edge_litert.interpreter import Interpreter

    folder = tmp_path / "out" / "engines" / "raspberry-pi-5-tflite"
    assert read_engine(folder).outputs[0].shape == ("?", 5)
    runner = Interpreter(str(folder / "model.tflite")).get_signature_runner("serving_default")
    session = onnxruntime.InferenceSession(detector)
    counts = set()
    for seed in range(3):
        x = np.random.default_rng(seed).normal(0, 1 + 3 * seed, (1, 3, 24, 24)).astype(np.float32)
        (wanted,) = session.run(None, {"x": x})
        found = runner(x=x.transpose(0, 2, 3, 1))["y"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        counts.add(len(wanted))
    assert counts <= set(range(1, 21))


def test_quantization_is_refused_too_where_the_same_graph_was_built_without_it(detector, arrays, store, tmp_path):
    edgekit.build(detector, target="rpi5:tflite", recipe="fp16", out=tmp_path / "out", bench=False, store=store)

    with pytest.raises(UnsupportedError):
        edgekit.build(detector, target="rpi5:tflite", samples=arrays("x", (3, 24, 24)), out=tmp_path / "out", bench=False, store=store)


def test_quantization_that_nothing_can_judge_is_refused_before_it_calibrates(detector, arrays, store, tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        edgekit.build(detector, target="rpi5:tflite", samples=arrays("x", (3, 24, 24)), out=tmp_path / "out", bench=False, store=store)

    (refusal,) = caught.value.refusals
    assert refusal.startswith("y: how large this output is depends on the numbers")
    assert "dynamic_wi8_afp32" in refusal
    assert not (tmp_path / "out" / "report.json").exists()

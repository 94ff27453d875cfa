"""A model that ONNX Runtime's own quantizer quantized, built as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import edgekit
from edgekit.errors import UnsupportedError

NET = """net (float[1,3,16,16] x) => (float[1,5] y) {
  a = Conv<pads=[1,1,1,1]>(x, w1, b1)  r = Relu(a)  c = Conv<pads=[1,1,1,1], group=8>(r, w2, b2)  s = Add(c, r)
  g = GlobalAveragePool(s)  f = Flatten(g)  y = Gemm(f, w3, b3) }"""
SHAPES = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "b2": (8,), "w3": (8, 5), "b3": (5,)}
FEEDS = [np.random.default_rng(index).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32) for index in range(20)]


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self._feeds = iter(FEEDS)

    def get_next(self):
        values = next(self._feeds, None)
        return None if values is None else {"x": values}


@pytest.fixture
def quantized(tmp_path):
    """``quantized(format, activations)``: a file as ``quantize_static`` leaves it."""

    def make(form: QuantFormat, kind: QuantType, **extra) -> Path:
        random = np.random.default_rng(0)
        proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {NET}')
        for word, shape in SHAPES.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array((0.3 * random.standard_normal(shape)).astype(np.float32), word))
        onnx.save(proto, tmp_path / "float.onnx")
        path = tmp_path / "quantized.onnx"
        options = {"quant_format": form, "activation_type": kind, "weight_type": QuantType.QInt8, "per_channel": True, "extra_options": extra}
        quantize_static(tmp_path / "float.onnx", path, Reader(), **options)
        return path

    return make


def outputs(path, options=None):
    session = onnxruntime.SessionOptions()
    session.log_severity_level = 3
    for key, value in (options or {}).get("session_config", {}).items():
        session.add_session_config_entry(key, value)
    opened = onnxruntime.InferenceSession(str(path), session, providers=["CPUExecutionProvider"])
    return np.concatenate([opened.run(None, {"x": feed})[0] for feed in FEEDS])


def step(path):
    proto = onnx.load(path)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return float(held[next(node for node in proto.graph.node if "y" in node.output).input[1]])


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8])
def test_it_becomes_engines_that_give_what_it_gives_without_any_samples(form, kind, quantized, store, tmp_path):
    source = quantized(form, kind)
    report = edgekit.build(source, target=["x86", "rpi5"], out=tmp_path / "out", bench=False, store=store)

    assert [engine.precision for engine in report.engines] == ["int8", "int8"]
    x86, rpi5 = report.engines
    assert (x86.details["integer_nodes"], x86.details["float_nodes"]) == (3, 0)
    assert rpi5.details["float_operators"] == {}
    scale = step(source)
    assert np.abs(outputs(tmp_path / "out" / x86.path) - outputs(source)).max() <= 1.01 * scale
    assert np.abs(_litert(tmp_path / "out" / rpi5.path) - outputs(source)).max() <= 2.01 * scale


def _litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    runner = interpreter.get_signature_runner("serving_default")
    return np.concatenate([runner(x=feed.transpose(0, 2, 3, 1))["y"] for feed in FEEDS])


def test_the_report_says_that_it_came_quantized_and_fidelity_is_to_what_was_given(quantized, arrays, store, tmp_path):
    source = quantized(QuantFormat.QDQ, QuantType.QUInt8)
    report = edgekit.build(source, target="x86", samples=arrays("x", (3, 16, 16)), out=tmp_path / "out", bench=False, store=store)

    (said,) = [remark for remark in report.remarks if "came quantized" in remark]
    assert "3 of 3 convolutions and matrix products read integers on both sides" in said
    (quantize,) = [entry for entry in report.steps if entry.name == "quantize"]
    assert quantize.did["already_quantized"]["kind"] == "static"
    assert report.engines[0].fidelity.sqnr_db is None  # nothing differs
    assert report.references[0].precision == "int8"
    assert report.summary_rows()[0][0] == "model as given"


def test_jetson_refuses_activations_that_are_not_symmetric_and_takes_symmetric_ones(quantized, store, tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        edgekit.build(quantized(QuantFormat.QDQ, QuantType.QInt8), target="jetson", out=tmp_path / "out", bench=False, store=store)
    assert "TensorRT takes 0; quantize the float model for this target" in caught.value.refusals[0]

    symmetric = quantized(QuantFormat.QDQ, QuantType.QInt8, ActivationSymmetric=True)
    report = edgekit.build(symmetric, target="jetson", out=tmp_path / "out", bench=False, store=store)
    assert (report.engines[0].precision, report.engines[0].status) == ("int8", "not built: needs the device")


def test_what_an_engine_computes_in_float_though_it_is_stored_in_integers_is_counted(quantized, store, tmp_path):
    """Without Q/DQ behind a convolution neither runtime has an integer kernel for it."""
    proto = onnx.load(quantized(QuantFormat.QDQ, QuantType.QUInt8))
    (quantize,) = [node for node in proto.graph.node if list(node.input)[:1] == ["c"]]
    (dequantize,) = [node for node in proto.graph.node if list(node.input)[:1] == list(quantize.output)]
    for node in (quantize, dequantize):
        proto.graph.node.remove(node)
    for node in proto.graph.node:
        node.input[:] = ["c" if name == dequantize.output[0] else name for name in node.input]
    onnx.save(proto, tmp_path / "cut.onnx")

    report = edgekit.build(tmp_path / "cut.onnx", target=["x86", "rpi5"], out=tmp_path / "out", bench=False, store=store)

    for engine in report.engines:
        assert [remark for remark in engine.remarks if remark.startswith("1 of 3 convolutions and matrix products are computed in float")]

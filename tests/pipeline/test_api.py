"""`edgekit.build` from Python: live models, reports a notebook shows, engines that are called as their record says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.engine.contract import read_engine
from edgekit.errors import UsageError


@pytest.fixture
def torch_net():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 8, 3, 2, 1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU6(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 4),
    ]
    return torch.nn.Sequential(*layers).eval()


@pytest.mark.torch
@pytest.mark.slow
def test_a_live_torch_module_becomes_engines_that_agree_with_it(torch_net, arrays, store, tmp_path):
    import torch
    from ai_edge_litert.interpreter import Interpreter

    samples = arrays("input", (3, 16, 16))
    report = edgekit.build(
        torch_net, target="rpi5", samples=samples, shape=(1, 3, 16, 16), recipe="float", out=tmp_path / "out", bench=False, store=store
    )

    (entry,) = report.engines
    assert entry.fidelity.top1_agreement == 1.0
    assert report.model.source == "torch: Sequential"
    x = np.random.default_rng(5).normal(0, 1, (1, 3, 16, 16)).astype(np.float32)
    engine = Interpreter(model_path=str(tmp_path / "out" / entry.path))
    engine.allocate_tensors()
    engine.set_tensor(engine.get_input_details()[0]["index"], x.transpose(0, 2, 3, 1).copy())
    engine.invoke()
    got = engine.get_tensor(engine.get_output_details()[0]["index"])
    np.testing.assert_allclose(got, torch_net(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


@pytest.mark.torch
@pytest.mark.slow
def test_the_same_live_module_is_known_by_its_exported_graph(torch_net, arrays, store, tmp_path):
    given = {"samples": arrays("input", (3, 16, 16)), "shape": (1, 3, 16, 16), "settings": {"quantize": {"float_if_free": False}}}
    reports = [edgekit.build(torch_net, target="x86", out=tmp_path / "out", bench=False, store=store, **given) for _ in range(2)]

    assert reports[0].model.sha256 == reports[1].model.sha256
    assert all(step.cached for step in reports[1].steps)
    assert reports[0].engines[0].precision == "int8"


@pytest.mark.keras
@pytest.mark.slow
def test_a_live_keras_model_keeps_its_layout_and_its_names(arrays, store, tmp_path):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3), name="picture")
    hidden = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    outputs = keras.layers.Dense(4, name="classes")(keras.layers.GlobalAveragePooling2D()(hidden))
    model = keras.Model(inputs, outputs)

    report = edgekit.build(model, target="rpi5", samples=arrays("picture", (16, 16, 3)), out=tmp_path / "out", bench=False, store=store)

    (entry,) = report.engines
    engine = read_engine(Path(tmp_path / "out" / entry.path).parent)
    assert [(port.name, port.shape, port.layout) for port in engine.inputs] == [("picture", (1, 16, 16, 3), "nhwc")]
    assert engine.details["transposes"] == 0
    assert entry.precision == "int8"
    assert entry.fidelity.sqnr_db > 20


@pytest.fixture
def dense_onnx(tmp_path) -> Path:
    """A dense layer and ReLU over four numbers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(1).normal(0, 1, (4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["g"], "dense"), helper.make_node("Relu", ["g"], ["y"], "relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "dense.onnx")
    return tmp_path / "dense.onnx"


@pytest.mark.parametrize("target", ["rpi5", "x86"])
def test_integer_ports_say_how_numbers_become_integers(dense_onnx, arrays, store, tmp_path, target):
    report = edgekit.build(
        dense_onnx,
        target=target,
        samples=arrays("x", (4,)),
        out=tmp_path / "out",
        bench=False,
        store=store,
        settings={"io": {"dtype": "int8" if target == "rpi5" else "uint8"}, "budget": {"min_sqnr_db": 10}},
    )

    (entry,) = report.engines
    (port,) = read_engine(Path(tmp_path / "out" / entry.path).parent).inputs
    assert port.dtype == ("int8" if target == "rpi5" else "uint8")
    assert port.scale > 0
    assert entry.fidelity.sqnr_db > 20


def test_a_report_shows_itself_in_a_notebook_and_reads_back_equal(dense_onnx, arrays, store, tmp_path):
    report = edgekit.build(dense_onnx, target="x86", samples=arrays("x", (4,)), out=tmp_path / "out", bench=False, store=store)

    assert "x86-64" in report._repr_html_()
    assert "SQNR" in str(report)
    assert edgekit.read_report(tmp_path / "out") == report


def test_a_factory_makes_no_sense_for_a_live_model(tmp_path):
    with pytest.raises(UsageError, match="needs no factory"):
        edgekit.build(object(), target="x86", factory="a.py:b", out=tmp_path)


def test_what_is_no_model_is_refused_in_one_line(arrays, store, tmp_path):
    with pytest.raises(UsageError) as caught:
        edgekit.build(object(), target="x86", samples=arrays("x", (4,)), out=tmp_path / "out", store=store)

    assert "\n" not in caught.value.message


def test_integer_ports_of_a_float_recipe_are_refused_before_anything_runs(dense_onnx, store, tmp_path):
    with pytest.raises(UsageError, match="recipe float makes no integers"):
        edgekit.build(dense_onnx, target="rpi5", recipe="float", settings={"io": {"dtype": "int8"}}, out=tmp_path / "out", store=store)

"""What a DLA will take is predicted from NVIDIA's table, and int8 for it goes without Q/DQ."""

from __future__ import annotations

import json
import shutil

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.engine.contract import read_engine, seal_engine
from edgekit.engine.tensorrt import TensorrtBackend
from edgekit.engine.tensorrt.dla import predict
from edgekit.engine.tensorrt.implicit import calibration_cache, to_implicit
from edgekit.errors import UsageError
from edgekit.graph import onnx_file
from edgekit.graph.edit import Graph
from edgekit.graph.run import Runner

NET = """net (float[1,3,16,16] x, float[8,3,3,3] w) => (float[1,8,1,1] y) {
  [conv] c = Conv<pads = [1,1,1,1]>(x, w)  [relu] r = Relu(c)  [gap] g = GlobalAveragePool(r)  [tanh] y = Tanh(g) }"""
QUANTIZED = """net (float[1,2,4,4] x) => (float[1,2,4,4] y)
  <float s = {0.5}, float t = {0.25}, int8 z = {0}, int8[2,2,1,1] w = {10, -20, 30, 127}, float[2] sw = {0.25, 0.5}, int8[2] zw = {0, 0}> {
  [q] q = QuantizeLinear(x, s, z)  [d] d = DequantizeLinear(q, s, z)  [wd] wd = DequantizeLinear<axis: int = 0>(w, sw, zw)
  [conv] c = Conv(d, wd)  [q2] q2 = QuantizeLinear(c, t, z)  [d2] d2 = DequantizeLinear(q2, t, z)  [relu] y = Relu(d2) }"""


@pytest.fixture
def graph_of(model):
    def get(text: str) -> Graph:
        return Graph(onnx_file.load(model(text).path))

    return get


def test_a_node_that_the_dla_does_not_have_falls_back_with_what_can_stand_in_its_place(graph_of):
    found = predict(graph_of(NET), {"conv": 1000, "gap": 0})

    assert (found.nodes, found.taken, found.parts) == (4, 3, 2)
    assert found.multiply_adds_taken == 1.0
    assert found.sentence() == "predicted: the DLA takes 3 of 4 nodes (100% of the multiply-adds) in 2 pieces"
    (fallback,) = found.fallbacks
    assert fallback.line().startswith(
        "gap (GlobalAveragePool): the DLA has no GlobalAveragePool; in its place: an AveragePool over the whole picture"
    )


REFUSED = {
    "an open size": ('net (float["n",3,8,8] x) => (float["n",3,8,8] y) { y = Relu(x) }', "x has an open size"),
    "a window beyond 8": (
        "net (float[1,3,16,16] x) => (float[1,3,1,1] y) { y = AveragePool<kernel_shape = [16,16]>(x) }",
        "its window is 16x16; the DLA takes 8 at most",
    ),
    "a kernel beyond 32": ("net (float[1,1,64,64] x, float[1,1,33,33] w) => (float[1,1,32,32] y) { y = Conv(x, w) }", "its kernel or stride"),
    "a convolution over one axis": ("net (float[1,1,64] x, float[1,1,3] w) => (float[1,1,62] y) { y = Conv(x, w) }", "a convolution over 1 axes"),
    "a product of two computed sides": ("net (float[2,2] x) => (float[2,2] y) { y = MatMul(x, x) }", "its second input is computed"),
    "joined rows": ("net (float[1,3,4,4] x) => (float[1,3,8,4] y) { y = Concat<axis: int = 2>(x, x) }", "along another axis"),
    "a picture too wide": ("net (float[1,1,1,8193] x) => (float[1,1,1,8193] y) { y = Relu(x) }", "x is larger than the DLA takes"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_limits_of_the_dla_are_fallbacks_with_reason_and_remedy(graph_of, text, reason):
    (fallback,) = predict(graph_of(text)).fallbacks

    assert reason in fallback.reason
    assert fallback.remedy


def test_without_qdq_the_graph_computes_with_the_same_weights_and_the_scales_are_told_by_tensor(graph_of, tmp_path):
    graph = graph_of(QUANTIZED)
    graph_before = graph.count()

    scales = to_implicit(graph)
    proto = graph.finish()
    onnx_file.save(proto, tmp_path)
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    weights = np.array([[10 * 0.25, -20 * 0.25], [30 * 0.5, 127 * 0.5]])

    assert graph_before["QuantizeLinear"] == 2
    assert scales == {"x": 0.5, "c": 0.25}
    assert not [node for node in proto.graph.node if "Quantize" in node.op_type]
    expected = np.maximum(np.einsum("oc,bchw->bohw", weights, x), 0.0)
    np.testing.assert_allclose(Runner(tmp_path / "model.onnx")({"x": x})["y"], expected, rtol=1e-6)


@pytest.mark.parametrize(("release", "head"), [("8.5.2", "TRT-8502"), ("8.6.1", "TRT-8601"), ("10.3.0", "TRT-100300"), ("10.7.0", "TRT-100700")])
def test_the_calibration_cache_names_its_release_and_holds_scales_as_bits(release, head):
    # 0x3c008912 is what a cache of TensorRT's MNIST sample holds for its input: 0.00784518…, that is 1/127 and a little less
    text = calibration_cache({"data": float(np.array([0x3C008912], np.uint32).view(np.float32)[0]), "one": 1.0}, release).decode()

    assert text == f"{head}-EntropyCalibration2\ndata: 3c008912\none: 3f800000\n"


def test_a_package_for_a_dla_holds_a_float_graph_the_cache_and_the_prediction(package):
    folder = package(QUANTIZED, "jetson-agx-orin-jp62", dla_core=0)
    plan = json.loads((folder / "build-plan.json").read_text(encoding="utf-8"))
    details = read_engine(folder).details

    assert not [node for node in onnx.load(folder / "model.onnx").graph.node if "Quantize" in node.op_type]
    assert (plan["precision"], plan["flags"], plan["dla_core"], plan["calibration"]) == ("int8", ["INT8", "FP16"], 0, "calibration.cache")
    assert {"--calib=calibration.cache", "--int8", "--fp16", "--useDLACore=0", "--allowGPUFallback"} <= set(plan["trtexec"]["build"])
    assert details["dla"]["said"] == "predicted: the DLA takes 2 of 2 nodes (100% of the multiply-adds) in 1 piece"


def test_a_package_without_a_dla_keeps_its_qdq(package):
    folder = package(QUANTIZED, "jetson-agx-orin-jp62")

    assert not (folder / "calibration.cache").exists()
    assert json.loads((folder / "build-plan.json").read_text(encoding="utf-8"))["calibration"] == ""


@pytest.mark.parametrize(
    ("name", "core", "says"),
    [
        ("jetson-orin-nano-jp62", 0, "jetson-orin-nano-jp62 has no DLA"),
        ("jetson-agx-orin-jp62", 2, "jetson-agx-orin-jp62 has 2 of them"),
        ("jetson-agx-orin-jp72", 0, "has TensorRT 10.16.2, which builds for no DLA|has no DLA"),
    ],
)
def test_a_dla_that_is_not_there_is_refused(package, name, core, says):
    with pytest.raises(UsageError, match=says):
        package(QUANTIZED, name, dla_core=core)


def test_the_package_of_an_engine_that_a_board_built_is_the_one_that_it_was_built_of(package, tmp_path):
    """An engine with scales and a DLA: its folder holds the graph, the plan and the cache, and no code."""
    before = package(QUANTIZED, "jetson-agx-orin-jp62", dla_core=0)
    built, after = tmp_path / "built", tmp_path / "after"
    built.mkdir()
    after.mkdir()
    for name in ("model.onnx", "build-plan.json", "calibration.cache"):
        shutil.copyfile(before / name, built / name)
    (built / "model.plan").write_bytes(b"ftrt")
    record = read_engine(before)
    details = {key: value for key, value in record.details.items() if key != "on_the_device"} | {"built_on": {"machine": {}}}
    seal_engine(built, msgspec.structs.replace(record, file="model.plan", status="built", bytes=4, sha256="0" * 64, details=details))

    TensorrtBackend().repack(built, after)

    assert {path.name: path.read_bytes() for path in after.iterdir()} == {path.name: path.read_bytes() for path in before.iterdir()}

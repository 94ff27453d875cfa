"""Why an int8 engine is no faster: from layers and times, with the edge of the graph to blame.

The first recording is the layer that NVIDIA's developer guide shows ("Engine Inspector"), the second a copy layer that an engine of
PyTorch-TensorRT was seen to have. The engine of the small network is made up in that form: no such engine was built here.
"""

from __future__ import annotations

import json

import pytest

from edgekit.engine.tensorrt.layers import kind_of, read_layers
from edgekit.engine.tensorrt.why_slow import blame, explain
from edgekit.errors import SourceError
from edgekit.graph import onnx_file
from edgekit.graph.edit import Graph

GUIDE = json.loads("""{
  "Name": "node_of_gpu_0/res4_0_branch2a_1 + node_of_gpu_0/res4_0_branch2a_bn_1 + node_of_gpu_0/res4_0_branch2a_bn_2",
  "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "gpu_0/res3_3_branch2c_bn_3", "Dimensions": [16,512,28,28],
    "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
  "Outputs": [{"Name": "gpu_0/res4_0_branch2a_bn_2", "Dimensions": [16,256,28,28],
    "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
  "ParameterType": "Convolution", "Kernel": [1,1], "Activation": "RELU", "TacticName": "sm80_xmma_fprop_implicit_gemm"}""")
COPY = {
    "Name": "Reformatting CopyNode for Input Tensor 0 to [CONVOLUTION]-[aten_ops.convolution.default]-[/features/0/convolution]",
    "LayerType": "Reformat",
    "Inputs": [{"Name": "x", "Format/Datatype": "Row major linear FP16 format"}],
    "Outputs": [{"Name": "Reformatted Input Tensor 0", "Format/Datatype": "Channel major FP16 format where channel % 4 == 0"}],
    "Metadata": "",
}
RESIDUAL = """net (float[1,8,4,4] x) => (float[1,8,4,4] y)
  <float s = {0.1}, int8 z = {0}, int8[8,8,1,1] w, int8[8,8,1,1] v, float[8,8,1,1] u> {
  [q] q = QuantizeLinear(x, s, z)  [d] d = DequantizeLinear(q, s, z)  [wd] wd = DequantizeLinear(w, s, z)
  [conv_a] a = Conv(d, wd)  [relu] r = Relu(a)
  [q2] q2 = QuantizeLinear(r, s, z)  [d2] d2 = DequantizeLinear(q2, s, z)  [vd] vd = DequantizeLinear(v, s, z)
  [conv_b] b = Conv(d2, vd)  [add] c = Add(b, r)  [conv_c] y = Conv(c, u) }"""


@pytest.fixture
def graph(model) -> Graph:
    import numpy as np
    import onnx

    text = RESIDUAL.replace(", int8[8,8,1,1] w, int8[8,8,1,1] v, float[8,8,1,1] u", "")
    held = {"w": np.int8, "v": np.int8, "u": np.float32}
    constants = tuple(onnx.numpy_helper.from_array(np.ones((8, 8, 1, 1), kind), name) for name, kind in held.items())
    return Graph(onnx_file.load(model(text, constants).path))


def layer(name: str, kind: str, *, made: str = "", to: str = "", type_: str = "CaskConvolution", nodes: str = "") -> dict:
    metadata = "\x1f".join(f"[ONNX Layer: {node}]" for node in nodes.split()) if nodes else ""
    inputs = [{"Name": made or f"into {name}", "Format/Datatype": kind}]
    return {"Name": name, "LayerType": type_, "Inputs": inputs, "Outputs": [{"Name": "o", "Format/Datatype": to or kind}], "Metadata": metadata}


ENGINE = [
    layer("conv_a + relu", "Int8", nodes="conv_a relu"),
    layer("conv_b", "Int8", nodes="conv_b"),
    layer("add", "Half", type_="PointWiseV2", nodes="add"),
    layer("Reformatting CopyNode for Input Tensor 0 to conv_b", "Row major linear FP16 format", made="r", to="Int8", type_="Reformat"),
    layer("conv_c", "Half", nodes="conv_c"),
]
TIMES = [{"count": 10}] + [{"name": one["Name"], "averageMs": ms} for one, ms in zip(ENGINE, (0.1, 0.1, 0.2, 0.05, 0.4), strict=True)]


def test_a_layer_as_the_developer_guide_shows_it_is_read():
    (found,) = read_layers({"Layers": [GUIDE]}, [{"count": 1}, {"name": GUIDE["Name"], "averageMs": 0.25}])

    assert (found.kind, found.ms, found.is_reformat) == ("int8", 0.25, False)
    assert found.nodes[0] == "node_of_gpu_0/res4_0_branch2a_1"
    assert len(found.nodes) == 3


def test_a_copy_is_told_from_what_computes():
    (found,) = read_layers([COPY])

    assert found.is_reformat
    assert found.nodes == ()


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("Row major linear FP16 format", "float16"),
        ("Half", "float16"),
        ("Channel major FP32 format", "float32"),
        ("Float", "float32"),
        ("BFloat16", "bfloat16"),
        ("FP8", "float8"),
        ("Int32", "other"),
    ],
)
def test_number_formats_are_read_in_every_releases_words(told, kind):
    assert kind_of(told) == kind


def test_release_11_tells_format_and_data_type_apart():
    row = {"Name": "n", "LayerType": "kgen", "Inputs": [{"Name": "x", "Format": "Linear", "DataType": "Half"}], "Outputs": []}

    assert read_layers({"I/O Tensors": [], "Layers": [row]})[0].kind == "float16"


@pytest.mark.parametrize(("information", "says"), [({"Layers": ["conv_a", "conv_b"]}, "names alone"), ({}, "no layers"), ([], "no layers")])
def test_information_that_is_not_enough_says_how_to_get_it(information, says):
    with pytest.raises(SourceError, match=says):
        read_layers(information)


def test_time_is_split_by_what_is_computed_in(graph):
    found = explain(read_layers(ENGINE, TIMES), graph)

    assert found.ms == pytest.approx({"int8": 0.2, "float16": 0.6, "reformat": 0.05})
    assert found.sentence() == "0.850 ms a query: 71% float16, 24% int8, 6% reformat; 3 layers cost what they need not"


def test_a_product_in_float_names_the_edge_without_qdq(graph):
    first = explain(read_layers(ENGINE, TIMES), graph).findings[0]

    assert (first.layer, first.ms) == ("conv_c", 0.4)
    assert first.what == "conv_c (Conv) is computed in float16"
    assert first.edge == "c, made by add (Add), has no Q/DQ: what it reads is float"


def test_a_residual_add_that_did_not_fuse_names_its_skip_branch(graph):
    found = next(one for one in explain(read_layers(ENGINE, TIMES), graph).findings if one.layer == "add")

    assert found.edge == "r, the skip branch, has no Q/DQ"
    assert 'residual = "skip"' in found.remedy


def test_a_reformat_between_formats_names_the_q_that_it_stands_for(graph):
    found = next(one for one in explain(read_layers(ENGINE, TIMES), graph).findings if "Reformatting" in one.layer)

    assert found.what == "numbers go from float16 to int8"
    assert found.edge == "r, at q2 (QuantizeLinear)"


def test_q_that_is_a_layer_of_its_own_names_what_stands_before_it(graph):
    (found,) = explain(read_layers([layer("q2", "Half", to="Int8", type_="Scale", nodes="q2")]), graph).findings

    assert found.what == "q2 (QuantizeLinear) is a layer of its own"
    assert found.edge == "r, made by relu (Relu)"


def test_against_a_float16_engine_the_nodes_that_got_slower_are_told_with_both_times(graph):
    half = [layer(name, "Half", nodes=name) for name in ("conv_a", "conv_b", "conv_c")]
    times = [{"name": name, "averageMs": ms} for name, ms in (("conv_a", 0.2), ("conv_b", 0.05), ("conv_c", 0.3))]

    found = explain(read_layers(ENGINE, TIMES), graph, read_layers(half, times))

    assert found.slower == {"conv_c": (0.4, 0.3), "conv_b": (0.1, 0.05)}


def test_weights_without_qdq_and_a_first_convolution_of_three_channels_are_told_apart(model):
    text = """net (float[1,3,4,4] x, float[2,3,1,1] w) => (float[1,2,4,4] y, float[1,2,4,4] z) <float s = {0.1}, int8 n = {0}> {
      [q] q = QuantizeLinear(x, s, n)  [d] d = DequantizeLinear(q, s, n)
      [qw] qw = QuantizeLinear(w, s, n)  [dw] dw = DequantizeLinear(qw, s, n)
      [plain] y = Conv(d, w)  [narrow] z = Conv(d, dw) }"""
    found = Graph(onnx_file.load(model(text).path))
    plain, narrow = (next(node for node in found.walk("Conv") if node.name == name) for name in ("plain", "narrow"))

    assert blame(plain, found)[0] == "w has no Q/DQ: its weights are float"
    assert blame(narrow, found)[1] == "its 3 input channels are too few for int8 kernels: this is as it should be"

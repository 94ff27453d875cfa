"""A graph brought to an older opset computes the same; what cannot be said there is named."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.engine.tensorrt.opset import lower, set_opset
from edgekit.graph.edit import Graph


def graph_of(text: str) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def run(proto: onnx.ModelProto, *arrays: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)})


def lowered(text: str, opset: int) -> onnx.ModelProto:
    graph = Graph(graph_of(text))
    assert lower(graph, opset) == {}
    proto = graph.finish()
    set_opset(proto, opset)
    onnx.checker.check_model(proto, full_check=True)
    return proto


SAID_IN_BOTH = {
    "mean over axes": "net (float[2,3,4] x) => (float[2,1,1] y) <int64[2] axes = {1, 2}> { y = ReduceMean(x, axes) }",
    "max over all axes": "net (float[2,3,4] x) => (float[1,1,1] y) { y = ReduceMax(x) }",
    "sum over an axis that goes": "net (float[2,3,4] x) => (float[2,4] y) <int64[1] a = {1}> { y = ReduceSum<keepdims: int = 0>(x, a) }",
    "split into parts that differ": """
        net (float[2,5,4] x) => (float[2,3,4] y, float[2,2,4] z) { y, z = Split<axis: int = 1, num_outputs: int = 2>(x) }""",
    "pad of one axis": """
        net (float[2,3,4] x) => (float[2,3,7] y) <int64[2] p = {1, 2}, float c = {9}, int64[1] a = {-1}> { y = Pad(x, p, c, a) }""",
    "pooling with dilations of one": """
        net (float[1,2,6,6] x) => (float[1,2,3,3] y) { y = AveragePool<kernel_shape = [2,2], strides = [2,2], dilations = [1,1]>(x) }""",
    "resize without antialiasing": """
        net (float[1,1,3,3] x) => (float[1,1,6,6] y) <float[4] s = {1, 1, 2, 2}> {
          y = Resize<mode: string = "linear", antialias: int = 0, keep_aspect_ratio_policy: string = "stretch">(x, , s) }""",
    "quantized": """
        net (float[2,3] x) => (float[2,3] y) <float s = {0.1}, int8 z = {0}> {
          q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }""",
    "cast and reshape": """
        net (float[2,3] x) => (int32[6] y) <int64[1] s = {-1}> { c = Cast<to: int = 6, saturate: int = 1>(x)  y = Reshape(c, s) }""",
    "grid sampling": """
        net (float[1,1,4,4] x, float[1,2,2,2] g) => (float[1,1,2,2] y) { y = GridSample<mode: string = "linear">(x, g) }""",
}


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("text", SAID_IN_BOTH.values(), ids=SAID_IN_BOTH)
def test_a_graph_of_the_older_opset_computes_the_same(text, opset):
    before, after = graph_of(text), lowered(text, opset)
    random = np.random.default_rng(0)
    arrays = [random.standard_normal([dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(np.float32) for value in before.graph.input]

    assert after.opset_import[0].version == opset
    for ours, reference in zip(run(after, *arrays), run(before, *arrays), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-6)


NOT_SAID = {
    "an operator that came later": ("net (float[2] x) => (float[2] y) { y = Gelu(x) }", 17, "opset 17 has no Gelu, which came with opset 20"),
    "a reduction of nothing": ("net (float[2] x) => (float[2] y) { y = ReduceMean<noop_with_empty_axes: int = 1>(x) }", 17, "it reduces nothing"),
    "computed axes": ("net (float[2,3] x, int64[1] a) => (float[n,m] y) { y = ReduceMean(x, a) }", 17, "its axes are computed"),
    "pooling with gaps": (
        "net (float[1,1,9,9] x) => (float[1,1,7,7] y) { y = AveragePool<kernel_shape = [2,2], dilations = [2,2]>(x) }",
        17,
        "opset 17 has no attribute dilations of AveragePool",
    ),
    "padding that wraps": (
        'net (float[4] x) => (float[6] y) <int64[2] p = {1, 1}> { y = Pad<mode: string = "wrap">(x, p) }',
        17,
        "the mode wrap came with opset 19",
    ),
    "normalization that means something else": (
        "net (float[1,4,2] x, float[4] s, float[4] b) => (float[1,4,2] y) { y = GroupNormalization<num_groups: int = 2>(x, s, b) }",
        20,
        "GroupNormalization meant something else before opset 21",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "opset", "reason"), NOT_SAID.values(), ids=NOT_SAID)
def test_what_the_older_opset_cannot_say_is_named(text, opset, reason):
    faults = lower(Graph(graph_of(text)), opset)

    assert [fault.startswith(reason) for fault in faults.values()] == [True], faults

"""A graph that another tool quantized goes through the passes as it came."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from edgekit.errors import SamplesError

DIALECTS = ["onnxruntime-u8", "onnxruntime-s8", "modelopt", "aimet", "nncf", "pytorch"]
X = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)


def scales(proto):
    """Scale and zero point of every Q and DQ of what is computed."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    quantizes = [node for node in proto.graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in constants]
    return [(constants[node.input[1]].tolist(), constants[node.input[2]].tolist(), constants[node.input[2]].dtype.name) for node in quantizes]


def integers(proto):
    """Constants that a DequantizeLinear reads, as multisets of their numbers: a Transpose may have been taken in."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    read = [node.input[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"]
    return Counter((constants[name].dtype.name, *np.sort(constants[name], axis=None).tolist()) for name in read if name in constants)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_scales_and_zero_points_and_outputs_stay_what_they_were(dialect, foreign, passed, outputs):
    before = foreign(dialect)
    after = onnx.load(passed(before).path)

    assert scales(after) == scales(before)
    np.testing.assert_allclose(outputs(after, x=X), outputs(before, x=X), atol=1e-6)


@pytest.mark.parametrize("dialect", ["onnxruntime-u8", "onnxruntime-s8", "nncf", "pytorch"])
def test_integers_that_the_file_holds_stay_what_they_were(dialect, foreign, passed):
    before = foreign(dialect)

    assert integers(onnx.load(passed(before).path)) == integers(before)


@pytest.mark.parametrize("dialect", ["modelopt", "aimet"])
def test_float_weights_behind_q_dq_are_kept_as_the_integers_they_stand_for(dialect, foreign, passed):
    before = foreign(dialect)
    floats = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in before.graph.initializer}
    wanted = [
        np.rint(floats[name] / floats[scale].reshape(-1, *[1] * (floats[name].ndim - 1)))
        for name, scale in (("wf", "sw"), ("vf", "sv"), ("df", "sd"))
    ]

    after = onnx.load(passed(before).path)

    assert integers(after) == Counter(("int8", *np.sort(values, axis=None).astype(int).tolist()) for values in wanted)
    assert not {"wf", "vf", "df"} & {tensor.name for tensor in after.graph.initializer}


@pytest.mark.parametrize("mode", ["static", "float16"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_quantize_says_that_it_left_the_graph_as_it_is_and_asked_for_no_samples(dialect, mode, foreign, passed):
    did = passed(foreign(dialect), mode=mode).history[-1].did

    assert list(did) == ["already_quantized"]
    found = did["already_quantized"]
    assert (found["kind"], found["products"], found["both_sides"], found["in_float"]) == ("static", 3, 3, [])
    assert found["per_channel"] == (1 if dialect == "nncf" else 0)


def test_weights_of_a_linear_layer_are_transposed_as_integers(foreign, passed):
    after = onnx.load(passed(foreign("pytorch")).path)
    dequantized = {node.output[0]: node for node in after.graph.node if node.op_type == "DequantizeLinear"}
    (product,) = [node for node in after.graph.node if node.op_type in ("MatMul", "Gemm")]
    constants = {tensor.name: list(tensor.dims) for tensor in after.graph.initializer}

    weights = dequantized[product.input[1]]

    assert constants[weights.input[0]] == [4, 5]
    assert [attribute.i for attribute in weights.attribute if attribute.name == "axis"] == [1]


def test_a_float_graph_still_needs_samples(foreign, passed):
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> net (float[1,4] x) => (float[1,4] y) { y = Relu(x) }')

    with pytest.raises(SamplesError, match="needs samples"):
        passed(proto)

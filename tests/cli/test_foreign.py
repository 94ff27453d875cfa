"""`edgekit build` of a model that came quantized."""

from __future__ import annotations

import numpy as np
import onnx
import pytest


@pytest.fixture
def quantized_net(tmp_path, net):
    """The tiny network with a Q/DQ pair before and behind its convolution, weights of int8: the rest in float."""
    proto = onnx.load(net)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    numbers = {
        "s": np.float32(0.02),
        "z": np.uint8(128),
        "sw": np.float32(0.02),
        "w_i": np.clip(np.rint(held["w"] / 0.02), -127, 127).astype(np.int8),
    }
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in numbers.items())
    node = onnx.helper.make_node
    convolution = proto.graph.node[0]
    convolution.input[:] = ["image_d", "w_d", "b"]
    before = [node("QuantizeLinear", ["image", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["image_d"])]
    convolution.output[0] = "c_real"
    behind = [node("QuantizeLinear", ["c_real", "s", "z"], ["c_q"]), node("DequantizeLinear", ["c_q", "s", "z"], ["c"])]
    weights = node("DequantizeLinear", ["w_i", "sw"], ["w_d"])
    nodes = [*before, weights, convolution, *behind, *list(proto.graph.node)[1:]]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    path = tmp_path / "quantized.onnx"
    onnx.save(proto, path)
    return path


def test_it_ends_well_without_samples_and_says_what_was_left_as_it_is(edgekit, quantized_net):
    said = edgekit("build", quantized_net, "--target", "x86,rpi5", "--no-bench", "-o", "out")

    assert said.status == 0, said.err
    assert "The model came quantized (static, int8, uint8; 1 of 2 convolutions and matrix products read integers on both sides" in said.out
    assert "in float are classifier" in said.out
    assert "equalize and quantize left it as it is, nothing was calibrated" in said.out


def test_a_plan_of_it_needs_no_samples_either(edgekit, quantized_net):
    assert edgekit("plan", quantized_net, "--target", "x86,rpi5").status == 0


def test_a_float_model_that_only_speaks_of_it_is_asked_for_samples_later(edgekit, net):
    proto = onnx.load(net)
    proto.graph.node[0].name = "QuantizeLinear_in_name_only"
    onnx.save(proto, net)

    said = edgekit("build", net, "--target", "x86", "--no-bench", "-o", "out")

    assert said.status == 1
    assert "needs samples" in said.err


def test_a_target_that_cannot_carry_it_says_which_node_and_what_to_do(edgekit, quantized_net):
    proto = onnx.load(quantized_net)
    (zero_point,) = [tensor for tensor in proto.graph.initializer if tensor.name == "z"]
    zero_point.CopyFrom(onnx.numpy_helper.from_array(np.uint8(7), "z"))
    onnx.save(proto, quantized_net)

    said = edgekit("build", quantized_net, "--target", "jetson", "--no-bench", "-o", "out")

    assert said.status == 6
    assert "the integers are uint8; TensorRT takes int8; quantize the float model for this target" in said.err

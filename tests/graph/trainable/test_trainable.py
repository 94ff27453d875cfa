import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from edgekit.errors import SourceError, UnsupportedError
from edgekit.graph.trainable import trainable, trained

TEXT = """net (float[1,2,4,4] x) => (y) {
    c = Conv<pads=[1,1,1,1]>(x, "block.0.weight", bias)
    r = Clip(c, zero, six)
    d = Conv(r, type)
    s = Add(d, x)
    h = Mul(s, half)
    y = Relu(h)
}"""


def number(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def net(graph_of):
    """Two convolutions, their names as exporters give them and as torch's own methods are called."""
    text = TEXT.replace('"block.0.weight"', "dotted").replace("type", "plain")
    proto = graph_of(
        text, dotted=number(2, 2, 3, 3), plain=number(2, 2, 1, 1), bias=number(2), zero=np.float32(0), six=np.float32(6), half=np.float32(0.5)
    )
    for old, new in (("dotted", "block.0.weight"), ("plain", "type")):
        next(one for one in proto.graph.initializer if one.name == old).name = new
        for node in proto.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
    return proto


def test_weights_are_parameters_under_their_names_and_bounds_and_factors_are_not(net):
    module = trainable(net)

    assert sorted(name for name, _ in module.named_parameters()) == ["bias", "block.0.weight", "type"]
    assert sorted(name for name, _ in module.named_buffers()) == ["half", "six", "zero"]
    assert set(module.state_dict()) == {"bias", "block.0.weight", "type", "half", "six", "zero"}


def test_a_state_dict_goes_into_a_second_module(net):
    first, second = trainable(net), trainable(net)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.mul_(2.0)
    second.load_state_dict(first.state_dict())

    x = torch.from_numpy(number(1, 2, 4, 4, seed=3))
    torch.testing.assert_close(first({"x": x})["y"], second({"x": x})["y"])
    assert (second.values()["type"] == 2.0 * number(2, 2, 1, 1)).all()


def test_trained_parameters_go_back_into_the_graph(net, by_onnx_runtime):
    module = trainable(net)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x = number(1, 2, 4, 4, seed=3)
    for _ in range(3):
        optimizer.zero_grad()
        module({"x": torch.from_numpy(x)})["y"].square().mean().backward()
        optimizer.step()
    after = trained(net, module.values())

    with torch.no_grad():
        expected = module({"x": torch.from_numpy(x)})["y"].numpy()
    np.testing.assert_allclose(by_onnx_runtime(after, {"x": x})["y"], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(by_onnx_runtime(net, {"x": x})["y"] - expected).max() > 1e-3


def test_what_does_not_fit_the_graph_is_not_written_back(net):
    with pytest.raises(SourceError, match="no constant w"):
        trained(net, {"w": number(1)})
    with pytest.raises(SourceError, match=r"bias: its new values have the shape \[3\] instead of \[2\]"):
        trained(net, {"bias": number(3)})


def test_a_part_runs_from_inner_tensors_to_inner_tensors(net, by_onnx_runtime):
    module = trainable(net, inputs=["r", "x"], outputs=["s", "d"])
    x, r = number(1, 2, 4, 4, seed=3), number(1, 2, 4, 4, seed=4)
    got = module({"x": torch.from_numpy(x), "r": torch.from_numpy(r)})

    weight = number(2, 2, 1, 1)[:, :, 0, 0]
    expected = np.einsum("oi,bihw->bohw", weight, r)
    np.testing.assert_allclose(got["d"].detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["s"].detach().numpy(), expected + x, rtol=1e-5, atol=1e-6)
    assert [name for name, _ in module.named_parameters()] == ["type"]


def test_a_part_that_needs_another_input_says_so(net):
    with pytest.raises(SourceError, match="no node between these inputs and outputs makes x"):
        trainable(net, inputs=["r"], outputs=["s"])
    with pytest.raises(SourceError, match="makes nowhere"):
        trainable(net, outputs=["nowhere"])
    with pytest.raises(SourceError, match="no values for the tensor x"):
        trainable(net)({})


def test_tensors_can_be_put_in_the_place_of_constants_and_of_what_nodes_make(net):
    module = trainable(net)
    x = torch.from_numpy(number(1, 2, 4, 4, seed=3))
    zeros = torch.zeros(2, 2, 1, 1, requires_grad=True)
    got = module({"x": x}, {"type": zeros})["y"]
    made = module({"x": x}, {"d": torch.zeros(1, 2, 4, 4)})["y"]

    torch.testing.assert_close(got, torch.relu(x * 0.5))
    torch.testing.assert_close(made, torch.relu(x * 0.5))
    got.sum().backward()
    assert zeros.grad is not None
    assert module.constant("type").grad is None


def test_all_nodes_without_a_counterpart_are_named_at_once(graph_of):
    proto = graph_of(
        "net (float[1,2,8,8] x) => (y) { a = Hardmax(x)  p, i = MaxPool<kernel_shape=[2,2]>(a)  j = Cast<to=1>(i)"
        '  s = Add(p, j)  y = Resize<mode="cubic">(s, , f) }',
        f=np.float32([1, 1, 2, 2]),
    )
    with pytest.raises(UnsupportedError) as caught:
        trainable(proto)

    assert [line.partition(":")[0] for line in caught.value.refusals] == ["Hardmax Hardmax_0", "MaxPool MaxPool_1", "Resize Resize_4"]


def test_a_graph_of_another_opset_is_refused(net):
    net.opset_import[0].version = 17
    with pytest.raises(UnsupportedError, match="opset 21 can be trained, this has 17"):
        trainable(net)


def test_numbers_that_do_not_fit_the_graph_are_told_in_one_line(net):
    with pytest.raises(SourceError, match=r"^Conv Conv_0: [^\n]*$"):
        trainable(net)({"x": torch.zeros(1, 3, 4, 4)})


def test_rounding_lets_gradients_pass_and_clipping_does_not(graph_of):
    proto = graph_of("net (float[4] x) => (y) { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }", s=np.float32(0.5), z=np.uint8(1))
    x = torch.tensor([-0.9, 0.3, 126.9, 200.0], requires_grad=True)
    y = trainable(proto)({"x": x})["y"]
    y.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))

    assert y.tolist() == [-0.5, 0.5, 127.0, 127.0]  # integers -1 clipped to 0, 2, 255, 401 clipped
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 0.0]


@pytest.mark.parametrize("between", ["p = Identity(s)", "q = QuantizeLinear(s, scale, zero)  p = DequantizeLinear(q, scale, zero)"])
def test_gradients_pass_straight_through_signs_that_products_read(graph_of, between):
    """By hand: the weights, where the input is no larger than 1; the output itself is that of signs."""
    body = between.replace("p = Identity(s)", "") + f"  y = MatMul({'s' if 'Identity' in between else 'p'}, w)"
    text = f"net (float[1,3] x) => (float[1,1] y) {{ s = Sign(x)  {body} }}"
    weights = {"w": np.array([[1.0], [2.0], [4.0]], np.float32)}
    if "Quantize" in between:
        weights |= {"scale": np.float32(1.0), "zero": np.int8(0)}
    graph, x = trainable(graph_of(text, **weights)), torch.tensor([[0.5, -0.25, 3.0]], requires_grad=True)

    made = graph({"x": x})["y"]
    made.sum().backward()

    assert made.item() == 1.0 - 2.0 + 4.0
    assert x.grad.tolist() == [[1.0, 2.0, 0.0]]


def test_signs_that_something_else_reads_have_the_slope_they_have(graph_of):
    """The root with a sign has its slope by way of the root, and none by way of the sign."""
    text = "net (float[1,2] x) => (float[1,2] y) { s = Sign(x)  a = Abs(x)  r = Sqrt(a)  y = Mul(s, r) }"
    graph, x = trainable(graph_of(text)), torch.tensor([[0.25, -4.0]], requires_grad=True)

    graph({"x": x})["y"].sum().backward()

    assert x.grad.tolist() == [[1.0, 0.25]]


def test_four_bit_weights_are_read_as_the_numbers_they_stand_for(graph_of):
    proto = graph_of("net (float[1,2] x) => (y) { w = DequantizeLinear<axis=1>(q, s)  y = MatMul(x, w) }", s=np.float32([0.5, 2.0]))
    proto.graph.initializer.append(onnx.helper.make_tensor("q", onnx.TensorProto.INT4, [2, 2], [-8, 7, 1, -1]))

    assert trainable(proto)({"x": torch.tensor([[1.0, 2.0]])})["y"].tolist() == [[-4.0 + 1.0, 14.0 - 4.0]]


def test_nothing_imports_torch_before_a_graph_is_made_trainable():
    code = "import sys, edgekit.graph.trainable, edgekit.passes.quantize.static; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

import numpy as np
import onnx
import pytest

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node, in_order
from edgekit.graph.rules import Rule, apply_rules
from edgekit.graph.shapes import infer_shapes

IF = """net (float[2] x, bool k) => (float[2] y) {
    a = Relu(x)  b = Neg(a)
    y = If(k) <then_branch = yes () => (float[2] t) { t = Tanh(a) }, else_branch = no () => (float[2] e) { e = Abs(x) }>
}"""


@pytest.fixture
def graph_of(onnx_text):
    def make(text, **arrays):
        return Graph(infer_shapes(onnx_text(text, **arrays)))

    return make


def operators(model):
    return [node.op_type for node in model.graph.node]


def test_makers_users_and_shapes_can_be_asked_for(graph_of):
    graph = graph_of("net (float[2,n] x) => (float[2,n] y) { a = Relu(x)  y = Add(a, a) }")
    relu, add = graph.nodes
    assert graph.maker("a") is relu
    assert graph.maker("a", "Tanh") is None
    assert graph.maker("x") is None
    assert graph.users("a") == [add, add]
    assert not graph.alone("a")
    assert graph.shape("a") == (2, "n")
    assert graph.static_shape("a") is None
    assert (graph.rank("a"), graph.rank("nothing")) == (2, None)
    assert graph.elem_type("a") == onnx.TensorProto.FLOAT
    assert graph.count() == {"Add": 1, "Relu": 1}


def test_constants_are_initializers_that_are_no_inputs(graph_of):
    graph = graph_of("net (float[2] x, float[2] v) => (float[2] y) { a = Add(x, v)  y = Mul(a, w) }", v=np.ones(2), w=np.full(1, 3.0))
    assert graph.constant("v") is None
    np.testing.assert_array_equal(graph.constant("w"), [3])
    assert graph.scalar("w") == 3.0
    with pytest.raises(ValueError, match="read-only"):
        graph.constant("w")[0] = 1


def test_a_bypassed_node_leaves_its_users_to_its_input(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y) { a = Identity(x)  y = Add(a, a) }")
    assert graph.can_bypass(graph.nodes[0], "x")
    graph.bypass(graph.nodes[0], "x")
    model = graph.finish()
    assert operators(model) == ["Add"]
    assert list(model.graph.node[0].input) == ["x", "x"]


def test_a_bypassed_node_before_an_output_gives_its_name_to_the_maker(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y) { a = Relu(x)  b = Tanh(a)  y = Identity(a) }")
    graph.bypass(graph.nodes[2], "a")
    model = graph.finish()
    assert [(node.op_type, list(node.output)) for node in model.graph.node] == [("Relu", ["y"])]


def test_between_an_input_and_an_output_a_node_has_to_stay(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y, float[2] z) { y = Identity(x)  a = Relu(x)  z = Identity(y) }")
    assert not graph.can_bypass(graph.nodes[0], "x")
    assert not graph.can_bypass(graph.nodes[2], "y")


def test_what_a_subgraph_reads_is_pinned(graph_of):
    graph = graph_of(IF)
    assert {"a", "x", "y"} <= graph.pinned
    assert not graph.alone("a")
    assert operators(graph.finish()) == ["Relu", "If"]


def test_one_node_takes_the_place_of_several(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y) { a = Sigmoid(x)  b = Mul(a, x)  y = Relu(b) }")
    made = graph.replace(graph.nodes[:2], "Mish", ["x"], "b")
    assert graph.maker("b") is made
    assert operators(graph.finish()) == ["Mish", "Relu"]


def test_a_constant_that_others_use_too_is_not_overwritten(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y) { a = Mul(x, w)  y = Add(a, w) }", w=np.ones(2))
    multiply = graph.nodes[0]
    graph.set_constant_input(multiply, 1, np.float32([5, 6]))
    model = graph.finish()
    values = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    assert values == {"w": [1, 1], "w_1": [5, 6]}
    assert list(model.graph.node[0].input) == ["x", "w_1"]


def test_a_constant_of_ones_own_keeps_its_name(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y) { y = Mul(x, w) }", w=np.ones(2))
    graph.set_constant_input(graph.nodes[0], 1, np.float32([[5]]))
    (tensor,) = graph.finish().graph.initializer
    assert (tensor.name, list(tensor.dims)) == ("w", [1, 1])


def test_sweeping_takes_what_only_the_node_used(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y) { a = Relu(x)  b = Tanh(a)  c = Neg(b)  y = Abs(a) }")
    graph.sweep(graph.nodes[2])
    assert [node.op for node in graph.walk()] == ["Relu", "Abs"]


def test_what_nobody_uses_is_not_written(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y) { a = Relu(x)  y = Add(x, w) }", w=np.ones(2), unused=np.ones(9))
    model = graph.finish()
    assert operators(model) == ["Add"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]


def test_nodes_are_put_in_order(onnx_text):
    proto = onnx_text("net (float[2] x) => (float[2] y) { a = Relu(x)  b = Tanh(a)  y = Add(b, a) }")
    first, second, third = (Node(node) for node in proto.graph.node)
    assert in_order([third, second, first], {"x"}) == [first, second, third]
    with pytest.raises(ValueError, match="nobody makes x"):
        in_order([first], set())


def test_a_ring_of_nodes_is_an_error(onnx_text):
    proto = onnx_text("net (float[2] x) => (float[2] y) { a = Relu(b)  b = Tanh(a)  y = Add(b, a) }")
    with pytest.raises(ValueError, match="waits for itself"):
        in_order([Node(node) for node in proto.graph.node], {"x"})


def test_rules_are_applied_until_nothing_matches(graph_of):
    graph = graph_of("net (float[2] x) => (float[2] y) { a = Neg(x)  b = Neg(a)  c = Neg(b)  d = Neg(c)  y = Relu(d) }")

    def match(graph, node):
        first = graph.maker(node.inputs[0], "Neg")
        return (first, node) if first else None

    def rewrite(graph, found):
        first, second = found
        graph.set_input(second, 0, first.inputs[0])
        graph.bypass(second, first.inputs[0])
        graph.sweep(first)

    assert apply_rules(graph, [Rule("negations", ("Neg",), match, rewrite)]) == {"negations": 2}
    assert operators(graph.finish()) == ["Relu"]

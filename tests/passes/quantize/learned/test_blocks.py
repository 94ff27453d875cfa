import numpy as np

from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.passes.quantize.learned.blocks import blocks


def of(proto):
    view = View(proto)
    return blocks(view, weighted_nodes(view))


def kernels(count, channels=4):
    return {f"w{at}": np.zeros((channels, channels, 1, 1), np.float32) for at in range(count)}


def test_a_block_ends_where_branches_meet(proto_of):
    text = """net (float[1,4,8,8] x) => (float[1,4,8,8] y) {
        a = Conv(x, w0)  b = Relu(a)
        c = Conv(b, w1)  d = Relu(c)  e = Conv(d, w2)  f = Add(e, b)
        g = Conv(f, w3)  h = Relu(g)  i = Conv(h, w4)  j = Add(i, f)
        y = Relu(j)
    }"""
    found = of(proto_of(text, **kernels(5)))

    assert [(one.inputs, one.outputs, len(one.weighted)) for one in found] == [(("x",), ("f",), 3), (("f",), ("y",), 2)]


def test_without_joins_a_block_has_four_nodes_at_most_and_ends_behind_the_smallest_tensor(proto_of):
    text = """net (float[1,4,8,8] x) => (float[1,4,4,4] y) {
        a = Conv(x, w0)  b = Conv<strides=[2,2]>(a, w1)  c = Conv(b, up)  d = Conv(c, wide)  e = Conv(d, down)  y = Conv(e, w2)
    }"""
    sizes = {"up": (16, 4, 1, 1), "wide": (16, 16, 1, 1), "down": (4, 16, 1, 1)}
    found = of(proto_of(text, **kernels(3), **{name: np.zeros(size, np.float32) for name, size in sizes.items()}))

    assert [(one.outputs, len(one.weighted)) for one in found] == [(("b",), 2), (("y",), 4)]


def test_an_activation_or_a_bias_stays_with_its_product(proto_of):
    text = "net (float[1,3,4] x) => (float[1,3,4] y) { " + "  ".join(
        f"m{at} = MatMul({'x' if at == 0 else f'r{at - 1}'}, v)  a{at} = Add(m{at}, b)  {f'r{at}' if at < 5 else 'y'} = Relu(a{at})"
        for at in range(6)
    )
    found = of(proto_of(f"{text} }}", v=np.zeros((4, 4), np.float32), b=np.zeros(4, np.float32)))

    assert [one.outputs for one in found] == [("r3",), ("y",)]


def test_tensors_that_skip_many_blocks_go_around_them(proto_of):
    chain = "  ".join(f"c{at} = Conv({'x' if at == 0 else f'c{at - 1}'}, w{at})" for at in range(10))
    found = of(proto_of(f"net (float[1,4,8,8] x) => (float[1,4,8,8] y) {{ {chain}  y = Add(c9, x) }}", **kernels(10)))

    assert [len(one.weighted) for one in found] == [4, 4, 2]
    assert [one.left for one in found] == [("x", "c3"), ("x", "c7"), ()]
    assert [one.inputs for one in found] == [("x",), ("c3",), ("x", "c7")]


def test_an_output_of_the_graph_is_one_of_its_block_and_what_has_no_weights_goes_with_the_last(proto_of):
    text = """net (float[1,4,8,8] x) => (float[1,4,8,8] s, float[1,4,1,1] y) {
        a = Conv(x, w0)  s = Sigmoid(a)  b = Conv(s, w1)  c = Add(b, s)  y = GlobalAveragePool(c)
    }"""
    found = of(proto_of(text, **kernels(2)))

    assert [(one.outputs, one.weighted) for one in found] == [(("s", "y"), ("Conv_0", "Conv_2"))]

import onnx
import pytest

from edgekit.graph.view import View
from edgekit.passes.named import literally, named


@pytest.mark.parametrize("name", ["Conv", "a/b", "it's [0]*", "!x", "^", "[", "]", "?", "a[b]c*", "Relu_1"])
def test_a_name_taken_literally_fits_its_own_node_alone(name):
    others = ["conv", "Conv_1", "a/bc", "its 0", "x", "aa", "abc", "z", "Relu_11"]
    nodes = [onnx.helper.make_node("Conv", [f"i{at}", "w"], [f"o{at}"], one) for at, one in enumerate([name, *others])]
    view = View(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [])))

    assert named(view, (literally(name),), "keep") == [name]

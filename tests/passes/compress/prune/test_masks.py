"""Which weights become zero: worked by hand."""

import numpy as np
import onnx

from edgekit.graph.sparsity import is_two_of_four, two_of_four
from edgekit.graph.structure import Structure, structures
from edgekit.passes.compress.prune import masks


def test_of_all_weights_together_the_least_go():
    scores = {"a": np.array([[5.0, 1.0], [4.0, 0.5]]), "b": np.array([[0.1, 9.0]])}

    found = masks.chosen(scores, 0.5)

    assert found["a"].tolist() == [[True, False], [True, False]]
    assert found["b"].tolist() == [[False, True]]


def test_by_layer_each_loses_its_share():
    scores = {"a": np.array([[5.0, 1.0], [4.0, 0.5]]), "b": np.array([[0.1, 9.0]])}

    found = masks.chosen(scores, 0.5, by="layer")

    assert found["a"].tolist() == [[True, False], [True, False]]
    assert found["b"].tolist() == [[False, True]]
    assert masks.chosen({"a": scores["a"]}, 0.25)["a"].tolist() == [[True, True], [True, False]]


def test_two_of_four_keeps_the_larger_two_and_fills_up_with_zeros():
    kept = two_of_four(np.array([[3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 1.0]]))

    assert kept.tolist() == [[True, False, False, True, True, True, False]]


def test_two_of_four_of_a_convolution_lies_along_its_input_channels(proto_of):
    draw = np.random.default_rng(0)
    proto = proto_of(
        "net (float[1,3,8,8] x) => (float[1,5,8,8] y) { a = Conv<pads=[1,1,1,1]>(x, w1) y = Conv<pads=[1,1,1,1]>(a, w2) }",
        w1=draw.standard_normal((32, 3, 3, 3)).astype(np.float32),
        w2=draw.standard_normal((5, 32, 3, 3)).astype(np.float32),
    )
    weights = masks.prunable(proto, frozenset())

    found, too_few = masks.in_fours(masks.scored(proto, weights, {}), weights)
    made = masks.zeroed(proto, found)

    assert too_few == ["Conv_0"]
    after = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    before = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert is_two_of_four(np.moveaxis(after["w2"], 1, -1))
    assert (np.count_nonzero(after["w2"].reshape(5, 8, 4, 9), axis=2) == 2).all()
    np.testing.assert_array_equal(after["w2"][after["w2"] != 0], before["w2"][after["w2"] != 0])
    np.testing.assert_array_equal(after["w1"], before["w1"])
    assert structures(made) == {"w2": Structure("sparse")}


def test_what_is_multiplied_with_large_numbers_counts_more(proto_of):
    proto = proto_of("net (float[1,2] x) => (float[1,2] y) { y = MatMul(x, w) }", w=np.float32([[1, 3], [2, 4]]))
    weights = masks.prunable(proto, frozenset())

    scores = masks.scored(proto, weights, {"w": np.array([100.0, 1.0])})

    np.testing.assert_allclose(scores["w"], [[10, 30], [2, 4]])

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgekit.graph.view import View  # noqa: E402
from edgekit.graph.weighted import weighted_nodes  # noqa: E402
from edgekit.numerics.affine import INT4_SYMMETRIC, Affine  # noqa: E402
from edgekit.passes.quantize.decide import Weights  # noqa: E402
from edgekit.passes.quantize.learned.soft import Soft  # noqa: E402


@pytest.fixture
def soft_of(proto_of):
    """Soft weights of a Gemm whose scale is 1, from its weights, its start and the average of its inputs."""

    def make(weight, start, average=None, scale=1.0):
        weight = np.float32(weight)
        proto = proto_of(
            f"net (float[1,{weight.shape[1]}] x) => (y) {{ y = Gemm<transB=1>(x, w, b) }}", w=weight, b=np.zeros(len(weight), np.float32)
        )
        view = View(proto)
        affine = Affine(np.full(len(weight), scale, np.float32), np.zeros(len(weight), np.int8), INT4_SYMMETRIC)
        decided = Weights(np.int8(start), affine, 0, None, np.ones(len(weight), np.float32))
        return Soft(weighted_nodes(view)["Gemm_0"], view, decided, None if average is None else np.float64(average))

    return make


def test_weights_begin_between_the_starts_integers_and_their_neighbours_nearer_to_the_start(soft_of):
    soft = soft_of([[0.5, 0.5, -2.25, 0.5, 6.75]], [[0, 1, -2, 2, 7]])

    # four tenths of the way by where the weight is, six by the start: 0.4 * 0.5, 0.4 * 0.5 + 0.6, 0.4 * 0.75 + 0.6 from -3,
    # 0.6 from 1 since the weight is below that, and 0.4 * 0.75 + 0.6 from 6
    torch.testing.assert_close(soft.soft()[0], torch.tensor([[0.2, 0.8, -3 + 0.9, 1.6, 6.9]]), rtol=0, atol=1e-5)
    assert soft.hard()[0].tolist() == soft.start()[0].tolist() == [[0.0, 1.0, -2.0, 2.0, 7.0]]


def test_no_neighbour_lies_outside_the_grid(soft_of):
    soft = soft_of([[7.4, -7.4]], [[7, -7]])

    torch.testing.assert_close(soft.soft()[0], torch.tensor([[7.0, -7.0]]))


def test_the_bias_takes_up_the_average_error(soft_of):
    soft = soft_of([[0.5, 0.25]], [[1, 0]], average=[[2.0, 4.0]])
    weight, bias = soft.hard()

    assert weight.tolist() == [[1.0, 0.0]]
    assert bias.tolist() == [-(0.5 * 2.0 - 0.25 * 4.0)]


def test_frozen_weights_are_integers_those_nearest_first_and_learn_no_more(soft_of):
    soft = soft_of([[0.9, 0.5, 0.1]], [[1, 1, 0]])  # shares 0.96, 0.8 and 0.04
    soft.freeze(2 / 3)
    weight = soft.soft()[0]
    weight.sum().backward()

    torch.testing.assert_close(weight, torch.tensor([[1.0, 0.8, 0.0]]), rtol=0, atol=1e-5)
    assert (soft.learned.grad != 0).tolist() == [[False, True, False]]


def test_learning_finds_roundings_that_together_are_nearest(soft_of):
    """Inputs that are equal: 0.4 + 0.4 + 0.4 is 1.2, which one 1 and two 0 come nearest to; to the nearest all would be 0."""
    soft = soft_of([[0.4, 0.41, 0.42]], [[0, 0, 0]])
    optimizer = torch.optim.Adam([soft.learned], lr=0.03)
    for step in range(100):
        soft.freeze(step / 100)
        optimizer.zero_grad()
        (soft.soft()[0].sum() - 1.23).square().backward()
        optimizer.step()

    assert soft.integers().sum() == 1


def test_rows_of_a_grouped_transposed_convolution_go_back_to_their_places(proto_of):
    weight = np.random.default_rng(0).integers(-7, 8, (4, 3, 2, 2)).astype(np.float32)
    view = View(proto_of("net (float[1,4,3,3] x) => (y) { y = ConvTranspose<group=2>(x, w) }", w=weight))
    affine = Affine(np.ones(3, np.float32), np.zeros(3, np.int8), INT4_SYMMETRIC)
    decided = Weights(weight.astype(np.int8), affine, 1, None, np.ones(6, np.float32))
    soft = Soft(weighted_nodes(view)["ConvTranspose_0"], view, decided, None)

    assert (soft.start()[0].numpy() == weight).all()
    assert (soft.hard()[0].numpy() == weight).all()

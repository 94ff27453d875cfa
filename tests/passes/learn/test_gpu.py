"""Training on an NVIDIA GPU: what the processor learns, learned there. All but one test need one: ``pytest -m gpu``."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.passes.learn import fit

torch = pytest.importorskip("torch")
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")]

NET = """net (float[1,3,8,8] x) => (float[1,5] y) {
    c = Conv<pads=[1,1,1,1]>(x, w, b)  r = Relu(c)  p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm(f, v, d) }"""


def net(proto_of, seed):
    drawn = np.random.default_rng(seed)
    shapes = {"w": (6, 3, 3, 3), "b": (6,), "v": (6, 5), "d": (5,)}
    return proto_of(NET, **{name: drawn.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})


@pytest.fixture
def xs():
    return np.random.default_rng(0).normal(size=(48, 3, 8, 8)).astype(np.float32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
def test_without_a_gpu_it_is_said_and_nothing_is_trained_on_the_processor_instead(proto_of, material, options, xs):
    student = net(proto_of, 1)

    with pytest.raises(UsageError, match="processor = cuda: torch sees no GPU here") as caught:
        fit(student, material(student, teachers=[net(proto_of, 2)], x=xs), options(processor="cuda"))
    assert "processor = cpu" in caught.value.hint


@pytest.mark.filterwarnings("default")
class TestOnAGpu:
    pytestmark = needs_gpu

    def test_what_is_learned_there_is_what_is_learned_here(self, proto_of, material, options, xs):
        student, teacher = net(proto_of, 1), net(proto_of, 2)
        here, there = (
            fit(student, material(student, teachers=[teacher], x=xs), options(epochs=5, rate=0.01, processor=processor))
            for processor in ("cpu", "cuda")
        )

        assert there.history[-1].held_out == pytest.approx(here.history[-1].held_out, rel=0.02)
        for name, value in here.values.items():
            np.testing.assert_allclose(there.values[name], value, atol=0.02, err_msg=name)

    def test_the_same_training_twice_gives_the_same_bits(self, proto_of, material, options, xs):
        student, teacher = net(proto_of, 1), net(proto_of, 2)
        one, other = (fit(student, material(student, teachers=[teacher], x=xs), options(epochs=3, average="ema", processor="cuda")) for _ in range(2))

        for name, value in one.values.items():
            np.testing.assert_array_equal(value, other.values[name])

    def test_the_callers_random_numbers_there_are_left_alone(self, proto_of, material, options, xs):
        torch.manual_seed(7)
        expected = torch.rand(3, device="cuda").cpu()
        torch.manual_seed(7)
        student = net(proto_of, 1)
        fit(student, material(student, teachers=[net(proto_of, 2)], x=xs), options(epochs=1, processor="cuda"))

        assert torch.equal(torch.rand(3, device="cuda").cpu(), expected)

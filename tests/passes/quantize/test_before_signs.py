"""What a sign is taken of is not rounded before."""

import msgspec
import numpy as np
import pytest

from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.passes.quantize.reasons import DECIDES_SIGN

TEXT = """net (float[1,8] x) => (float[1,8] s, float[1,4] y) {
    r = Relu(x)  c = Sub(r, mean)  n = Mul(c, factor)  s = Sign(n)  y = MatMul(s, w) }"""


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def model(model_of):
    return model_of(TEXT, mean=np.full(8, 0.01, np.float32), factor=np.full(8, 0.5, np.float32), w=normal(8, 4))


@pytest.fixture
def scheme(schemes):
    """A runtime that subtracts in integers."""
    return msgspec.structs.replace(schemes["tflite"], integer_ops=(*schemes["tflite"].integer_ops, "Sub", "Relu"))


def test_what_lies_below_a_mean_by_less_than_a_step_keeps_its_sign(model, samples_of, quantize, scheme, run):
    """Inputs up to 9 have steps of 0.035: 0 less 0.01 would be 0, and its sign, too."""
    proto = quantize(model, scheme, samples_of(x=[np.full((1, 8), value, np.float32) for value in (0.0, 9.0) * 5]))

    for value, sign in ((0.0, -1.0), (9.0, 1.0)):
        np.testing.assert_allclose(run(proto, x=np.full((1, 8), value, np.float32))[0], np.full((1, 8), sign), atol=0.01)


def test_the_record_has_the_reason(model, samples_of, scheme, tmp_path):
    (tmp_path / "out").mkdir()

    made = Quantize()(model, Supplies(samples=samples_of(x=normal(5, 1, 8, seed=1)), scheme=scheme), tmp_path / "out")

    left = made.history[-1].did["left_float"]
    assert (left["Sub_1"], left["Mul_2"]) == (DECIDES_SIGN, DECIDES_SIGN)

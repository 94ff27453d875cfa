"""Pictures of height 1 between convolutions of sequences stay pictures."""

import numpy as np
import pytest

from edgekit.passes.fuse.rules import batchnorm_after, reshapes, scale_shift_after, squeezes

RULES = (reshapes.RULE, squeezes.RULE, batchnorm_after.RULE, scale_shift_after.RULE)
RNG = np.random.default_rng(3)


def normal(*shape):
    return RNG.normal(0, 1, shape).astype(np.float32)


def row(onnx_text, body, result="float[1,4,1,7]", **arrays):
    used = {name: array for name, array in arrays.items() if name in body}
    text = f"net (float[1,3,1,9] x) => ({result} y) {{ c = Conv(x, w)  s = Squeeze(c, two)  {body} }}"
    return onnx_text(text, w=normal(4, 3, 1, 3), two=np.array([2]), **used)


@pytest.mark.parametrize(
    "body",
    [
        "m = Mul(s, k)  a = Add(m, b)  r = Relu(a)  y = Unsqueeze(r, two)",
        "n = BatchNormalization(s, q, f, f, q)  r = Relu(n)  y = Unsqueeze(r, two)",
    ],
)
def test_normalization_behind_a_squeeze_is_folded_into_the_convolution(onnx_text, becomes, body):
    before = row(onnx_text, body, k=normal(1, 4, 1), b=normal(4, 1), q=np.abs(normal(4)) + 0.5, f=normal(4))
    becomes(before, "net (float[1,3,1,9] x) => (float[1,4,1,7] y) { c = Conv(x, w, v)  y = Relu(c) }", *RULES)


def test_what_differs_along_the_row_is_added_to_pictures_too(onnx_text, becomes):
    before = row(onnx_text, "a = Add(s, k)  r = Relu(a)  y = Unsqueeze(r, two)", k=normal(7))
    becomes(before, "net (float[1,3,1,9] x) => (float[1,4,1,7] y) { c = Conv(x, w)  a = Add(c, k)  y = Relu(a) }", *RULES)


def test_a_sequence_that_is_wanted_comes_out(onnx_text, becomes):
    before = row(onnx_text, "y = Relu(s)", result="float[1,4,7]")
    becomes(before, "net (float[1,3,1,9] x) => (float[1,4,7] y) { c = Conv(x, w)  r = Relu(c)  y = Squeeze(r, two) }", *RULES)


@pytest.mark.parametrize(
    "body",
    [
        "r = Relu(s)  t = Tanh(s)  a = Add(r, t)  y = Unsqueeze(a, two)",
        "a = Add(s, s)  y = Unsqueeze(a, two)",
        "a = Softmax<axis=2>(s)  y = Unsqueeze(a, two)",
    ],
)
def test_a_squeeze_before_anything_else_stays(onnx_text, stays, body):
    stays(row(onnx_text, body), squeezes.RULE)

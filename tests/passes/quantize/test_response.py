import numpy as np
import pytest

from edgekit.graph.view import View
from edgekit.passes.quantize.response import response

POINTS = np.array([-20.0, -3.0, -1.0, 0.0, 0.5, 2.0, 20.0])


def test_a_range_before_a_hardswish_spends_no_integers_below_minus_three(model_of, samples_of, quantize, schemes, stored):
    """HardSwish is 0 below -3: what lies there may all be stored as -3."""
    text = "net (float[1,4,16,16] x) => (float[1,4,16,16] y) { c = Conv(x, w)  h = HardSwish(c)  y = Conv(h, w) }"
    generator = np.random.default_rng(0)
    samples = samples_of(x=[generator.normal(scale=4.0, size=(1, 4, 16, 16)).astype(np.float32) for _ in range(6)])
    model = model_of(text, w=np.eye(4, dtype=np.float32)[:, :, None, None])
    scale, zero_point = stored(quantize(model, schemes["x86"], samples), "c")
    whole_scale, whole_zero_point = stored(quantize(model, schemes["x86"], samples, observer="minmax"), "c")

    assert min(feed["x"].min() for feed in samples.feeds("calibrating", model.signature)) < -12.0
    assert -3.6 < -int(zero_point) * float(scale) < -2.7
    assert -int(whole_zero_point) * float(whole_scale) < -12.0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = HardSwish(x)", [0.0, 0.0, -1 / 3, 0.0, 0.5 * 3.5 / 6, 2.0 * 5 / 6, 20.0]),
        ("y = Relu(x)", [0.0, 0.0, 0.0, 0.0, 0.5, 2.0, 20.0]),
        ("y = HardSigmoid<alpha=0.25, beta=0.5>(x)", [0.0, 0.0, 0.25, 0.5, 0.625, 1.0, 1.0]),
        (
            "s = Sigmoid(x)  y = Mul(x, s)",
            [-20 / (1 + np.exp(20)), -3 / (1 + np.e**3), -1 / (1 + np.e), 0.0, 0.5 / (1 + np.exp(-0.5)), 2 / (1 + np.exp(-2)), 20],
        ),
    ],
)
def test_what_alone_reads_a_tensor_is_known_as_a_function(body, expected, proto_of):
    found = response(View(proto_of(f"net (float[7] x) => (float[7] y) {{ {body} }}")), "x")

    assert found is not None
    np.testing.assert_allclose(found(POINTS), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("body", ["y = Exp(x)", "h = HardSwish(x)  y = Add(h, x)", "s = Sigmoid(x)  m = Mul(x, s)  y = Add(m, s)", "y = Identity(x)"])
def test_a_tensor_that_others_read_too_has_no_such_function(body, proto_of):
    assert response(View(proto_of(f"net (float[7] x) => (float[7] y) {{ {body} }}")), "x") is None

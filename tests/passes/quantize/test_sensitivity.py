"""What each rounding costs, against sums worked out in numpy."""

import numpy as np
import onnx
import pytest

from edgekit.passes.contract import Supplies
from edgekit.passes.quantize.mixed import Aim
from edgekit.passes.quantize.sensitivity import Trial, sensitivity
from edgekit.passes.quantize.static import Static, ready

PLAIN = Static(
    observer="minmax",
    percentile=100.0,
    rounding="nearest",
    correct_bias=False,
    keep_float=(),
    aim=Aim(None),
    max_float_share=0.25,
    float_if_free=False,
)


def found_in(model, samples, scheme, how=PLAIN):
    proto = onnx.load(model.path)
    looked_at = ready(model, proto, Supplies(samples=samples, scheme=scheme), how)
    trial = Trial(proto, list(samples.feeds("calibrating", model.signature)))
    decision = looked_at.decide(looked_at.place({}))
    return trial, decision, sensitivity(trial, decision, weights=True, samples=trial.samples)


def as_uint8(values):
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


def power(values):
    return np.square(values.astype(np.float64)).sum()


def test_the_error_of_each_part_of_a_product_is_that_worked_out_by_hand(model_of, samples_of, schemes):
    draw = np.random.default_rng(4)
    w = draw.normal(size=(8, 5)).astype(np.float32)
    pictures = [draw.normal(size=(1, 6, 8)).astype(np.float32) for _ in range(5)]
    model = model_of("net (float[1,6,8] x) => (float[1,6,5] y) { y = MatMul(x, w) }", w=w)
    samples = samples_of(x=pictures)
    _, _, found = found_in(model, samples, schemes["x86"])
    seen = np.stack([feed["x"] for feed in samples.feeds("calibrating", model.signature)])
    outputs = seen @ w
    scale = np.abs(w).max(axis=0) / 127
    w_rounded = np.rint(w / scale) * scale

    def cost(changed):
        return pytest.approx(power(changed - outputs) / power(outputs), rel=0.01)

    assert found.samples == 4
    assert found.groups == {"x": cost(as_uint8(seen) @ w), "y": cost(as_uint8(outputs))}
    assert found.weights == {"MatMul_0": cost(seen @ w_rounded)}


def test_errors_that_have_nothing_to_do_with_one_another_add_up(model_of, samples_of, schemes):
    text = "net (float[1,16,8,8] x) => (float[1,8,8,8] y) { a = Conv(x, w)  r = Relu(a)  b = Conv(r, v)  s = Relu(b)  y = Conv(s, u) }"
    draw = np.random.default_rng(8)
    shapes = {"w": (32, 16, 1, 1), "v": (16, 32, 1, 1), "u": (8, 16, 1, 1)}
    model = model_of(text, **{name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
    samples = samples_of(x=[draw.normal(size=(1, 16, 8, 8)).astype(np.float32) for _ in range(6)])
    trial, decision, found = found_in(model, samples, schemes["x86"])
    together = sum(found.groups.values()) + sum(found.weights.values())

    assert set(found.groups) == {"x", "r", "s", "y"}
    assert together == pytest.approx(trial.error(decision), rel=0.12)  # half a decibel


def test_what_a_placement_stores_in_float_costs_nothing(uneven, schemes):
    model, samples = uneven
    proto = onnx.load(model.path)
    looked_at = ready(model, proto, Supplies(samples=samples, scheme=schemes["x86"]), PLAIN)
    _, decision, found = found_in(model, samples, schemes["x86"])
    kept = looked_at.place(dict.fromkeys(("Conv_0", "Conv_2"), "kept"))

    assert found.of_activations(decision.placement) == pytest.approx(sum(found.groups.values()))
    assert found.of_activations(kept) == pytest.approx(found.groups["r"] + found.groups["y"])

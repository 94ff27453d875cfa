"""What a report says of nodes that stay float though they could be integer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.pipeline.remarks import on_steps
from edgekit.report import StepEntry

NET = """<ir_version: 8, opset_import: ["" : 17]> net (float[1,3,16,16] x) => (float[1,4,16,16] y) {
    a = Conv(x, w)  r = Relu(a)  b = Conv<pads=[1,1,1,1], group=8>(r, v)  s = Relu(b)  y = Conv(s, u)
}"""


@pytest.fixture
def uneven(tmp_path):
    """A network between whose last two convolutions one channel is a thousand times the others, and counts no more."""
    draw = np.random.default_rng(5)
    weights = {name: draw.normal(size=size) for name, size in (("w", (8, 3, 1, 1)), ("v", (8, 1, 3, 3)), ("u", (4, 8, 1, 1)))}
    weights["v"] = np.abs(weights["v"])
    weights["v"][0] *= 1000.0
    weights["u"][:, 0] /= 1000.0
    proto = onnx.parser.parse_model(NET)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items())
    onnx.save(proto, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


WITHOUT_EQUALIZING = """schema = 1
name = "bare"
[[step]]
pass = "quantize"
mode = "static"
"""


@pytest.fixture
def remarks(uneven, arrays, store, tmp_path):
    """What the report of a build for x86 says of its engine; no step makes channels alike."""
    (tmp_path / "bare.toml").write_text(WITHOUT_EQUALIZING)
    samples = arrays("x", (3, 16, 16))

    def of(**quantize):
        given = {"recipe": str(tmp_path / "bare.toml"), "settings": {"quantize": quantize}, "samples": samples, "bench": False, "store": store}
        return edgekit.build(uneven, target="x86", out=tmp_path / "out", **given).engines[0].remarks

    return of


def test_nodes_kept_for_a_budget_are_named_with_what_they_gain(remarks):
    (said,) = [one for one in remarks(min_sqnr_db=30.0, max_float_share=1.0, float_if_free=False) if "stay" in one]

    assert " float, " in said
    assert " for the budget: " in said
    assert "dB without, " in said
    assert "with them in float, on samples that calibrate" in said


def test_a_budget_that_was_not_reached_is_said_with_what_to_do(remarks):
    (said,) = [one for one in remarks(min_sqnr_db=30.0, max_float_share=0.01, float_if_free=False) if "did not reach" in one]

    assert "quantize did not reach its budget on the samples that calibrate (min_sqnr_db = 30: " in said
    assert "1% of the multiply-adds" in said
    assert "--set quantize.max_float_share=0.5" in said


def test_where_all_is_integer_nothing_is_said(remarks):
    assert not [one for one in remarks(min_sqnr_db=-50.0, float_if_free=False) if "float" in one]


def learned(**record):
    """What is said of a step that has this record."""
    return on_steps([StepEntry(name="own", did=record)])


STAYED = [{"step": 0, "held_out": -5.0}, {"step": 4, "held_out": -4.5}, {"step": 8, "held_out": float("nan")}]


@pytest.mark.parametrize(
    "record",
    [
        {"learned": True},
        {"learned": ["a"]},
        {"learned": {"a": 1}},
        {"learned": None},
        {"learned": [{"loss": 1}]},
        {"kept_step": 0},
        {"kept_step": 0, "steps": 8, "curve": 3},
        {"kept_step": 0, "steps": 8, "curve": [{"step": 4, "held_out": 1.0}, {"step": 8, "held_out": 2.0}]},
        {"kept_step": 0, "steps": 8, "curve": [{"step": 0, "held_out": 1.0}, {"step": 8, "held_out": 0.5}]},
        {"kept_step": 4, "steps": 8, "curve": STAYED},
    ],
)
def test_a_record_of_a_pass_of_ones_own_that_tells_of_no_start_kept_has_nothing_said_of_it(record):
    assert learned(**record) == ()


def test_a_start_that_was_never_bettered_is_said_of_each_part_of_a_step():
    (said,) = learned(learned=[{"kept_step": 4, "steps": 8, "curve": STAYED}, {"kept_step": 0, "steps": 8, "curve": STAYED}])

    assert said.startswith("own, part 2 kept the start: in 8 steps of training the loss of the samples held out was never below the -5 ")
    assert "(-4.5 at best)" in said

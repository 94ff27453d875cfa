"""A whole build for an Ethos-U: what is judged, what is not measured, what the reports say."""

import importlib.util

import numpy as np
import onnx
import pytest

from edgekit.errors import PlanError, UsageError
from edgekit.pipeline.building import run
from edgekit.pipeline.doctor import target_needs
from edgekit.pipeline.look import rehearse
from edgekit.plan import Request, check
from edgekit.report import read_report

NEEDS_VELA = pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="needs the extra ethos-u")
NET = """<ir_version: 10, opset_import: ["" : 21]> net (float[1,3,16,16] x) => (float[1,5] y) {
    a = Conv<strides = [2,2], pads = [1,1,1,1]>(x, w)  h = Relu(a)  g = GlobalAveragePool(h)  f = Flatten(g)
    d = Gemm(f, m)  y = LogSoftmax(d)
}"""


@pytest.fixture
def net(tmp_path):
    proto = onnx.parser.parse_model(NET)
    random = np.random.default_rng(0)
    for name, shape in (("w", (8, 3, 3, 3)), ("m", (8, 5))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name))
    onnx.save(proto, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@NEEDS_VELA
def test_the_report_has_an_estimate_and_no_latency(net, arrays, store, tmp_path):
    targets = ("ethos-u55-128", "ethos-u85")
    report = run(Request(source=net, targets=targets, samples=arrays("x", (1, 3, 16, 16))), out=tmp_path / "out", store=store)
    first, second = report.engines

    assert [entry.key for entry in report.engines] == ["ethos-u55-128-ethos-u", "ethos-u85-256-ethos-u"]
    assert first.latency is None
    assert "no device that edgekit reaches runs ethos-u engines" in first.latency_reason
    assert first.fidelity.sqnr_db > 20
    assert first.fidelity == second.fidelity
    assert not first.fidelity.judged_on.is_target
    assert any("model.tflite, which Vela compiled" in remark for remark in first.remarks)
    assert [(one.op, one.reason) for one in first.npu.cpu_operators] == [("LOG_SOFTMAX", "Unsupported opType")]
    assert first.npu.macs == 8 * 8 * 8 * 3 * 3 * 3 + 8 * 5 + 8 * 8 * 8  # Vela counts the mean's, too
    assert [path.rpartition("/")[2] for path in first.snippets] == ["run.cc"]
    assert read_report(tmp_path / "out" / "report.json") == report
    for name in ("report.md", "report.html"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "nothing here was measured" in text
        assert "Unsupported opType" in text


@NEEDS_VELA
def test_engines_that_share_the_judged_file_are_judged_once(net, arrays, store, tmp_path):
    request = Request(source=net, targets=("ethos-u55-128", "ethos-u65-256"), samples=arrays("x", (1, 3, 16, 16)))
    run(request, out=tmp_path / "out", bench=False, store=store)

    assert (tmp_path / "out" / "log.txt").read_text().count("check stand-in-tflite") == 1


@NEEDS_VELA
def test_the_plan_names_what_stays_on_the_cpu_before_anything_calibrates(net, arrays, store):
    request = Request(source=net, targets=("ethos-u55-128", "x86"), samples=arrays("x", (1, 3, 16, 16)))
    remarks = rehearse(request, store=store).remarks
    drafted = [remark for remark in remarks if "drafted before anything calibrates" in remark]

    assert [remark.partition(",")[0] for remark in drafted] == ["ethos-u55-128-ethos-u"] * 2
    assert "not measured" in drafted[0]
    assert drafted[1].endswith("on the CPU: 1 LOG_SOFTMAX (y): Unsupported opType")


@pytest.mark.parametrize("recipe", ["fp16", "float"])
def test_a_recipe_that_makes_no_integers_is_refused_by_the_plan(recipe, net):
    with pytest.raises((PlanError, UsageError), match=f"ethos-u55-128-ethos-u computes in integers alone, and recipe {recipe} makes none"):
        check(Request(source=net, targets=("ethos-u55-128",), recipe=recipe))


@pytest.mark.parametrize("recipe", ["dynamic_wi8_afp32", "weight_only_wi8_afp32", "static_wi8_ai16", "static_wi4_ai8", "bf16"])
def test_a_recipe_whose_integers_the_npu_does_not_have_is_refused_by_the_plan(recipe, net, arrays):
    with pytest.raises((PlanError, UsageError)):
        check(Request(source=net, targets=("ethos-u55-128",), recipe=recipe, samples=arrays("x", (1, 3, 16, 16))))


def test_doctor_says_what_builds_and_that_nothing_here_runs_it():
    (need,) = [need for need in target_needs() if need.target == "ethos-u55-128"]
    is_there = importlib.util.find_spec("ethosu") is not None

    assert (need.runtime, need.builds, need.runs_here) == ("ethos-u", is_there, False)
    assert need.remedy == ("" if is_there else "pip install 'edgekit[ethos-u]'")

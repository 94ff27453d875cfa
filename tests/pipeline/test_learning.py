"""A recipe with a step that trains, from the request to the report."""

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.errors import TrainingError, UsageError

pytest.importorskip("torch")

RECIPE = """schema = 1
name = "tuned"
metrics = {metrics}
[[step]]
pass = "finetune"
epochs = {epochs}
threads = 1
outputs = "values"
labels = 0
optimizer = "sgd"
rate = {rate}
"""


@pytest.fixture
def project(tmp_path):
    drawn = np.random.default_rng(0)
    text = """<ir_version: 10, opset_import: ["" : 21]> net (float[1,3,8,8] x) => (float[1,2] y) {
        c = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(c)  p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm(f, v) }"""
    proto = onnx.parser.parse_model(text)
    for name, shape in (("w", (4, 3, 3, 3)), ("v", (4, 2))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(drawn.normal(size=shape).astype(np.float32), name))
    onnx.save(proto, tmp_path / "net.onnx")
    rows = ["file,class_index"]
    (tmp_path / "samples").mkdir()
    for at in range(24):
        np.savez(tmp_path / "samples" / f"{at}.npz", x=drawn.normal(size=(3, 8, 8)).astype(np.float32))
        rows += [f"{at}.npz,{at % 2}"]
    (tmp_path / "samples" / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def build(project, store, target="x86-64-avx2", **recipe):
    (project / "tuned.toml").write_text(RECIPE.format(**{"epochs": 3, "metrics": "[]", **recipe}))
    return edgekit.build(
        project / "net.onnx",
        target=target,
        samples=project / "samples",
        recipe=str(project / "tuned.toml"),
        out=project / "out",
        bench=False,
        store=store,
    )


def test_the_report_holds_the_curve_and_a_second_build_takes_it_from_the_store(project, store):
    step = next(one for one in build(project, store, rate=0.01).steps if one.name == "finetune")
    assert [one["step"] for one in step.did["curve"]] == [0, 1, 2, 3]
    assert (step.did["samples"], step.did["labelled"], step.did["teachers"]) == (12, 12, 1)
    again = next(one for one in build(project, store, rate=0.01).steps if one.name == "finetune")
    assert again.cached
    assert not list((store.root / "unfinished").glob("*"))


def test_a_training_that_diverged_leaves_its_checkpoint_in_the_store_and_another_rate_works(project, store):
    with pytest.raises(TrainingError, match=r"the weights before it are in .*unfinished"):
        build(project, store, rate=1000, epochs=60)
    assert len(list(store.root.glob("unfinished/*/training.pt"))) == 1
    assert build(project, store, rate=0.01).steps
    removed, _ = store.clean()
    assert removed > 1
    assert not list(store.root.glob("unfinished/*"))


def test_labelled_samples_have_precision_recall_and_confusions_in_the_report(project, store):
    pytest.importorskip("torchmetrics")
    entry = build(project, store, rate=0.01).engines[0]
    assert set(entry.metrics) == {"precision", "recall", "f1"}
    assert sum(map(sum, entry.accuracy.confusion)) == entry.accuracy.n == 12
    right = sum(entry.accuracy.confusion[at][at] for at in range(2))
    assert right / 12 == pytest.approx(entry.accuracy.top1)
    for file in ("report.md", "report.html"):
        assert "precision" in (project / "out" / file).read_text()


def test_a_metric_that_is_not_installed_is_a_fault_of_the_plan(project, store):
    with pytest.raises(UsageError, match="metric mious: not installed; did you mean miou"):
        build(project, store, rate=0.01, metrics='["mious"]')


def test_a_training_that_kept_its_start_is_said_in_the_summary(project, store):
    """The teacher is the model as it was, so that nothing can be nearer to it than the start."""
    report = build(project, store, target=["x86-64-avx2", "raspberry-pi-5:onnxruntime"], rate=0.01)

    (line,) = [remark for remark in report.remarks if "kept the start" in remark]
    assert line.startswith("finetune kept the start: in 3 steps of training the loss of the samples held out was never below the ")
    assert line.endswith(" at best); a lower rate or more samples may help.")
    assert line in str(report)
    assert "accuracy" in report.summary_columns()

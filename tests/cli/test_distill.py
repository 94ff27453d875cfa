"""``edgekit distill``: teachers and a student in, a student that answers as they do out."""

import json

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

TEXT = """<ir_version: 10, opset_import: ["" : 21]> net (float[1,4] x) => (float[1,{classes}] y) {{ l = Gemm(x, w)  y = Softmax(l) }}"""
SIGNS = np.array([[2, -2, 0], [0, 2, -2], [-2, 0, 2], [1, 1, -2]], np.float32)


@pytest.fixture
def project(tmp_path):
    def net(name, w):
        proto = onnx.parser.parse_model(TEXT.format(classes=w.shape[1]))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(w.astype(np.float32), "w"))
        onnx.save(proto, tmp_path / name)

    net("big.onnx", SIGNS)
    net("other.onnx", 3 * SIGNS)
    net("small.onnx", np.zeros((4, 3)))
    net("two.onnx", np.zeros((4, 2)))
    (tmp_path / "samples").mkdir()
    rows, drawn = ["file,class_index"], np.random.default_rng(0)
    for at in range(64):
        x = drawn.normal(size=4).astype(np.float32)
        np.savez(tmp_path / "samples" / f"{at}.npz", x=x)
        rows += [f"{at}.npz,{(x @ SIGNS).argmax()}"]
    (tmp_path / "samples" / "labels.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.fixture
def distill(edgekit, project, monkeypatch):
    monkeypatch.setenv("EDGEKIT_STORE", str(project / "store"))
    monkeypatch.chdir(project)

    def call(*more, teachers=("big.onnx",), student="small.onnx", samples="samples"):
        named = [word for teacher in teachers for word in ("--teacher", teacher)]
        given = ["--samples", samples] if samples else []
        return edgekit("distill", *named, "--student", student, *given, "-o", "out", "--set", "distill.threads=1", *more)

    return call


def test_a_student_learns_what_an_ensemble_answers_and_the_model_is_written(distill, project):
    said = distill("--set", "distill.epochs=100", "--set", "distill.rate=0.05", teachers=("big.onnx", "other.onnx"))
    assert said.status == 0
    assert "student before small.onnx: 12 parameters" in said.out
    after = next(line for line in said.out.splitlines() if line.startswith("student after"))
    assert float(after.rpartition("on ")[2].removesuffix(" %")) > 80.0
    w = onnx.numpy_helper.to_array(onnx.load(project / "out" / "model.onnx").graph.initializer[0])
    assert (w.argmax(1) == SIGNS.argmax(1))[:3].all()  # the fourth row ties


def test_with_a_target_it_is_built_and_compared_with_the_student_that_learned(distill, project):
    said = distill("--set", "distill.epochs=20", "--target", "x86-64-avx2", "--no-bench", "--json")
    report = json.loads(said.out)
    assert said.status == 0
    assert report["engines"][0]["fidelity"]["top1_agreement"] == 1.0
    assert [step["name"] for step in report["steps"]][:4] == ["ingest", "simplify", "fuse", "distill"]
    assert (project / "out" / report["engines"][0]["path"]).exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"teachers": ("gone.onnx",)}, "gone.onnx: no such file"),
        ({"samples": ""}, "distill: needs samples: --samples DIR"),
        ({"student": "two.onnx"}, "y has 2 numbers a sample in the student, 3 in the teacher"),
        ({"samples": "nothing"}, "no pictures in it"),
    ],
)
def test_what_cannot_be_distilled_is_said_in_a_line_with_a_hint(distill, project, given, said):
    (project / "nothing").mkdir()
    answer = distill("--set", "distill.labels=0", **given)
    assert answer.status in (1, 2)
    assert said in answer.err
    assert "hint:" in answer.err
    assert "Traceback" not in answer.err


def test_labels_out_of_range_are_said(distill, project):
    labels = project / "samples" / "labels.csv"
    labels.write_text(labels.read_text().replace(",2", ",7"))
    answer = distill()
    assert answer.status == 1
    assert "label 7 is none of the model's 3 classes" in answer.err


def test_a_recipe_cannot_name_it(edgekit, project, monkeypatch):
    monkeypatch.chdir(project)
    (project / "r.toml").write_text('schema = 1\nname = "r"\n[[step]]\npass = "distill"\n')
    answer = edgekit("plan", "small.onnx", "--target", "x86-64-avx2", "--samples", "samples", "--recipe", "r.toml")
    assert answer.status == 2
    assert "step 1 (distill): comes before every recipe: edgekit distill" in answer.err

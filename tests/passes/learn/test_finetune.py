import sys

import numpy as np
import onnx
import pytest

from edgekit.errors import MissingExtraError, SamplesError, UsageError
from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.graph.structure import Structure, set_structures, structures
from edgekit.model import Preprocess, Signature, Tensor, seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.learn import material_of
from edgekit.passes.learn.distill import Distill
from edgekit.passes.learn.finetune import Finetune
from edgekit.samples import read_samples
from edgekit.testing import check_pass

pytest.importorskip("torch")

TEXT = "net (float[1,3] x) => (float[1,2] y) { l = Gemm(x, w, b)  y = Softmax(l) }"
TWO = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]], np.float32)


@pytest.fixture
def model_of(tmp_path, proto_of):
    def make(name, w, structure=None):
        folder = tmp_path / name
        folder.mkdir()
        proto = proto_of(TEXT, w=np.asarray(w, np.float32), b=np.zeros(2, np.float32))
        if structure is not None:
            set_structures(proto, {"w": structure})
        onnx_file.save(proto, folder)
        return seal_model(folder, signature_of(proto), ())

    return make


@pytest.fixture
def samples(tmp_path):
    """Forty arrays, half of which train; labels as the second input's sign says, of some."""

    def make(labelled=False):
        folder = tmp_path / "samples"
        folder.mkdir()
        drawn, rows = np.random.default_rng(0), ["file,class_index"]
        for at in range(40):
            x = drawn.normal(size=3).astype(np.float32)
            np.savez(folder / f"{at:02}.npz", x=x)
            rows += [f"{at:02}.npz,{int(x[1] > 0)}"] if labelled else []
        if labelled:
            (folder / "labels.csv").write_text("\n".join(rows))
        return read_samples(folder)

    return make


def weight(model, name="w"):
    return next(onnx.numpy_helper.to_array(one) for one in onnx.load(model.path).graph.initializer if one.name == name)


def test_it_keeps_the_contract_of_passes(model_of, samples, tmp_path):
    (tmp_path / "work").mkdir()
    supplies = Supplies(samples=samples(), teacher=model_of("teacher", TWO))
    check_pass(Finetune(epochs=2, threads=1), model_of("student", TWO / 2), supplies, tmp_path / "work")


def test_a_pruned_model_comes_nearer_to_the_one_before_and_stays_pruned(model_of, samples, tmp_path):
    student = model_of("student", [[0.2, 0.0], [0.0, 1.0], [1.0, 0.0]], Structure("sparse"))
    supplies = Supplies(samples=samples(), teacher=model_of("teacher", TWO))
    (tmp_path / "out").mkdir()
    tuned = Finetune(epochs=60, rate=0.05, threads=1)(student, supplies, tmp_path / "out")
    assert (weight(tuned) == 0).tolist() == [[False, True], [True, False], [False, True]]
    assert structures(onnx.load(tuned.path)) == {"w": Structure("sparse")}
    did = tuned.history[-1].did
    assert did["kept_step"] > 0
    assert did["curve"][0]["held_out"] > 2 * did["curve"][-1]["held_out"]
    assert (did["samples"], did["labelled"], did["teachers"]) == (20, 0, 1)


def test_labels_alone_are_learned_from_where_their_share_is_one(model_of, samples, tmp_path):
    supplies = Supplies(samples=samples(labelled=True), teacher=model_of("teacher", -TWO))
    (tmp_path / "out").mkdir()
    tuned = Finetune(epochs=60, rate=0.05, labels=1.0, threads=1)(model_of("student", np.zeros((3, 2))), supplies, tmp_path / "out")
    assert tuned.history[-1].did["teachers"] == 0
    assert weight(tuned)[1, 1] > weight(tuned)[1, 0]  # the teacher says the opposite


def test_samples_that_judge_are_not_looked_at(samples, model_of):
    held = samples()
    for sample in held.judging:
        sample.path.unlink()
    assert material_of(held, model_of("student", TWO).signature).count == 20


def test_samples_of_different_sizes_are_refused(tmp_path):
    folder = tmp_path / "sizes"
    folder.mkdir()
    for at in range(8):
        np.savez(folder / f"{at}.npz", x=np.zeros((1, 3 + at), np.float32))
    signature = Signature(inputs=(Tensor("x", "float32", (1, "n")),), outputs=())
    with pytest.raises(SamplesError, match=r"x has the shape .*, the samples before it"):
        material_of(read_samples(folder), signature)


def test_samples_with_nan_are_named(tmp_path, model_of):
    folder = tmp_path / "nan"
    folder.mkdir()
    for at in range(4):
        np.savez(folder / f"{at}.npz", x=np.full(3, np.nan, np.float32))
    with pytest.raises(SamplesError, match=r"\d.npz: x holds NaN or infinity"):
        material_of(read_samples(folder), model_of("student", TWO).signature)


def test_pictures_are_decoded_as_the_signature_says(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for at in range(4):
        Image.new("RGB", (4, 4), (10, 20, 30)).save(folder / f"{at}.png")
    signature = Signature(inputs=(Tensor("x", "float32", (1, 3, 4, 4), "nchw"),), outputs=(), preprocess=Preprocess(mean=(10.0,), std=(10.0,)))
    inputs = material_of(read_samples(folder), signature).inputs["x"]
    assert inputs.shape == (2, 1, 3, 4, 4)
    assert inputs[0, 0, :, 0, 0].tolist() == [0.0, 1.0, 2.0]


def test_many_samples_lie_in_a_file(tmp_path, model_of, samples, monkeypatch):
    monkeypatch.setattr("edgekit.passes.learn.material.HELD_BYTES", 8)
    held = samples()
    inputs = material_of(held, model_of("student", TWO).signature).inputs["x"]
    assert isinstance(inputs, np.memmap)
    for row, sample in zip(inputs, held.calibrating, strict=True):
        np.testing.assert_array_equal(row[0], np.load(sample.path)["x"])


def test_without_torch_it_says_what_to_install(model_of, samples, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    supplies = Supplies(samples=samples(), teacher=model_of("teacher", TWO))
    with pytest.raises(MissingExtraError) as caught:
        Finetune()(model_of("student", TWO), supplies, tmp_path)
    assert caught.value.hint == "pip install 'edgekit[torch]'"


def test_without_kornia_pictures_are_not_changed_silently(model_of, samples, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    supplies = Supplies(samples=samples(), teacher=model_of("teacher", TWO))
    with pytest.raises(MissingExtraError) as caught:
        Finetune(flip="horizontal")(model_of("student", TWO), supplies, tmp_path)
    assert caught.value.hint == "pip install 'edgekit[augment]'"


def test_a_teacher_of_larger_pictures_sees_the_files_in_its_own_size(tmp_path, proto_of):
    """Both say the mean of a picture of one grey, the student's after a weight: it learns that the weight is 1."""
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for at in range(24):
        Image.new("L", (8, 8), 10 * at).save(folder / f"{at:02}.png")
    how = Preprocess(colour="grey", mean=(100.0,), std=(50.0,))

    def model(name, size, text, **weights):
        (tmp_path / name).mkdir()
        proto = proto_of(text, **weights)
        onnx_file.save(proto, tmp_path / name)
        signature = Signature(inputs=(Tensor("x", "float32", (1, 1, size, size), "nchw"),), outputs=signature_of(proto).outputs, preprocess=how)
        return seal_model(tmp_path / name, signature, ())

    teacher = model("big", 8, "net (float[1,1,8,8] x) => (float[1,1,1,1] y) { y = GlobalAveragePool(x) }")
    text = "net (float[1,1,4,4] x) => (float[1,1,1,1] y) { a = GlobalAveragePool(x)  y = Conv(a, w) }"
    student = model("small", 4, text, w=np.zeros((1, 1, 1, 1), np.float32))
    (tmp_path / "out").mkdir()
    supplies = Supplies(samples=read_samples(folder), teachers=(teacher,))
    tuned = Distill(epochs=100, rate=0.1, weight_decay=0.0, threads=1)(student, supplies, tmp_path / "out")
    assert weight(tuned).item() == pytest.approx(1.0, abs=0.01)

    (tmp_path / "flipped").mkdir()
    pytest.importorskip("kornia")
    with pytest.raises(UsageError, match="another size or colour"):
        Distill(flip="horizontal", threads=1)(student, supplies, tmp_path / "flipped")


def test_an_inner_tensor_that_the_teacher_does_not_make_is_named_with_its_option(model_of, samples, tmp_path):
    (tmp_path / "out").mkdir()
    supplies = Supplies(samples=samples(), teacher=model_of("teacher", TWO))

    with pytest.raises(UsageError, match="match: no node of the teacher makes nowhere") as caught:
        Finetune(epochs=1, match=("l=nowhere",))(model_of("student", 0 * TWO), supplies, tmp_path / "out")
    assert "edgekit inspect" in caught.value.hint

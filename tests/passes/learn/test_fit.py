import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from edgekit.errors import SamplesError, TrainingError, UnsupportedError, UsageError
from edgekit.graph.structure import Structure, set_structures
from edgekit.passes.learn import fit, loop, loss
from edgekit.passes.learn.technique import Group, Technique

torch = pytest.importorskip("torch")

LINE = "net (float[1,3] x) => (float[1,2] y) { y = Gemm(x, w, b) }"
CLASSES = "net (float[1,3] x) => (float[1,2] y) { l = Gemm(x, w, b)  y = Softmax(l) }"
TWO = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]], np.float32)


def line(proto_of, text=LINE, w=TWO, b=(0.5, -0.5)):
    return proto_of(text, w=np.asarray(w, np.float32), b=np.asarray(b, np.float32))


@pytest.fixture
def xs():
    return np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)


def test_a_linear_student_comes_to_the_weights_of_its_linear_teacher(proto_of, material, options, xs):
    teacher, student = line(proto_of), line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    fitted = fit(student, material(student, teachers=[teacher], x=xs), options(epochs=200, rate=0.05, weight_decay=0.0))
    np.testing.assert_allclose(fitted.values["w"], TWO, atol=0.02)
    np.testing.assert_allclose(fitted.values["b"], [0.5, -0.5], atol=0.02)


def test_a_classifier_learns_its_teachers_logits_up_to_a_shift(proto_of, material, options, xs):
    """Equal probabilities leave one degree of freedom: the differences between the classes' logits are the teacher's."""
    teacher, student = line(proto_of, CLASSES), line(proto_of, CLASSES, w=np.zeros((3, 2)), b=(0, 0))
    fitted = fit(student, material(student, teachers=[teacher], x=xs), options(epochs=300, rate=0.05, weight_decay=0.0))
    np.testing.assert_allclose(fitted.values["w"][:, 0] - fitted.values["w"][:, 1], [1.0, -2.0, 2.0], atol=0.02)
    np.testing.assert_allclose(fitted.values["b"][0] - fitted.values["b"][1], 1.0, atol=0.02)


def test_labels_alone_tell_two_classes_apart(proto_of, material, options, xs):
    student = line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    labels = (xs[:, 1] > 0).astype(int)
    fitted = fit(student, material(student, labels=labels, x=xs), options(epochs=100, rate=0.05))
    made = xs @ fitted.values["w"] + fitted.values["b"]
    assert (made.argmax(1) == labels).mean() > 0.95
    assert fitted.history[0].accuracy < 0.7 < fitted.history[-1].accuracy


def test_values_of_a_teacher_of_two_are_their_mean(proto_of, material, options, xs):
    student = line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    teachers = [line(proto_of), line(proto_of, w=3 * TWO, b=(1.5, -0.5))]
    fitted = fit(student, material(student, teachers=teachers, x=xs), options(epochs=200, rate=0.2, weight_decay=0.0))
    np.testing.assert_allclose(fitted.values["w"], 2 * TWO, atol=0.02)
    np.testing.assert_allclose(fitted.values["b"], [1.0, -0.5], atol=0.02)


def test_weights_that_are_the_teachers_already_are_kept(proto_of, material, options, xs):
    student = line(proto_of)
    fitted = fit(student, material(student, teachers=[student], x=xs), options(epochs=3, rate=0.1))
    assert fitted.kept_step == 0
    np.testing.assert_array_equal(fitted.values["w"], TWO)


def test_training_ends_after_the_epochs_that_patience_gives(proto_of, material, options, xs):
    student = line(proto_of)
    fitted = fit(student, material(student, teachers=[student], x=xs), options(epochs=50, rate=0.1, patience=2, held_out=0.25, batch=16))
    assert (fitted.steps, fitted.planned) == (2 * 3, 50 * 3)  # 48 samples train, 16 a step


def test_zeros_of_a_sparse_weight_stay_zero(proto_of, material, options, xs):
    student = line(proto_of, w=[[1.0, 0.0], [0.0, 1.0], [0.5, 1.0]])
    set_structures(student, {"w": Structure("sparse")})
    fitted = fit(student, material(student, teachers=[line(proto_of, w=TWO + 1.0)], x=xs), options(epochs=20, rate=0.05))
    assert fitted.kept_step > 0
    assert (fitted.values["w"] == 0).tolist() == [[False, True], [True, False], [False, False]]


def test_numbers_that_share_a_value_share_it_after_training(proto_of, material, options, xs):
    student = line(proto_of, w=[[1.0, 2.0], [1.0, 0.0], [2.0, 2.0]])
    set_structures(student, {"w": Structure("codebook")})
    fitted = fit(student, material(student, teachers=[line(proto_of)], x=xs), options(epochs=20, rate=0.05))
    w = fitted.values["w"]
    assert w[0, 0] == w[1, 0] != 1.0
    assert w[0, 1] == w[2, 0] == w[2, 1] != 2.0
    assert w[1, 1] == 0.0


def test_each_slice_has_a_codebook_of_its_own(proto_of, material, options, xs):
    student = line(proto_of, w=[[1.0, 1.0], [1.0, 2.0], [3.0, 1.0]])
    set_structures(student, {"w": Structure("codebook", axis=1)})
    w = fit(student, material(student, teachers=[line(proto_of)], x=xs), options(epochs=20, rate=0.05)).values["w"]
    assert w[0, 0] == w[1, 0]
    assert w[0, 1] == w[2, 1]
    assert w[0, 0] != w[0, 1]


@pytest.mark.parametrize(("kind", "axis"), [("ternary", None), ("ternary", 1), ("binary", 1)])
def test_signs_stay_and_magnitudes_learn(proto_of, material, options, xs, kind, axis):
    signs = np.array([[1, -1], [1, 1], [-1, 1]]) * (1 if kind == "binary" else np.array([[1, 0], [0, 1], [1, 1]]))
    student, teacher = line(proto_of, w=0.5 * signs), line(proto_of, w=signs * [2.0, 3.0])
    set_structures(student, {"w": Structure(kind, axis=axis)})
    w = fit(student, material(student, teachers=[teacher], x=xs), options(epochs=20, rate=0.05)).values["w"]
    np.testing.assert_array_equal(np.sign(w), signs)
    for part in w.T if axis == 1 else [w]:
        assert len(set(np.abs(part[part != 0]).tolist())) == 1
    assert not np.allclose(np.abs(w), np.abs(0.5 * signs))


class Halved(Technique):
    """A weight that is half of what is learned, at a rate of its own, for as long as it is not frozen."""

    def __init__(self, settled_from=0):
        super().__init__()
        self.settled_from = settled_from

    def install(self, graph):
        self.latent = torch.nn.Parameter(2 * graph.constant("w").detach())
        graph.constant("w").requires_grad_(False)
        graph.constant("b").requires_grad_(False)

    def groups(self):
        return [Group([self.latent], rate=2.0)]

    def instead(self, held):
        return {"w": self.latent / 2}

    def is_settled(self, moment):
        return moment.step >= self.settled_from


def test_a_technique_replaces_a_weight_and_freezes_another(proto_of, material, options, xs):
    student, technique = line(proto_of, w=np.zeros((3, 2))), Halved()
    fitted = fit(
        student, material(student, teachers=[line(proto_of)], x=xs), options(epochs=200, rate=0.05, weight_decay=0.0), techniques=[technique]
    )
    np.testing.assert_allclose(fitted.values["w"], TWO, atol=0.02)
    np.testing.assert_array_equal(technique.latent.detach().numpy() / 2, fitted.values["w"])
    np.testing.assert_array_equal(fitted.values["b"], np.float32([0.5, -0.5]))


def test_one_step_of_sgd_is_the_gradient_times_the_groups_rate(proto_of, material, options):
    """y = w x of one sample x = (1, 0, 0), wanted 1 and 0: the error's square over the power (1 + 0) / 2 has the gradient of y0
    2 (0 - 1) / 2 / 0.5 = -2, half of it at the latent; a rate of 0.1 twice, and Nesterov's first step is 1.9 of it."""
    student = line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    teacher = line(proto_of, w=[[1, 0], [0, 0], [0, 0]], b=(0, 0))
    technique = Halved()
    given = options(epochs=1, rate=0.1, optimizer="sgd", schedule="constant", warmup=0.0, held_out=0.0)
    fit(student, material(student, teachers=[teacher], x=[[1, 0, 0]]), given, techniques=[technique])
    np.testing.assert_allclose(technique.latent.detach().numpy()[0], [0.1 * 2.0 * 1.9, 0.0], rtol=1e-6)


def test_what_is_not_settled_yet_is_not_kept(proto_of, material, options, xs):
    student = line(proto_of)
    given = options(epochs=4, rate=0.1, batch=64, held_out=0.25)
    fitted = fit(student, material(student, teachers=[student], x=xs), given, techniques=[Halved(settled_from=3)])
    assert fitted.kept_step >= 3


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_averaged_weights_are_those_that_are_judged(proto_of, material, options, xs, average):
    student = line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    given = options(epochs=40, rate=0.2, average=average, schedule="constant")
    fitted = fit(student, material(student, teachers=[line(proto_of)], x=xs), given)
    made = xs @ fitted.values["w"] + fitted.values["b"]
    assert np.abs(made - xs @ TWO - [0.5, -0.5]).max() < 0.5


def test_inner_tensors_are_matched(proto_of, material, options, xs):
    """The output says nothing: it is 0 times what is inside."""
    text = "net (float[1,3] x) => (float[1,2] y) { inside = Gemm(x, w, b)  y = Mul(inside, zero) }"
    weights = {"b": np.zeros(2, np.float32), "zero": np.zeros(1, np.float32)}
    teacher, student = proto_of(text, w=TWO, **weights), proto_of(text, w=np.zeros((3, 2), np.float32), **weights)
    given = options(epochs=200, rate=0.05, weight_decay=0.0, match=("inside",))
    learned = material(student, x=xs)
    from edgekit.passes.learn import Teacher

    learned = dataclasses.replace(learned, teachers=(Teacher(teacher, learned.signature, inner=("inside",), threads=1),))
    np.testing.assert_allclose(fit(student, learned, given).values["w"], TWO, atol=0.02)


def test_a_graph_whose_sizes_say_one_sample_is_trained_one_by_one(proto_of, material, options, xs):
    text = "net (float[1,3] x) => (float[1,2] y) { r = Reshape(x, s)  m = MatMul(r, w)  y = Reshape(m, t) }"
    sizes = {"s": np.array([3, 1]), "t": np.array([1, 2])}
    text = "net (float[1,3] x) => (float[1,2] y) { r = Reshape(x, s)  m = MatMul(w, r)  y = Reshape(m, t) }"
    teacher, student = proto_of(text, w=TWO.T, **sizes), proto_of(text, w=np.zeros((2, 3), np.float32), **sizes)
    fitted = fit(student, material(student, teachers=[teacher], x=xs), options(epochs=100, rate=0.1, weight_decay=0.0))
    np.testing.assert_allclose(fitted.values["w"], TWO.T, atol=0.02)


def test_the_same_seed_gives_the_same_bits_and_another_one_others(proto_of, material, options, xs):
    student = line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    learned = material(student, teachers=[line(proto_of)], x=xs)
    one, same, other = (fit(student, learned, options(epochs=2, seed=seed)).values["w"].tobytes() for seed in (1, 1, 2))
    assert one == same != other


def test_the_callers_torch_is_left_as_it_was(proto_of, material, options, xs):
    student = line(proto_of)
    torch.manual_seed(7)
    expected = torch.rand(1).item()
    torch.manual_seed(7)
    fit(student, material(student, teachers=[student], x=xs), options(epochs=1))
    assert torch.rand(1).item() == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_loss_that_is_no_number_ends_training_and_keeps_its_checkpoint(proto_of, material, options, xs, tmp_path):
    student = line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    learned = material(student, teachers=[line(proto_of)], x=xs)
    given = options(epochs=60, rate=1000.0, optimizer="sgd", schedule="constant", warmup=0.0)
    with pytest.raises(TrainingError, match="any more; the weights before it are in") as caught:
        fit(student, learned, given, checkpoints=tmp_path)
    assert "lower learning rate" in caught.value.hint
    kept = torch.load(tmp_path / "training.pt", weights_only=True)
    assert all(bool(value.isfinite().all()) for value in kept["student"].values())


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 5], "label 5 is none of the model's 2 classes"),
        ([0, -3], "label -3 is none of the model's 2 classes"),
        ([1, 1], "all 64 labels that train are class 1: nothing can be told apart"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(proto_of, material, options, xs, labels, said):
    student = line(proto_of)
    with pytest.raises(SamplesError, match=said) as caught:
        fit(student, material(student, labels=labels * 32, x=xs), options())
    assert "labels = 0" in caught.value.hint


def test_nothing_to_learn_from_is_said(proto_of, material, options, xs):
    student = line(proto_of)
    with pytest.raises(SamplesError, match="no teacher, and no labels"):
        fit(student, material(student, x=xs), options())


def test_a_graph_without_float_weights_is_refused(proto_of, material, options, xs):
    student = proto_of("net (float[1,3] x) => (float[1,3] y) { y = Relu(x) }")
    with pytest.raises(UnsupportedError, match="no weights that could be trained"):
        fit(student, material(student, teachers=[student], x=xs), options())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"match": ("nowhere",)}, "no node of the student makes nowhere"),
        ({"loss": "hinge"}, "no such loss is installed"),
        ({"trainer": "mine"}, "no such trainer is installed"),
        ({"crop": 2}, "crop: for pictures"),
    ],
)
def test_options_that_ask_for_what_is_not_there_are_refused(proto_of, material, options, xs, given, said):
    if "crop" in given:
        pytest.importorskip("kornia")
    student = line(proto_of)
    with pytest.raises(UsageError, match=said):
        fit(student, material(student, teachers=[student], x=xs), options(**given))


def test_options_out_of_range_are_all_named(options):
    with pytest.raises(ValueError, match=r"rate = -1: more than 0, 1000 at most; held_out = 1.0: 0 to 0.9"):
        options(rate=-1, held_out=1.0)


def test_a_loop_of_the_users_trains_and_its_end_is_taken(proto_of, material, options, xs, monkeypatch):
    def plain_descent(lesson, watcher):
        for step in range(lesson.steps):
            weights = list(lesson.student.parameters())
            for one, slope in zip(weights, torch.autograd.grad(lesson.loss_of(step), weights), strict=True):
                one.data -= 0.3 * slope

    monkeypatch.setattr(loop.plugins, "names", lambda group: ("plain",))
    monkeypatch.setattr(loop.plugins, "load", lambda group, name: plain_descent)
    student = line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    fitted = fit(student, material(student, teachers=[line(proto_of)], x=xs), options(epochs=100, trainer="plain"))
    np.testing.assert_allclose(fitted.values["w"], TWO, atol=0.05)
    assert fitted.history[0].held_out > 0.5 > 0.01 > fitted.history[1].held_out


def test_a_loss_of_the_users_takes_the_place_of_cross_entropy(proto_of, material, options, xs, monkeypatch):
    """The hinge of two classes, which are told apart by the second input's sign."""

    def hinge(outputs, labels):
        logits = outputs["y"]
        return torch.relu(1.0 - (logits[:, 1] - logits[:, 0]) * (2.0 * labels - 1.0)).mean()

    monkeypatch.setattr(loss.plugins, "names", lambda group: ("hinge",))
    monkeypatch.setattr(loss.plugins, "load", lambda group, name: hinge)
    student = line(proto_of, w=np.zeros((3, 2)), b=(0, 0))
    w = fit(student, material(student, labels=(xs[:, 1] > 0).astype(int), x=xs), options(epochs=60, rate=0.05, loss="hinge")).values["w"]
    assert w[1, 1] - w[1, 0] > 2 * abs(w[0, 1] - w[0, 0])


def test_nothing_of_the_room_imports_torch_or_numpy_before_it_trains():
    code = "import sys, edgekit.passes.learn.finetune, edgekit.passes.learn.distill; print({'torch', 'numpy', 'onnx'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"

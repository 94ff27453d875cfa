import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.graph.signature import signature_of
from edgekit.model import Preprocess, Signature, Tensor
from edgekit.passes.learn import Teacher
from edgekit.passes.learn.heads import Head, heads
from edgekit.passes.learn.teacher import softened, together

LOGITS = np.log(np.array([[1.0, 3.0]], np.float32))


def test_probabilities_at_temperature_one_are_those_of_softmax():
    np.testing.assert_allclose(softened(LOGITS, -1, 1.0), [[0.25, 0.75]], rtol=1e-6)


def test_at_temperature_two_odds_are_the_root():
    np.testing.assert_allclose(softened(LOGITS, 1, 2.0), [[1 / (1 + 3**0.5), 3**0.5 / (1 + 3**0.5)]], rtol=1e-6)


def test_an_ensemble_says_the_mean_of_the_probabilities():
    head = Head("y", "l", "classes")
    said = together([((head,), {"l": LOGITS}), ((head,), {"l": LOGITS[:, ::-1]})], [head], 1.0)
    np.testing.assert_allclose(said[0], [[0.5, 0.5]], rtol=1e-6)


def test_an_ensemble_of_different_classes_is_refused():
    head = Head("y", "l", "classes")
    with pytest.raises(UsageError, match="different sizes"):
        together([((head,), {"l": LOGITS}), ((head,), {"l": np.zeros((1, 3), np.float32)})], [head], 1.0)


def test_logits_are_what_a_softmax_reads(proto_of):
    proto = proto_of("net (float[1,3] x) => (float[1,3] y, float[1,3] z) { s = Softmax(x)  y = Identity(s)  z = Relu(x) }")
    assert heads(proto) == (Head("y", "x", "classes", -1), Head("z", "z", "values"))


def test_labels_count_the_one_wide_axis(proto_of):
    proto = proto_of("net (float[1,3,1,1] x) => (float[1,3,1,1] y) { y = Relu(x) }")
    assert heads(proto, has_labels=True) == (Head("y", "y", "classes", -3),)
    assert heads(proto, first="values", has_labels=True) == (Head("y", "y", "values"),)


def test_a_teacher_of_a_batch_of_one_answers_many_at_once_as_alone(proto_of):
    text = "net (float[1,2,2] x) => (float[1,4] y) { r = Reshape(x, s)  y = Relu(r) }"
    proto = proto_of(text, s=np.array([1, 4]))
    x = np.random.default_rng(0).normal(size=(5, 1, 2, 2)).astype(np.float32)
    teacher = Teacher(proto, signature_of(proto), threads=1)
    np.testing.assert_array_equal(teacher.answers({"x": x})["y"], np.maximum(x.reshape(5, 4), 0))


def test_a_teacher_that_mixes_its_batch_is_asked_sample_by_sample(proto_of):
    """ReduceMax over all axes of a batch is not that of each sample."""
    proto = proto_of("net (float[1,3] x) => (float[1,3] y) { m = ReduceMax<keepdims=0>(x)  y = Sub(x, m) }")
    x = np.random.default_rng(0).normal(size=(4, 1, 3)).astype(np.float32)
    teacher = Teacher(proto, signature_of(proto), threads=1)
    np.testing.assert_allclose(teacher.answers({"x": x})["y"], x[:, 0] - x.max(2), rtol=1e-6)


def test_a_teacher_sees_pictures_in_its_own_layout_and_scale(proto_of):
    proto = proto_of("net (float[1,2,2,3] q) => (float[1,2,2,3] y) { y = Relu(q) }")
    theirs = Signature(inputs=(Tensor("q", "float32", (1, 2, 2, 3), "nhwc"),), outputs=(), preprocess=Preprocess(mean=(0.0,), std=(1.0,)))
    how = Preprocess(mean=(1.0, 2.0, 3.0), std=(10.0, 20.0, 30.0))
    own = Signature(inputs=(Tensor("x", "float32", (1, 3, 2, 2), "nchw"),), outputs=(), preprocess=how)
    seen = Teacher(proto, theirs, threads=1).looked_at({"x": np.full((1, 1, 3, 2, 2), 1.0, np.float32)}, own)
    np.testing.assert_array_equal(seen["q"], np.broadcast_to(np.float32([11, 22, 33]), (1, 1, 2, 2, 3)))


def test_a_teacher_of_another_size_cannot_see_them(proto_of):
    proto = proto_of("net (float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Relu(x) }")
    own = Signature(inputs=(Tensor("x", "float32", (1, 3, 2, 2), "nchw"),), outputs=())
    assert Teacher(proto, signature_of(proto), threads=1).looked_at({"x": np.zeros((1, 1, 3, 2, 2), np.float32)}, own) is None

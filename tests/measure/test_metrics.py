"""Metrics of tasks; expectations are counted by hand."""

import numpy as np
import pytest

from edgekit.errors import SamplesError, UsageError
from edgekit.measure import metrics
from edgekit.measure.metrics import Metric
from edgekit.samples import Sample

pytest.importorskip("torchmetrics")

PREDICTED, LABELS = [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]
"""Of class 0 two of three are found, and one of three so called is another; the same of class 1."""


def test_precision_recall_and_f1_are_the_means_over_classes():
    """Taken for 0: three, two of them right; taken for 2: one, wrong; 1 was never found."""
    found = metrics.of_classes([0, 0, 0, 2], [0, 0, 1, 1], classes=3)
    assert found["precision"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert found["recall"] == pytest.approx((1 + 0 + 0) / 3, abs=0.17)  # class 2 is not there: libraries differ whether it counts
    even = metrics.of_classes(PREDICTED, LABELS, classes=2)
    assert even == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})


def test_confusions_have_a_row_for_each_class_that_was_there():
    assert metrics.confusion([0, 0, 1, 2], [0, 1, 1, 1], classes=3) == ((1, 0, 0), (1, 1, 1), (0, 0, 0))


def test_many_classes_have_no_table_of_confusions():
    assert metrics.confusion([0], [0], classes=101) == ()


def sample(tmp_path, **arrays):
    np.savez(tmp_path / "one.npz", **arrays)
    return Sample(path=tmp_path / "one.png")  # a picture, and its arrays beside it


@pytest.mark.parametrize("is_last", [False, True])
def test_intersection_over_union_is_the_mean_over_classes_without_what_is_ignored(tmp_path, is_last):
    """Class 0: two of three (one was taken for 1); class 1: one, and one too many: 2/3 and 1/2."""
    target = np.array([[0, 0, 0, 1, 255]], np.uint8)
    scores = np.eye(2, dtype=np.float32)[np.array([[0, 0, 1, 1, 0]])]
    output = scores[None] if is_last else np.moveaxis(scores, -1, 0)[None]
    assert metrics.mean_iou([{"y": output}], [sample(tmp_path, target=target)]) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_map_of_another_size_is_refused(tmp_path):
    with pytest.raises(SamplesError, match=r"target is \[3, 3\], the output \[2, 1, 5\]"):
        metrics.mean_iou([{"y": np.zeros((1, 2, 1, 5), np.float32)}], [sample(tmp_path, target=np.zeros((3, 3), np.uint8))])


def test_a_sample_without_its_map_is_named(tmp_path):
    with pytest.raises(SamplesError, match=r"one.npz: target"):
        metrics.mean_iou([{"y": np.zeros((1, 2, 1, 5), np.float32)}], [sample(tmp_path, x=np.zeros(3))])


def test_average_precision_is_one_for_the_right_box_and_half_of_two_where_one_is_missed(tmp_path):
    """COCO's precision at recall up to 0.5 is 1 and beyond it 0, at 101 points: 51 of them are 1."""
    pytest.importorskip("pycocotools")
    boxes = np.array([[10, 10, 50, 50], [60, 60, 90, 90]], np.float32)
    one = sample(tmp_path, target_boxes=boxes, target_labels=np.array([1, 1]))
    both = {"boxes": boxes, "scores": np.float32([0.9, 0.8]), "labels": np.array([1, 1])}
    assert metrics.mean_average_precision([both], [one]) == pytest.approx(1.0)
    first = {name: value[:1] for name, value in both.items()}
    assert metrics.mean_average_precision([first], [one]) == pytest.approx(51 / 101)


def test_a_metric_of_the_users_is_asked_for_engine_and_original(monkeypatch):
    monkeypatch.setattr(metrics.plugins, "load", lambda group, name: lambda outputs, samples: outputs[0]["y"].sum() + len(samples))
    found = metrics.own(["mine"], [{"y": np.ones(2)}], [{"y": np.ones(3)}], [None])
    assert found == {"mine": Metric(value=3.0, reference=4.0)}


def test_a_metric_that_gives_no_number_is_said(monkeypatch):
    monkeypatch.setattr(metrics.plugins, "load", lambda group, name: lambda outputs, samples: {})
    with pytest.raises(UsageError, match="metric mine gives dict, not a number"):
        metrics.own(["mine"], [], [], [])

"""Boxes of a detector: by hand, and against ONNX Runtime's NonMaxSuppression."""

import numpy as np
import pytest

from edgekit.run.boxes import find_boxes, suppress
from edgekit.run.errors import RunError
from edgekit.run.pictures import View

PLAIN = View(1.0, 1.0, 0, 0, 100, 100, 100, 100)
HOW = {
    "boxes": "boxes", "scores": "scores", "layout": "rows", "corners": "xyxy", "unit": "pixels",
    "objectness": False, "min_score": 0.25, "max_overlap": 0.45, "most": 100,
}  # fmt: skip


def found(boxes, scores, view=PLAIN, **how):
    return find_boxes({"boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)}, {**HOW, **how}, view)


def test_of_two_boxes_on_one_thing_the_surer_one_stays_and_weak_ones_go():
    told = found(
        [[0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60], [80, 80, 90, 90]],
        [[0.1, 0.8], [0.0, 0.9], [0.7, 0.1], [0.2, 0.1]],
    )

    assert [(box.class_index, round(box.score, 3), box.corners) for box in told] == [(1, 0.9, [1, 1, 11, 11]), (0, 0.7, [50, 50, 60, 60])]


def test_boxes_of_two_classes_may_lie_on_each_other():
    assert len(found([[0, 0, 10, 10], [0, 0, 10, 10]], [[0.9, 0.0], [0.0, 0.8]])) == 2


@pytest.mark.parametrize(
    ("corners", "unit", "box"),
    [
        ("xyxy", "pixels", [10, 20, 30, 60]),
        ("yxyx", "pixels", [20, 10, 60, 30]),
        ("cxcywh", "pixels", [20, 40, 20, 40]),
        ("cxcywh", "share", [0.2, 0.4, 0.2, 0.4]),
    ],
)
def test_corners_are_read_as_they_are_written(corners, unit, box):
    assert found([box], [[0.9]], corners=corners, unit=unit)[0].corners == pytest.approx([10, 20, 30, 60], rel=1e-6)


def test_scores_behind_the_boxes_in_columns_are_found_and_multiplied_by_objectness():
    """As YOLOv5 and v8 export them, by hand: (numbers, count)."""
    columns = np.array([[20.0], [40.0], [20.0], [40.0], [0.5], [0.2], [0.8]])

    told = find_boxes({"boxes": columns[None]}, {**HOW, "scores": "", "layout": "columns", "corners": "cxcywh", "objectness": True}, PLAIN)

    assert [(box.class_index, round(box.score, 6), box.corners) for box in told] == [(1, 0.4, [10, 20, 30, 60])]


def test_boxes_come_back_to_the_pictures_own_pixels():
    """A picture of 200 x 100 is halved, and 10 pixels are cut off on the left; what lies outside is cut."""
    view = View(0.5, 0.5, 10, 0, 200, 100, 80, 50)

    assert found([[0, 0, 40, 25], [70, 40, 200, 90]], [[0.9], [0.8]], view)[0].corners == [20, 0, 100, 50]
    assert found([[70, 40, 200, 90]], [[0.8]], view)[0].corners == [160, 80, 200, 100]


@pytest.mark.parametrize("seed", range(8))
def test_the_same_boxes_stay_as_in_onnx_runtime(seed):
    import onnx
    import onnxruntime

    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 60, (60, 2))
    corners = np.concatenate([low, low + generator.uniform(1, 40, (60, 2))], 1).astype(np.float32)
    scores = np.sort(generator.uniform(0.3, 1, 60).astype(np.float32))[::-1].copy()
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        nms (float[1,60,4] b, float[1,1,60] s, int64 m, float o, float t) => (int64[n,3] y) { y = NonMaxSuppression(b, s, m, o, t) }""")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {"b": corners[None], "s": scores[None, None], "m": np.array(100), "o": np.array(0.45, np.float32), "t": np.array(0.25, np.float32)}

    kept = suppress(corners.astype(np.float64), np.zeros(60, int), 0.45, 100)

    assert kept == session.run(None, feeds)[0][:, 2].tolist()


def test_no_more_boxes_than_asked_for_stay_and_none_may_be_there():
    boxes = [[index * 5, 0, index * 5 + 4, 4] for index in range(10)]

    assert len(found(boxes, [[0.9]] * 10, most=3)) == 3
    assert found(boxes, [[0.1]] * 10) == []


def test_outputs_of_another_form_are_said():
    with pytest.raises(RunError, match="there is no output boxes"):
        find_boxes({"y": np.zeros((1, 3, 4))}, HOW, PLAIN)
    with pytest.raises(RunError, match="boxes of the form"):
        found([[0, 0, 1]], [[0.9]])

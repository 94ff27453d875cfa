"""Boxes of a detector: decoded, the weak and the doubled ones left out (non-maximum suppression), in pixels of the picture. Needs numpy.

``postprocess`` of a bundle's descriptor says how they lie in the outputs:

    boxes     name of the output with one box a row, or a column: four numbers, and scores behind them if ``scores`` is empty
    scores    name of the output with a score for each class, row by row; "" where they stand behind the boxes
    layout    "rows" (…, count, numbers) or "columns" (…, numbers, count)
    corners   "xyxy", "yxyx", or "cxcywh" (middle and size)
    unit      "pixels" of the input, or "share" of its width and height
    objectness  whether a score for "anything" stands between box and classes, by which the others are multiplied
    min_score, max_overlap, most   what is left out
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple

from .errors import RunError
from .pictures import View


class Box(NamedTuple):
    """One thing that was found: class, score, and its corners in pixels of the picture."""

    class_index: int
    score: float
    corners: List[float]


def find_boxes(outputs: Dict[str, Any], how: Dict[str, Any], view: View) -> List[Box]:
    """The boxes of one picture, the surest first.

    Args:
        outputs: real values by name; a batch of one.
        how: ``postprocess`` of the descriptor.
        view: how the picture lies in the input.

    Raises:
        RunError: the outputs have another form.
    """
    import numpy as np

    rows = _rows(outputs, how["boxes"], how["layout"])
    scores = _rows(outputs, how["scores"], how["layout"]) if how["scores"] else rows[:, 4:]
    if rows.shape[1] < 4 or len(rows) != len(scores) or not scores.shape[1]:
        raise RunError("engine", "boxes of the form %s and scores of the form %s" % (list(rows.shape), list(scores.shape)))
    if how["objectness"]:
        scores = scores[:, 1:] * scores[:, :1]
    classes = scores.argmax(1)
    best = scores[np.arange(len(scores)), classes]
    sure = np.flatnonzero(best >= how["min_score"])
    sure = sure[np.argsort(-best[sure], kind="stable")]
    corners = _corners(rows[sure, :4].astype(np.float64), how, view)
    kept = suppress(corners, classes[sure], how["max_overlap"], how["most"])
    placed = _placed(corners[kept], view)
    return [Box(int(classes[sure[one]]), float(best[sure[one]]), [float(value) for value in box]) for one, box in zip(kept, placed)]


def suppress(corners: Any, classes: Any, max_overlap: float, most: int) -> List[int]:
    """Which boxes stay: the surest of each class, and none that overlaps a surer one of its class by more than a share.

    Args:
        corners: x0, y0, x1, y1, the surest first. Shape (count, 4).
        classes: of each. Shape (count,).
        max_overlap: area shared, as a share of the area of both together (IoU), 0 to 1.
        most: how many may stay.
    """
    import numpy as np

    areas = np.maximum(corners[:, 2] - corners[:, 0], 0) * np.maximum(corners[:, 3] - corners[:, 1], 0)
    left, kept = np.ones(len(corners), bool), []
    for one in range(len(corners)):
        if not left[one]:
            continue
        kept.append(one)
        if len(kept) == most:
            break
        low, high = np.maximum(corners[one, :2], corners[:, :2]), np.minimum(corners[one, 2:], corners[:, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[one] + areas - shared
        overlap = np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)
        left &= ~((overlap > max_overlap) & (classes == classes[one]))
    return kept


def _rows(outputs: Dict[str, Any], name: str, layout: str) -> Any:
    if name not in outputs:
        raise RunError("job", "there is no output %s; there are %s" % (name, ", ".join(outputs)))
    values = outputs[name]
    if values.ndim < 2 or values.size != values.shape[-1] * values.shape[-2]:
        raise RunError("engine", "%s of shape %s is no list of boxes" % (name, list(values.shape)))
    values = values.reshape(values.shape[-2:])
    return values.T if layout == "columns" else values


def _corners(boxes: Any, how: Dict[str, Any], view: View) -> Any:
    import numpy as np

    if how["corners"] == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    elif how["corners"] == "cxcywh":
        boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    return boxes * np.array([view.input_width, view.input_height] * 2) if how["unit"] == "share" else boxes


def _placed(corners: Any, view: View) -> Any:
    """Pixels of the input as pixels of the picture, within its bounds."""
    import numpy as np

    moved = (corners + np.array([view.left, view.top] * 2)) / np.array([view.scale_x, view.scale_y] * 2)
    return np.clip(moved, 0, np.array([view.width, view.height] * 2))

"""NonMaxSuppression: TFLite's, of one class of one picture, as often as there are such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.engine.tflite.graph import Fault, Graph, Node, NotConstantError
from edgekit.engine.tflite.normal.parts import Parts
from edgekit.engine.tflite.selecting import most_of_each

_BEYOND = np.float32(2**22)
"""Behind every picture, and where float32 still tells halves apart."""


def _suppression(node: Node, graph: Graph) -> list[Node] | Fault:
    """Rows of picture, class and box, as many of each class as there can be, and the mask of those that are selected."""
    try:
        each = most_of_each(node, graph)
        overlap, least = (graph.numbers(node, place) for place in (3, 4))
    except NotConstantError as error:
        return Fault(f"{error} is computed", "make its limits constants")
    if each == 0:
        return Fault("it selects nothing: max_output_boxes_per_class is 0 or left out", "export it with a number above 0")
    if overlap is not None and overlap >= 1:
        return Fault(f"it suppresses nothing: its iou_threshold is {float(overlap.reshape(())):g}", "use a TopK in its place")
    parts = Parts(node, graph)
    boxes = _with_areas(parts, _corners(parts) if node.attrs.get("center_point_box") else node.inputs[0])
    pictures, classes, count = parts.shape(node.inputs[1])
    limits: dict[str, Any] = {
        "most": each,
        # TFLite suppresses what overlaps by the threshold or more, ONNX by more than it.
        "overlap": float(np.nextafter(np.float32(0 if overlap is None else overlap.reshape(())), np.float32(np.inf))),
        "least": float(np.finfo(np.float32).min if least is None else least.reshape(())),
    }
    found, numbers = [], []
    of_pictures = [parts.reshape(one, (count, 4)) for one in parts.split(boxes, 0, [1] * pictures)]
    all_scores = parts.reshape(node.inputs[1], (pictures * classes, count))
    for place, scores in enumerate(parts.split(all_scores, 0, [1] * (pictures * classes))):
        box = parts.add("tflite.Suppress", of_pictures[place // classes], parts.reshape(scores, (count,)), shape=(each,), dtype="int32", **limits)
        number = parts.beside(shape=(), dtype="int32")
        found.append(parts.reshape(box, (each, 1)))
        numbers.append(parts.reshape(number, (1, 1)))
    which = np.indices((pictures, classes, each))[:2].reshape(2, -1).T
    rows = parts.concat([parts.constant(which, "int32"), parts.concat(found, 0)], 1)
    parts.cast(rows, "int64", into=0)
    meant = parts.add("Less", parts.constant(np.arange(each)[None, :], "int32"), parts.concat(numbers, 0), shape=(pictures * classes, each))
    parts.reshape(meant, (pictures * classes * each,), into=1)
    return parts.nodes


def _corners(parts: Parts) -> str:
    """Two corners of boxes that are given by their middles and sizes; in which sequence of axes makes no difference.

    A box of negative size overlaps nothing, as in ONNX Runtime.
    """
    middle, size = parts.split(parts.node.inputs[0], 2, (2, 2))
    half = parts.add("Mul", parts.add("Relu", size), 0.5)
    return parts.concat([parts.add("Sub", middle, half), parts.add("Add", middle, half)], 2)


def _with_areas(parts: Parts, boxes: str) -> str:
    """Boxes without an area, which overlap nothing, each moved to a place of its own, with an area.

    LiteRT puts a box that it selected back into its queue, and meets it again as one that overlaps itself; one without an
    area does not, and would be selected again and again (``tflite/kernels/internal/reference/non_max_suppression.h``).
    """
    count = parts.shape(boxes)[1]
    row = np.arange(count, dtype=np.float32)[:, None] * 2 + _BEYOND
    places = np.concatenate([row, np.full_like(row, _BEYOND), row + 1, np.full_like(row, _BEYOND + 1)], 1)
    one, other = parts.split(boxes, 2, (2, 2))
    area = parts.add("Abs", parts.reduce("ReduceProd", parts.add("Sub", other, one), [2]))
    return parts.where(parts.add("Greater", area, 0.0), boxes, parts.constant(places[None]))


REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {"NonMaxSuppression": _suppression}

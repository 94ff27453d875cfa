"""What an engine is worth on a task: of classes and maps of classes by torchmetrics, of boxes by pycocotools (torchmetrics needs
torchvision for them); and by callables of the user's.

A metric is ``(outputs, samples) -> number``, by entry point of the group ``edgekit.metrics``; a recipe names it in ``metrics``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit import plugins
from edgekit.errors import SamplesError, UsageError
from edgekit.extras import extra
from edgekit.plugins import version_of
from edgekit.samples import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Outputs = Sequence[Mapping[str, NDArray[Any]]]  # of each judging sample, by output name

MOST_CLASSES = 100
"""Beyond it the table of which class was taken for which is not kept."""

_IGNORED = 255
"""In maps of classes, as Pascal VOC has it: what is not judged."""


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number of an engine, and the same of the float original on the same samples."""

    value: float
    reference: float


def is_installed() -> bool:
    """Whether the extra ``metrics`` is there. It is not imported."""
    return len(version_of("torchmetrics", "torch")) == 2


def of_classes(predicted: Sequence[int], labels: Sequence[int], classes: int) -> dict[str, float]:
    """Precision, recall and F1, each the mean over the classes that are there (macro).

    Args:
        predicted: class of each sample.
        labels: what it is.
        classes: how many there are.

    Raises:
        MissingExtraError: torchmetrics is not installed.
    """
    with extra("metrics"):
        import torch
        from torchmetrics.functional import classification as of
    found, right = torch.tensor(predicted), torch.tensor(labels)
    how = {"num_classes": classes, "average": "macro"}
    return {
        "precision": float(of.multiclass_precision(found, right, **how)),
        "recall": float(of.multiclass_recall(found, right, **how)),
        "f1": float(of.multiclass_f1_score(found, right, **how)),
    }


def confusion(predicted: Sequence[int], labels: Sequence[int], classes: int) -> tuple[tuple[int, ...], ...]:
    """How many samples of a class (row) were taken for which (column); empty beyond :data:`MOST_CLASSES` classes.

    Raises:
        MissingExtraError: torchmetrics is not installed.
    """
    if classes > MOST_CLASSES:
        return ()
    with extra("metrics"):
        import torch
        from torchmetrics.functional.classification import multiclass_confusion_matrix
    counted = multiclass_confusion_matrix(torch.tensor(predicted), torch.tensor(labels), num_classes=classes)
    return tuple(tuple(row) for row in counted.tolist())


def own(names: Sequence[str], outputs: Outputs, reference: Outputs, samples: Sequence[Sample]) -> dict[str, Metric]:
    """Metrics that a recipe names.

    Args:
        names: entry points of the group ``edgekit.metrics``.
        outputs: of the engine.
        reference: of the float original.
        samples: the same that were judged.

    Raises:
        UsageError: a metric is not installed, fails, or gives no number.
    """
    found = {}
    for name in names:
        metric = plugins.load("edgekit.metrics", name)
        found[name] = Metric(value=_number(name, metric, outputs, samples), reference=_number(name, metric, reference, samples))
    return found


def _number(name: str, metric: Any, outputs: Outputs, samples: Sequence[Sample]) -> float:
    value = metric(outputs, samples)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"metric {name} gives {type(value).__name__}, not a number", hint="(outputs, samples) -> number") from error


def mean_iou(outputs: Outputs, samples: Sequence[Sample]) -> float:
    """The metric ``miou``: intersection over union of the first output's classes, the mean over the classes that are there.

    The class of each pixel lies as the array ``target`` in a sample's ``.npz``, or in one of the same stem beside a picture;
    255 is not judged.

    Raises:
        MissingExtraError: torchmetrics is not installed.
        SamplesError: a sample has no such array, or the output another size.
    """
    import numpy as np

    with extra("metrics"):
        import torch
        from torchmetrics.functional.classification import multiclass_jaccard_index
    found, right, classes = [], [], 0
    for output, sample in zip(outputs, samples, strict=True):
        target, scores = _arrays(sample, "target")["target"], next(iter(output.values()))[0]
        axis = next((at for at in range(scores.ndim) if scores.shape[:at] + scores.shape[at + 1 :] == target.shape), None)
        if axis is None:
            raise SamplesError(f"{sample.path.name}: target is {list(target.shape)}, the output {list(scores.shape)}", hint="save maps of its size")
        is_judged = target != _IGNORED
        classes = scores.shape[axis]
        found.append(scores.argmax(axis)[is_judged])
        right.append(target[is_judged].astype(np.int64))
    pair = torch.from_numpy(np.concatenate(found)), torch.from_numpy(np.concatenate(right))
    return float(multiclass_jaccard_index(*pair, num_classes=classes, average="macro"))


def mean_average_precision(outputs: Outputs, samples: Sequence[Sample]) -> float:
    """The metric ``map``: COCO's, over IoU of 0.5 to 0.95, of outputs named ``boxes`` (n, 4), ``scores`` (n) and ``labels`` (n).

    What is there lies as the arrays ``target_boxes`` and ``target_labels`` in a sample's ``.npz``, or in one of the same stem
    beside a picture; boxes are left, top, right, bottom.

    Raises:
        MissingExtraError: pycocotools is not installed.
        SamplesError: a sample has no such arrays.
        UsageError: the model has no such outputs.
    """
    with extra("metrics"):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    there: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, (output, sample) in enumerate(zip(outputs, samples, strict=True), start=1):
        if absent := [name for name in ("boxes", "scores", "labels") if name not in output]:
            hint = "name the outputs boxes, scores and labels, or bring a metric of your own"
            raise UsageError(f"metric map: the model has no output {', '.join(absent)}", hint=hint)
        target = _arrays(sample, "target_boxes", "target_labels")
        for at, entry in enumerate(_boxes(image, target["target_boxes"], target["target_labels"]), start=len(there) + 1):
            there.append({**entry, "id": at, "iscrowd": 0})
        scores = output["scores"].reshape(-1).tolist()
        found += [{**entry, "score": score} for entry, score in zip(_boxes(image, output["boxes"], output["labels"]), scores, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth, answers = COCO(), COCO()
        images = [{"id": at} for at in range(1, len(samples) + 1)]
        classes = [{"id": one} for one in sorted({entry["category_id"] for entry in (*there, *found)})]
        truth.dataset = {"images": images, "annotations": there, "categories": classes}
        answers.dataset = {"images": images, "annotations": [{**one, "id": at} for at, one in enumerate(found, start=1)], "categories": classes}
        for held in (truth, answers):
            held.createIndex()
        judged = COCOeval(truth, answers, "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0])


def _boxes(image: int, corners: NDArray[Any], labels: NDArray[Any]) -> list[dict[str, Any]]:
    """Boxes as COCO has them: left, top, width, height."""
    entries = []
    for (left, top, right, bottom), label in zip(corners.reshape(-1, 4).tolist(), labels.reshape(-1).tolist(), strict=True):
        box = [left, top, right - left, bottom - top]
        entries.append({"image_id": image, "category_id": int(label), "bbox": box, "area": box[2] * box[3]})
    return entries


def _arrays(sample: Sample, *names: str) -> dict[str, NDArray[Any]]:
    import numpy as np

    path = sample.path.with_suffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: np.asarray(held[name]) for name in names}
    except (OSError, KeyError, ValueError) as error:
        raise SamplesError(
            f"{path}: {', '.join(names)}: {error}", hint="save them with numpy.savez, beside the input or beside the picture"
        ) from error

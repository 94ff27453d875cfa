"""The one trainer: a compressed graph, or another architecture, learns from its teachers and from labels.

A technique (a mask, fake quantization, a codebook) is a change to the module that is trained, see
:class:`edgekit.passes.learn.technique.Technique`; none has a loop of its own. Files of this room that import torch are
imported inside ``with extra("torch")`` alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.extras import extra
from edgekit.passes.learn.options import TrainOptions
from edgekit.watch import SILENT, Watcher

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.learn.fitted import Check, Fitted
    from edgekit.passes.learn.material import Material, material_of
    from edgekit.passes.learn.teacher import Teacher, taught_by, teacher_of
    from edgekit.passes.learn.technique import Technique

__all__ = ["Check", "Fitted", "Material", "Teacher", "TrainOptions", "fit", "material_of", "require", "taught_by", "teacher_of"]

_FILES = {
    "Check": "fitted",
    "Fitted": "fitted",
    "Material": "material",
    "Teacher": "teacher",
    "material_of": "material",
    "taught_by": "teacher",
    "teacher_of": "teacher",
}
"""Where names are that need numpy: passes are listed, and their options read, without it."""


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)


def require(options: TrainOptions) -> None:
    """Whether the packages that a training needs are there, before anything is decoded.

    Raises:
        MissingExtraError: one is not.
    """
    with extra("torch"):
        importlib.import_module("torch")
    if options.augments:
        with extra("augment"):
            importlib.import_module("kornia")


def fit(  # noqa: PLR0913 - who learns, from what, how, under which conditions, and who is told
    student: onnx.ModelProto,
    material: Material,
    options: TrainOptions,
    *,
    techniques: Sequence[Technique] = (),
    watcher: Watcher = SILENT,
    checkpoints: Path | None = None,
    what: str = "train",
) -> Fitted:
    """Train the float constants of a graph.

    What earlier steps gave its weights (:mod:`edgekit.graph.structure`) is kept: zeros, shared values, few magnitudes.

    Args:
        student: in store form; it is left alone. :func:`edgekit.graph.trainable.trained` writes the result back.
        material: samples, labels and teachers.
        options: of the training.
        techniques: changes to the module, in the order in which they follow one another on a weight.
        watcher: told about every step.
        checkpoints: folder in which an interrupted training leaves where it stands, and from which the same one goes on;
            None for none. What is trained is the same bit for bit either way.
        what: the name of this piece of work, for the watcher.

    Returns:
        The weights that were best on the samples held out, the start included.

    Raises:
        MissingExtraError: torch is not installed, or augmentation is asked for without its library.
        SamplesError: labels fit the model's classes badly, or there is nothing to learn from.
        TrainingError: the loss is no number any more.
        UnsupportedError: nodes of the graph cannot be trained through, or it has no float weights.
        UsageError: options ask for what is not there.
    """
    with extra("torch"):
        from edgekit.passes.learn import loop
    return loop.fit(student, material, options, techniques, watcher, checkpoints, what)

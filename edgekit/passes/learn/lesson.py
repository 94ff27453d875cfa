"""What a loop goes over: batches by the number of the step, their loss, and the judgement of what is held out.

Everything drawn at random is drawn anew from the seed and the step's number, so that a training that goes on where it was
interrupted draws what it would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.errors import SamplesError, UsageError
from edgekit.passes.learn.answers import Answers
from edgekit.passes.learn.fitted import Check
from edgekit.passes.learn.heads import Head
from edgekit.passes.learn.loss import Loss, Wanted
from edgekit.passes.learn.material import NO_LABEL, Material
from edgekit.passes.learn.options import TrainOptions
from edgekit.passes.learn.student import Student
from edgekit.passes.learn.technique import Torch

Places = NDArray[np.int64]

_OF_SPLIT, _OF_ORDER, _OF_STEP = 0, 1, 2
"""Streams of random numbers."""


class Lesson:
    """One student and its material.

    A loop of your own (entry point group ``edgekit.trainers``, ``(lesson, watcher) -> None``) calls :meth:`loss_of` for steps 0
    to ``steps - 1`` and moves the parameters of ``student``, whose weights at the end are taken.

    Attributes:
        student: what is trained.
        options: of the training.
        steps: updates there are to do.
        steps_per_epoch: updates until every training sample was seen once.
    """

    def __init__(self, student: Student, heads: Sequence[Head], material: Material, options: TrainOptions, pairs: Sequence[tuple[str, str]]) -> None:
        self.student, self.options = student, options
        self._heads, self._material = tuple(heads), material
        self._training, self._held = _split(material.count, options)
        self.steps_per_epoch = math.ceil(len(self._training) / options.batch)
        asked = options.epochs * self.steps_per_epoch
        self.steps = min(asked, options.steps) if options.steps else asked
        self._answers = Answers(material, heads, options, pairs)
        self._loss = Loss(heads, options, self._answers.power, supervised=material.has_labels)
        self._change = None
        if options.augments:
            from edgekit.passes.learn.augment import augmentation

            spread = {name: float(np.std(values[:64])) for name, values in material.inputs.items() if values.dtype.kind == "f"}
            self._change = augmentation(options, material.signature, spread)
        self._order: tuple[int, Places] | None = None
        self._check_sizes()

    @property
    def held_out(self) -> int:
        """How many samples judge."""
        return len(self._held)

    def loss_of(self, step: int) -> Torch:
        """The loss of a step's batch, with the techniques' penalties; its gradients are not taken yet."""
        torch.manual_seed(_seed(self.options.seed, _OF_STEP, step))
        places = self._batch(step)
        inputs = self._inputs(places)
        if self._change is not None:
            with torch.no_grad():
                inputs = self._change(inputs)
        self.student.train()
        loss = self._loss(self.student(inputs), self._wanted(places, inputs))
        for technique in self.student.techniques:
            more = technique.penalty()
            loss = loss if more is None else loss + more
        return loss

    def judged(self, model: Student, step: int, loss: float | None) -> Check:
        """How a student does on what is held out, unchanged by augmentation."""
        if not len(self._held):
            return Check(step, loss, None)
        model.eval()
        lost = right = known = 0.0
        with torch.no_grad():
            for places in _chunks(self._held, self.options.batch):
                inputs = self._inputs(places)
                made, wanted = model(inputs), self._wanted(places, inputs)
                lost += float(self._loss(made, wanted)) * len(places)
                found, labelled = self._right(made, wanted.labels)
                right, known = right + found, known + labelled
        return Check(step, loss, lost / len(self._held), right / known if known else None)

    def _check_sizes(self) -> None:
        """Whether student and teachers answer in as many numbers.

        Raises:
            UsageError: they do not.
        """
        places = self._training[:2]
        inputs = self._inputs(places)
        with torch.no_grad():
            made, wanted = self.student(inputs), self._wanted(places, inputs)
        pairs = [(head.tensor, head.output, answer) for head, answer in zip(self._heads, wanted.answers or (), strict=False)]
        for tensor, name, answer in [*pairs, *((name, name, value) for name, value in wanted.inner.items())]:
            own, theirs = made[tensor].numel() // len(places), answer.numel() // len(places)
            if own != theirs:
                hint = "student and teachers need the same classes, and tensors that match the same sizes"
                raise UsageError(f"{name} has {own} numbers a sample in the student, {theirs} in the teacher", hint=hint)

    def _right(self, made: Mapping[str, Torch], labels: Torch) -> tuple[int, int]:
        head, has = self._heads[0], labels != NO_LABEL
        if head.kind != "classes" or not bool(has.any()):
            return 0, 0
        rows = made[head.tensor].movedim(head.axis, -1).reshape(len(labels), -1)
        return int((rows.argmax(1) == labels)[has].sum()), int(has.sum())

    def _batch(self, step: int) -> Places:
        epoch, at = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.options.seed, _OF_ORDER, epoch]).permutation(self._training)
        return self._order[1][at * self.options.batch :][: self.options.batch]

    def _inputs(self, places: Places) -> dict[str, Torch]:
        return {name: torch.from_numpy(np.ascontiguousarray(values[places])) for name, values in self._material.inputs.items()}

    def _wanted(self, places: Places, inputs: Mapping[str, Torch]) -> Wanted:
        answers, inner = self._answers.of(places, {name: value.numpy() for name, value in inputs.items()})
        said = None if answers is None else [torch.from_numpy(one) for one in answers]
        return Wanted(said, {name: torch.from_numpy(one) for name, one in inner.items()}, torch.from_numpy(self._material.labels[places]))


def _split(count: int, options: TrainOptions) -> tuple[Places, Places]:
    """Samples to train on, and samples that are held out."""
    held = max(1, round(count * options.held_out)) if options.held_out else 0
    if count - held < 1:
        raise SamplesError(f"{count} samples train, {held} of them are held out", hint="give more samples, or --set STEP.held_out=0")
    order = np.random.default_rng([options.seed, _OF_SPLIT]).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def _chunks(places: Places, size: int) -> Iterator[Places]:
    yield from (places[at : at + size] for at in range(0, len(places), size))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])

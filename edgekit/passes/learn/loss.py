"""How far a student is from its teachers, and from the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from edgekit import plugins
from edgekit.errors import UsageError
from edgekit.passes.learn.heads import Head
from edgekit.passes.learn.material import NO_LABEL
from edgekit.passes.learn.options import CROSS_ENTROPY, TrainOptions
from edgekit.passes.learn.technique import Torch

Tensors = Mapping[str, Torch]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one batch should give.

    Attributes:
        answers: the teachers', one an output of the student: probabilities, classes last, or values; None without teachers.
        inner: inner tensors of the teacher by the student's names.
        labels: class indices, :data:`~edgekit.passes.learn.material.NO_LABEL` where there is none. Shape (samples,).
    """

    answers: Sequence[Torch] | None
    inner: Tensors
    labels: Torch


class Loss:
    """The distance, one number a batch.

    Args:
        heads: the student's outputs.
        options: shares and temperature.
        power: mean square of the teachers' values of each output and inner tensor, by the student's name, so that each counts alike.
        supervised: whether labels are learned from.
    """

    def __init__(self, heads: Sequence[Head], options: TrainOptions, power: Mapping[str, float], *, supervised: bool) -> None:
        self._heads, self._options, self._power, self._supervised = tuple(heads), options, dict(power), supervised
        self._of_labels = task_loss(options.loss)

    def __call__(self, made: Tensors, wanted: Wanted) -> Torch:
        """Of one batch.

        Args:
            made: the student's tensors by name.
            wanted: what they should be.
        """
        share = self._options.labels if self._supervised else 0.0
        share = 1.0 if wanted.answers is None else share
        total = torch.zeros(())
        if wanted.answers is not None and share < 1.0:
            total = total + (1.0 - share) * self._from_teachers(made, wanted.answers)
        if share > 0.0:
            total = total + share * self._of_labels(self._by_output(made), wanted.labels)
        for name, value in wanted.inner.items():
            total = total + self._options.match_weight * self._error(name, made[name], value) / len(wanted.inner)
        return total

    def _from_teachers(self, made: Tensors, answers: Sequence[Torch]) -> Torch:
        found = []
        for head, answer in zip(self._heads, answers, strict=True):
            if head.kind == "classes":
                found.append(divergence(made[head.tensor].movedim(head.axis, -1), answer, self._options.temperature))
            else:
                found.append(self._error(head.tensor, made[head.tensor], answer))
        return sum(found) / len(found)

    def _error(self, name: str, made: Torch, wanted: Torch) -> Torch:
        return functional.mse_loss(made, wanted.reshape(made.shape)) / self._power[name]

    def _by_output(self, made: Tensors) -> dict[str, Torch]:
        return {head.output: made[head.tensor].movedim(head.axis, -1) if head.kind == "classes" else made[head.tensor] for head in self._heads}


def divergence(logits: Torch, wanted: Torch, temperature: float) -> Torch:
    """Kullback-Leibler divergence of a student's softened probabilities from the wanted ones, times the temperature squared.

    Args:
        logits: of the student, classes last.
        wanted: probabilities at the same temperature, as many numbers.
        temperature: logits are divided by it.

    Source:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2: gradients shrink with the
        square of the temperature.
    """
    classes = logits.shape[-1]
    softened = functional.log_softmax(logits.reshape(-1, classes) / temperature, dim=-1)
    return functional.kl_div(softened, wanted.reshape(-1, classes), reduction="batchmean") * temperature**2


def cross_entropy(outputs: Tensors, labels: Torch) -> Torch:
    """Of the first output, over the samples that have a label; 0 where none has."""
    logits = next(iter(outputs.values()))
    if not bool((labels != NO_LABEL).any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits.reshape(len(labels), -1), labels, ignore_index=NO_LABEL)


def task_loss(name: str) -> Callable[[Tensors, Torch], Any]:
    """The loss of that name: ``(outputs by name, labels) -> number``; classes of an output lie on its last axis, as logits.

    Raises:
        UsageError: no such loss is installed.
    """
    if name == CROSS_ENTROPY:
        return cross_entropy
    if name not in plugins.names("edgekit.losses"):
        installed = ", ".join((CROSS_ENTROPY, *plugins.names("edgekit.losses")))
        raise UsageError(f"loss = {name}: no such loss is installed", hint=f"one of {installed}; others come by the entry point edgekit.losses")
    found: Callable[[Tensors, Torch], Any] = plugins.load("edgekit.losses", name)
    return found

"""What the teachers say of the samples: asked once where nothing changes the samples, otherwise of every batch anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.passes.learn.heads import Head
from edgekit.passes.learn.material import HELD_BYTES, Array, Material, decoded
from edgekit.passes.learn.options import TrainOptions
from edgekit.passes.learn.teacher import Teacher, together

_CHUNK = 64
"""Samples that teachers are asked about at once, and by which the size of their answers is judged."""

Said = tuple[list[Array], dict[str, Array]]


class Answers:
    """Answers of all teachers together.

    Args:
        material: samples and teachers.
        heads: the student's outputs.
        options: temperature, and whether samples change.
        pairs: inner tensors to compare, (student's, teacher's).

    Raises:
        UsageError: a teacher looks at the samples in another size and they change, or answers in other sizes than another.
    """

    def __init__(self, material: Material, heads: Sequence[Head], options: TrainOptions, pairs: Sequence[tuple[str, str]]) -> None:
        self._material, self._heads, self._pairs, self._temperature = material, tuple(heads), tuple(pairs), options.temperature
        self._teachers = material.teachers if options.labels < 1.0 or not material.has_labels else ()
        self.power: dict[str, float] = {}
        """Mean square of the values of each output and inner tensor, by the student's name."""
        self._kept: Said | None = None
        self._own: dict[int, Mapping[str, Array]] = {}
        if not self._teachers:
            return
        first = np.arange(min(_CHUNK, material.count))
        own = self._looks_otherwise(first)
        if own and options.augments:
            raise UsageError("a teacher takes pictures of another size or colour, which cannot be changed along", hint="leave the augmentation out")
        self._own = own
        answers, inner = self._ask(first, self._inputs(first))
        values = [(head.tensor, one) for head, one in zip(self._heads, answers, strict=True) if head.kind == "values"]
        self.power = {name: max(float(np.square(one, dtype=np.float64).mean()), 1e-12) for name, one in (*values, *inner.items())}
        size = sum(one.nbytes for one in (*answers, *inner.values())) * material.count // len(first)
        if not options.augments and size <= HELD_BYTES:
            self._kept = self._ask_all()
            self._own = {}

    def of(self, places: NDArray[np.int64], inputs: Mapping[str, Array]) -> tuple[list[Array] | None, dict[str, Array]]:
        """Answers to some samples as they are now, and inner tensors by the student's names.

        Args:
            places: which samples.
            inputs: the same, perhaps changed; by the student's input names, shape (samples, 1, …).
        """
        if not self._teachers:
            return None, {}
        if self._kept is None:
            return self._ask(places, inputs)
        answers, inner = self._kept
        return [_joined(one[places]) for one in answers], {name: _joined(one[places]) for name, one in inner.items()}

    def _looks_otherwise(self, first: NDArray[np.int64]) -> dict[int, Mapping[str, Array]]:
        """Inputs of the teachers that need other pictures than the student's, by the teacher's place."""
        found: dict[int, Mapping[str, Array]] = {}
        for place, teacher in enumerate(self._teachers):
            if teacher.looked_at(self._inputs(first), self._material.signature) is None:
                if self._material.samples is None:
                    raise UsageError("a teacher takes other inputs than the student", hint="give both the same inputs, or samples as files")
                found[place] = decoded(self._material.samples, teacher.signature)
        return found

    def _inputs(self, places: NDArray[np.int64]) -> dict[str, Array]:
        return {name: values[places] for name, values in self._material.inputs.items()}

    def _ask(self, places: NDArray[np.int64], inputs: Mapping[str, Array]) -> Said:
        said = [self._one(at, teacher, places, inputs) for at, teacher in enumerate(self._teachers)]
        answers = together([(teacher.heads, one) for teacher, one in zip(self._teachers, said, strict=True)], self._heads, self._temperature)
        return answers, {own: said[0][theirs] for own, theirs in self._pairs}

    def _one(self, at: int, teacher: Teacher, places: NDArray[np.int64], inputs: Mapping[str, Array]) -> dict[str, Array]:
        if at in self._own:
            return teacher.answers({name: values[places] for name, values in self._own[at].items()})
        seen: Any = teacher.looked_at(inputs, self._material.signature)
        return teacher.answers(seen)

    def _ask_all(self) -> Said:
        parts = [np.arange(at, min(at + _CHUNK, self._material.count)) for at in range(0, self._material.count, _CHUNK)]
        said = [self._ask(places, self._inputs(places)) for places in parts]
        answers = [
            np.concatenate([_apart(one[0][at], len(places)) for places, one in zip(parts, said, strict=True)]) for at in range(len(self._heads))
        ]
        inner = {
            name: np.concatenate([_apart(one[1][name], len(places)) for places, one in zip(parts, said, strict=True)]) for name, _ in self._pairs
        }
        return answers, inner


def _apart(value: Array, samples: int) -> Array:
    """The rows of each sample on an axis of their own."""
    return value.reshape(samples, -1, *value.shape[1:])


def _joined(value: Array) -> Array:
    return np.ascontiguousarray(value.reshape(-1, *value.shape[2:]))

"""How the steps that learned went: losses check by check, and which weights were kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from edgekit.report.record import StepEntry
from edgekit.report.words import change, percent, plain

TRAINING_INTRO = (
    "Loss after each epoch, of the samples that trained and of those that were held out and judge; what was kept is where the latter was least,"
    " or after the last epoch where none were held out."
)


class Point(msgspec.Struct, frozen=True):
    """One check of a training, as a step's record has it; see :class:`edgekit.passes.learn.fitted.Check`."""

    step: int
    loss: float | None = None
    held_out: float | None = None
    accuracy: float | None = None


class Course(msgspec.Struct, frozen=True):
    """One training from its start to its end.

    Attributes:
        name: of the step, and of its target where it was made for one.
        steps: updates done.
        kept_step: after how many of them the weights were as they were kept.
        curve: its checks, the start first.
    """

    name: str
    steps: int
    kept_step: int
    curve: tuple[Point, ...]

    def of(self, which: str) -> list[tuple[int, float]]:
        """(updates done, value) of ``loss``, ``held_out`` or ``accuracy`` wherever it is known."""
        found = [(point.step, getattr(point, which)) for point in self.curve]
        return [(step, value) for step, value in found if value is not None]

    def sentence(self) -> str:
        """What came of it."""
        told = [f"kept step {self.kept_step:,} of {self.steps:,}"]
        for which, named, unit in (("held_out", "held-out loss", plain), ("accuracy", "held-out accuracy", percent)):
            values = dict(self.of(which))
            if self.kept_step in values and 0 in values:
                changed = change(values[0], values[self.kept_step], unit)
                told.append(f"{named} {changed}{' as at the start' if self.kept_step and unit(values[0]) == changed else ''}")
        return ", ".join(told)


def courses(steps: Sequence[StepEntry]) -> list[Course]:
    """All trainings of a build's steps, each once, though several targets share it."""
    return list(dict.fromkeys(course for step in steps for course in _courses(step)))


def _courses(step: StepEntry) -> Iterator[Course]:
    """Those of a step; one that learns between parts of its work has a record of each, and one of somebody else's perhaps none."""
    name = step.name if step.target == "all" else f"{step.name} for {step.target}"
    records = [step.did] if "curve" in step.did else step.did.get("learned")
    for part, record in enumerate(records if isinstance(records, Sequence) else (), start=1):
        course = _course(name if len(records or ()) == 1 else f"{name}, part {part}", record)
        if course is not None and len(course.curve) > 1:
            yield course


def _course(name: str, record: Any) -> Course | None:
    try:
        return msgspec.convert({**record, "name": name}, Course)
    except (msgspec.ValidationError, TypeError):
        return None

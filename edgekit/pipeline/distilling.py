"""A student of another architecture learns from teachers before anything else is done to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgekit.errors import UsageError
from edgekit.model import Model, Signature
from edgekit.pipeline.line import Teachers, counted, ingested, passed, prepared
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan, PlannedStep, check
from edgekit.plugins import version_of
from edgekit.samples import Samples, with_preprocess

if TYPE_CHECKING:
    from edgekit.samples import Feed

_FILE = "judged.json"


class Judged(msgspec.Struct, frozen=True):
    """How one of the models does on the judging samples.

    Attributes:
        name: the file it came from.
        role: in this distillation.
        parameters: numbers in its constants.
        top1: share of labelled samples whose class is right, 0 to 1; None without labels, or where the first output holds no classes.
        agreement: share of samples on whose class it and the teachers together agree; None where the first output holds no classes.
        sqnr_db: of its first output against the teachers' together, decibels; None for teachers and for classes.
    """

    name: str
    role: str
    parameters: int
    top1: float | None = None
    agreement: float | None = None
    sqnr_db: float | None = None

    def sentence(self) -> str:
        """In words."""
        told = [f"{self.parameters:,} parameters"]
        told += [f"top-1 {100 * self.top1:.2f} %"] if self.top1 is not None else []
        told += [f"agrees with the teachers on {100 * self.agreement:.2f} %"] if self.agreement is not None and self.role != "teacher" else []
        told += [f"{self.sqnr_db:.1f} dB to the teachers"] if self.sqnr_db is not None else []
        return f"{self.role} {self.name}: {', '.join(told)}"


def distilled(plan: Plan, step: PlannedStep, student: Model, workshop: Workshop) -> tuple[Model, tuple[Judged, ...]]:
    """The student as it learned, and how all models do on the samples that judge.

    Args:
        plan: whose request names the teachers.
        step: how the student learns.
        student: simplified and fused.
        workshop: keeps steps; those of the teachers are not reported.

    Raises:
        EdgekitError: a teacher cannot be read, or the student cannot learn.
    """
    assert plan.samples is not None, "plan.check asks for them"
    teachers = tuple(_teacher(path, plan, plan.samples, Workshop(store=workshop.store, watcher=workshop.watcher)) for path in plan.request.teachers)
    made = passed(step, student, plan, workshop, one=None, teachers=Teachers(others=teachers))
    models = [("teacher", str(path.name), model) for path, model in zip(plan.request.teachers, teachers, strict=True)]
    models += [("student before", plan.request.source.name, student), ("student after", plan.request.source.name, made)]
    return made, _judged(models, plan.samples, workshop)


def _teacher(path: Path, plan: Plan, samples: Samples, workshop: Workshop) -> Model:
    """A teacher's Model, with its own preprocessing where its source says what that is."""
    request = dataclasses.replace(plan.request, source=path, live=None, targets=(), recipe="float", samples=None, teachers=(), settings={})
    own = check(request, targets_needed=False)
    model, _ = ingested(own, workshop)
    model = prepared(own, model, workshop)
    return msgspec.structs.replace(model, signature=_seeing(model.signature, samples))


def _seeing(signature: Signature, samples: Samples) -> Signature:
    if signature.preprocess is not None:
        samples = msgspec.structs.replace(samples, preprocess=None)
    return with_preprocess(signature, samples)


def _judged(models: Sequence[tuple[str, str, Model]], samples: Samples, workshop: Workshop) -> tuple[Judged, ...]:
    def make(out: Path) -> None:
        (out / _FILE).write_bytes(msgspec.json.encode(tuple(_judgements(models, samples, workshop))))

    decided_by = {
        "models": [(role, name, model.sha256, model.signature) for role, name, model in models],
        "samples": samples.sha256,
        "tools": version_of("onnxruntime", "numpy", "pillow"),
    }
    folder, _, _ = workshop.folder("judge", decided_by, make)
    return msgspec.json.decode((folder / _FILE).read_bytes(), type=tuple[Judged, ...])


def _judgements(models: Sequence[tuple[str, str, Model]], samples: Samples, workshop: Workshop) -> Iterator[Judged]:
    from edgekit.numerics.fidelity import accuracy, class_rows, fidelity

    outputs = [[next(iter(one.values())) for one in _outputs(model, samples)] for _, _, model in models]
    teachers = [made for (role, _, _), made in zip(models, outputs, strict=True) if role == "teacher"]
    if any(one[0].size != teachers[0][0].size for one in outputs):
        sizes = ", ".join(f"{name} {list(made[0].shape)}" for (_, name, _), made in zip(models, outputs, strict=True))
        raise UsageError(f"the first outputs are of different sizes: {sizes}", hint="student and teachers answer with the same classes")
    said = [np.mean([one.reshape(row[0].shape) for one in row], axis=0) for row in zip(*teachers, strict=True)]
    labels = [sample.label for sample in samples.judging]
    for (role, name, model), made in zip(models, outputs, strict=True):
        has_classes = class_rows(made[0]) is not None and made[0].shape[0] == 1
        right = accuracy(zip(made, labels, strict=True)) if has_classes else None
        near = fidelity(({"y": wanted}, {"y": got.reshape(wanted.shape)}) for wanted, got in zip(said, made, strict=True))
        yield Judged(
            name=name,
            role=role,
            parameters=counted(model, workshop).parameters,
            top1=right.top1 if right is not None else None,
            agreement=near.top1_agreement,
            sqnr_db=near.sqnr_db if not has_classes and role != "teacher" else None,
        )


def _outputs(model: Model, samples: Samples) -> Iterator[Feed]:
    from edgekit.graph.run import Runner

    run = Runner(model.path)
    yield from (run(feed) for feed in samples.feeds("judging", model.signature))

"""The only loop that trains."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_swa_multi_avg_fn

from edgekit import plugins
from edgekit.errors import SamplesError, TrainingError, UnsupportedError, UsageError
from edgekit.graph.onnx_file import infer_shapes
from edgekit.graph.open_batch import with_open_batch
from edgekit.graph.structure import structures
from edgekit.graph.trainable import trainable
from edgekit.passes.learn import checkpoint
from edgekit.passes.learn.fitted import Check, Fitted
from edgekit.passes.learn.heads import Head, heads
from edgekit.passes.learn.keeping import keepers
from edgekit.passes.learn.lesson import Lesson
from edgekit.passes.learn.material import NO_LABEL, Material
from edgekit.passes.learn.options import TrainOptions
from edgekit.passes.learn.student import Student
from edgekit.passes.learn.technique import Group, Moment, Technique, Torch
from edgekit.watch import Watcher

if TYPE_CHECKING:
    import onnx

SAVE_EVERY_S = 20.0
"""What a kill costs at most, and about."""

SWA_FROM = 0.75
"""Share of the steps after which ``swa`` begins to average."""


def fit(  # noqa: PLR0913 - see edgekit.passes.learn.fit
    proto: onnx.ModelProto,
    material: Material,
    options: TrainOptions,
    techniques: Sequence[Technique],
    watcher: Watcher,
    folder: Path | None,
    what: str,
) -> Fitted:
    """See :func:`edgekit.passes.learn.fit`."""
    proto = infer_shapes(proto)
    ends = heads(proto, first=options.outputs, has_labels=material.has_labels)
    pairs = [(own, theirs or own) for own, _, theirs in (one.partition("=") for one in options.match)]
    _check(material, ends, options, pairs, proto)
    with _reproducible(options.threads):
        graph = trainable(with_open_batch(proto), outputs=list(dict.fromkeys([*(head.tensor for head in ends), *(own for own, _ in pairs)])))
        student = Student(graph, [*keepers(structures(proto), graph), *techniques])
        lesson = Lesson(student, ends, material, options, pairs)
        if options.trainer:
            return _by_own_loop(lesson, watcher)
        training = _Training(lesson, folder, _key(proto, material, student, options))
        return training.run(watcher, what)


def _by_own_loop(lesson: Lesson, watcher: Watcher) -> Fitted:
    name = lesson.options.trainer
    if name not in plugins.names("edgekit.trainers"):
        installed = ", ".join(plugins.names("edgekit.trainers")) or "none"
        raise UsageError(
            f"trainer = {name}: no such trainer is installed", hint=f"entry points of the group edgekit.trainers; installed: {installed}"
        )
    before = lesson.judged(lesson.student, 0, None)
    plugins.load("edgekit.trainers", name)(lesson, watcher)
    after = lesson.judged(lesson.student, lesson.steps, None)
    return Fitted(lesson.student.values(), (before, after), lesson.steps, lesson.steps, lesson.steps)


@dataclass(slots=True)
class _State:
    """Where training stands, besides the student, its average and the optimizer."""

    step: int = 0
    lost: list[float] = field(default_factory=list)
    history: list[Check] = field(default_factory=list)
    best: dict[str, Torch] | None = None
    best_step: int = 0
    best_loss: float = math.inf
    waited: int = 0


class _Training:
    """One training from its start, or its checkpoint, to its end."""

    def __init__(self, lesson: Lesson, folder: Path | None, key: str) -> None:
        self._lesson, self._options, self._student = lesson, lesson.options, lesson.student
        self._folder, self._key = folder, key
        self._optimizer = _optimizer(lesson.student, lesson.options)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: _rate(step, lesson.steps, lesson.options))
        self._average = _average(lesson.student, lesson.options)
        self._state = _State()
        self._saved = time.monotonic()
        if folder is not None and (found := checkpoint.read(folder, key)) is not None:
            self._take(found)

    def run(self, watcher: Watcher, what: str) -> Fitted:
        """Train to the end."""
        lesson, state = self._lesson, self._state
        watcher.begin(what, lesson.steps)
        watcher.advance(state.step)
        if not state.history:
            self._judge(None)
        while state.step < lesson.steps and not self._is_over():
            self._step()
            watcher.advance()
            if state.step % lesson.steps_per_epoch == 0 or state.step == lesson.steps:
                self._judge(float(np.mean(state.lost)))
                state.lost.clear()
            if time.monotonic() - self._saved >= SAVE_EVERY_S:
                self._save()
        self._save()
        if state.best is not None:
            self._student.load_state_dict(state.best)
        else:
            self._student.load_state_dict(self._judged_model().state_dict())
        self._student.eval()
        kept = state.best_step if state.best is not None else state.step
        fitted = Fitted(self._student.values(), tuple(state.history), kept, state.step, lesson.steps)
        watcher.end(fitted.sentence())
        return fitted

    def _is_over(self) -> bool:
        return bool(self._options.patience) and self._state.waited >= self._options.patience

    def _step(self) -> None:
        state = self._state
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._lesson.loss_of(state.step)
        if not bool(torch.isfinite(loss)):
            raise self._diverged("the loss is not a number any more")
        loss.backward()
        moved = [one for one in self._student.parameters() if one.grad is not None]
        norm = torch.nn.utils.get_total_norm([one.grad for one in moved])
        if not bool(torch.isfinite(norm)):
            raise self._diverged("the gradients are not numbers any more")
        if self._options.clip:
            torch.nn.utils.clip_grads_with_norm_(moved, self._options.clip, norm)
        self._optimizer.step()
        self._schedule.step()
        state.step += 1
        state.lost.append(float(loss.detach()))
        moment = Moment(state.step, self._lesson.steps)
        with torch.no_grad():
            for technique in self._student.techniques:
                technique.after_step(moment)
        if self._average is not None and self._averages():
            self._average.update_parameters(self._student)

    def _averages(self) -> bool:
        return self._options.average == "ema" or self._state.step > SWA_FROM * self._lesson.steps

    def _judged_model(self) -> Student:
        is_averaged = self._average is not None and int(self._average.n_averaged) > 0
        model: Student = self._average.module if is_averaged and self._average is not None else self._student
        return model

    def _judge(self, loss: float | None) -> None:
        state, model = self._state, self._judged_model()
        check = self._lesson.judged(model, state.step, loss)
        state.history.append(check)
        moment = Moment(state.step, self._lesson.steps)
        if check.held_out is None or not all(technique.is_settled(moment) for technique in self._student.techniques):
            return
        if check.held_out < state.best_loss:
            state.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
            state.best_loss, state.best_step, state.waited = check.held_out, state.step, 0
        else:
            state.waited += 1

    def _diverged(self, how: str) -> TrainingError:
        self._save()
        kept = f"; the weights before it are in {self._folder / checkpoint.FILE}" if self._folder is not None else ""
        rate = self._options.rate / 10
        return TrainingError(
            f"step {self._state.step + 1} of {self._lesson.steps}: {how}{kept}", hint=f"a lower learning rate, such as rate = {rate:g}"
        )

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._folder is None:
            return
        state = self._state
        checkpoint.write(
            self._folder,
            {
                "key": self._key,
                "student": self._student.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict(),
                "average": None if self._average is None else self._average.state_dict(),
                "state": {**{name: getattr(state, name) for name in ("step", "lost", "best", "best_step", "best_loss", "waited")}},
                "history": [asdict(one) for one in state.history],
            },
        )

    def _take(self, found: dict[str, Any]) -> None:
        self._student.load_state_dict(found["student"])
        self._optimizer.load_state_dict(found["optimizer"])
        self._schedule.load_state_dict(found["schedule"])
        if self._average is not None:
            self._average.load_state_dict(found["average"])
        self._state = replace(_State(**found["state"]), history=[Check(**one) for one in found["history"]])


def _optimizer(student: Student, options: TrainOptions) -> Any:
    own = [group for technique in student.techniques for group in technique.groups()]
    grouped = {id(one) for group in own for one in group.parameters}
    decaying = {id(one) for one in student.graph.parameters() if one.ndim > 1}
    free = [one for one in student.parameters() if one.requires_grad and id(one) not in grouped]
    groups = [
        Group([one for one in free if id(one) in decaying], weight_decay=options.weight_decay),
        Group([one for one in free if id(one) not in decaying]),
        *own,
    ]
    given = [
        {"params": list(group.parameters), "lr": options.rate * group.rate, "weight_decay": group.weight_decay}
        for group in groups
        if group.parameters
    ]
    if not given:
        raise UnsupportedError("this graph has no weights that could be trained", hint="train before quantize: integers stay as they are")
    if options.optimizer == "sgd":
        return torch.optim.SGD(given, lr=options.rate, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(given, lr=options.rate)


def _rate(step: int, steps: int, options: TrainOptions) -> float:
    """The learning rate at a step, as a share of the highest."""
    warm = round(options.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    done = (step - warm) / max(steps - warm, 1)
    if options.schedule == "constant":
        return 1.0
    return 1.0 - done if options.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def _average(student: Student, options: TrainOptions) -> Any:
    if options.average == "none":
        return None

    def moving(averaged: Sequence[Torch], current: Sequence[Torch], count: Torch) -> None:
        decay = min(options.decay, (1 + int(count)) / (10 + int(count)))  # so that the start is forgotten within a few steps
        for one, now in zip(averaged, current, strict=True):
            one.lerp_(now, 1.0 - decay)

    return AveragedModel(student, multi_avg_fn=moving if options.average == "ema" else get_swa_multi_avg_fn())


def _check(material: Material, ends: Sequence[Head], options: TrainOptions, pairs: Sequence[tuple[str, str]], proto: onnx.ModelProto) -> None:
    """Refuse what can be refused before anything is trained."""
    if not material.teachers and not material.has_labels:
        raise SamplesError(
            "there is nothing to learn from: no teacher, and no labels", hint="give labels (labels.csv or class folders), or a teacher"
        )
    if pairs and len(material.teachers) != 1:
        raise UsageError(f"match: inner tensors of one teacher are compared, there are {len(material.teachers)}", hint="leave match out")
    if absent := [own for own, _ in pairs if not any(own in node.output for node in proto.graph.node)]:
        raise UsageError(f"match: no node of the student makes {', '.join(absent)}", hint="edgekit inspect lists its tensors")
    if material.has_labels and (options.labels > 0.0 or not material.teachers) and options.loss == "cross_entropy":
        _check_labels(material, ends[0], proto)


def _check_labels(material: Material, head: Head, proto: onnx.ModelProto) -> None:
    labels = material.labels[material.labels != NO_LABEL]
    otherwise = "correct labels.csv or the class folders, or learn from the teacher alone (labels = 0)"
    shape = next(value for value in proto.graph.output if value.name == head.output).type.tensor_type.shape.dim
    classes = shape[head.axis].dim_value if shape else 0
    if head.kind != "classes":
        raise UsageError(f"output {head.output} holds values, and the labels count classes", hint='outputs = "classes", or labels = 0')
    if wrong := [one for one in sorted(set(labels.tolist())) if one < 0 or (classes and one >= classes)]:
        raise SamplesError(f"label {wrong[0]} is none of the model's {classes} classes", hint=f"class indices count from 0; {otherwise}")
    if len(set(labels.tolist())) == 1:
        raise SamplesError(f"all {len(labels)} labels that train are class {labels[0]}: nothing can be told apart", hint=otherwise)


def _key(proto: onnx.ModelProto, material: Material, student: Student, options: TrainOptions) -> str:
    """What a checkpoint belongs to."""
    digest = hashlib.sha256(proto.SerializeToString(deterministic=True))
    digest.update(repr((asdict(options), [teacher.sha256 for teacher in material.teachers], torch.__version__, torch.get_num_threads())).encode())
    digest.update(repr(student.techniques).encode() + material.labels.tobytes())
    for value in material.inputs.values():
        digest.update(np.ascontiguousarray(value).data)
    for value in student.state_dict().values():
        digest.update(value.detach().contiguous().numpy())
    return digest.hexdigest()


@contextmanager
def _reproducible(threads: int) -> Iterator[None]:
    """The same bits for the same number of threads; the caller's torch is left as it was."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(threads or os.cpu_count() or 1)
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(mode=strict)
        torch.utils.deterministic.fill_uninitialized_memory = fills

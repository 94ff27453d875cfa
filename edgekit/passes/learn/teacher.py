"""Teachers: models that answer, and what several of them say together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SamplesError, SourceError, UsageError
from edgekit.graph.open_batch import opened
from edgekit.model import Model, Preprocess, Signature, Tensor
from edgekit.passes.learn.heads import Head
from edgekit.passes.learn.heads import heads as heads_of
from edgekit.passes.learn.options import TrainOptions
from edgekit.samples import Samples

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

_ALIKE = 1e-3
"""Two samples at once may differ from each alone by so much of the answers' size: sums are taken in another order."""


class Teacher:
    """A model as ONNX Runtime computes it; any operator will do, for nothing is learned in it.

    Args:
        proto: in store form, shapes inferred.
        signature: what it takes, preprocessing included.
        outputs: what its first output holds; see :class:`~edgekit.passes.learn.options.TrainOptions`.
        has_labels: whether labels count its classes.
        inner: inner tensors to say, too.
        threads: of one call; 0 leaves it to ONNX Runtime.

    Raises:
        SourceError: ONNX Runtime does not load it, or an inner tensor is not in it.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        signature: Signature,
        *,
        outputs: Any = "auto",
        has_labels: bool = False,
        inner: Sequence[str] = (),
        threads: int = 0,
    ) -> None:
        from edgekit.graph.run import Runner

        self.signature = signature
        self.heads: tuple[Head, ...] = heads_of(proto, first=outputs, has_labels=has_labels)
        self.sha256 = hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
        wanted = tuple(dict.fromkeys([*(head.tensor for head in self.heads), *inner]))
        self._run = Runner(opened(proto).SerializeToString(), outputs=wanted, threads=threads)
        self._alone = Runner(proto.SerializeToString(), outputs=wanted, threads=threads)
        self._stacks: bool | None = None

    def answers(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Its tensors by name.

        Args:
            inputs: by its own input names, shape (samples, 1, …).
        """
        if self._stacks is None:
            self._stacks = self._is_stacking({name: values[:2] for name, values in inputs.items()})
        if self._stacks:
            return self._run(_flat(inputs))
        return self._each(inputs)

    def looked_at(self, inputs: Mapping[str, Array], seen_by: Signature) -> dict[str, Array] | None:
        """A student's inputs as this teacher takes them: another name, order of axes or scale; None if that is not all."""
        if len(seen_by.inputs) != len(self.signature.inputs):
            return None
        found = {}
        for place, tensor in enumerate(self.signature.inputs):
            given = next((one for one in seen_by.inputs if one.name == tensor.name), seen_by.inputs[place])
            value = _as_taken(inputs[given.name], given, seen_by.preprocess, tensor, self.signature.preprocess)
            if value is None:
                return None
            found[tensor.name] = value
        return found

    def _each(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        count = len(next(iter(inputs.values())))
        made = [self._alone({name: values[at] for name, values in inputs.items()}) for at in range(count)]
        return {name: np.concatenate([np.atleast_1d(one[name]) for one in made]) for name in made[0]}

    def _is_stacking(self, two: Mapping[str, Array]) -> bool:
        if any(values.ndim < 2 or values.shape[1] != 1 for values in two.values()):
            return False
        alone = self._each(two)
        try:
            together = self._run(_flat(two))
        except (SourceError, SamplesError):  # a size that is written in the graph
            return False
        return all(together[name].shape == value.shape and _is_near(together[name], value) for name, value in alone.items())


def taught_by(models: Sequence[Model], options: TrainOptions, samples: Samples) -> tuple[Teacher, ...]:
    """Models as teachers under the options of a training; none where labels alone are learned from.

    Raises:
        UsageError: a teacher has no tensor that ``match`` names.
    """
    has_labels = any(one.label is not None for one in samples.calibrating)
    if has_labels and options.labels == 1.0:
        return ()
    inner = tuple(theirs or own for own, _, theirs in (one.partition("=") for one in options.match))
    for model in models if inner else ():
        _check_made(model, inner)
    return tuple(teacher_of(model, outputs=options.outputs, has_labels=has_labels, inner=inner, threads=options.threads) for model in models)


def _check_made(model: Model, inner: Sequence[str]) -> None:
    from edgekit.graph.onnx_file import load

    made = {name for node in load(model.path).graph.node for name in node.output}
    if absent := sorted(set(inner) - made):
        raise UsageError(f"match: no node of the teacher makes {', '.join(absent)}", hint="edgekit inspect lists its tensors")


def teacher_of(model: Model, **how: Any) -> Teacher:
    """A Model as a teacher; ``how`` as :class:`Teacher` has it."""
    from edgekit.graph.onnx_file import infer_shapes, load

    return Teacher(infer_shapes(load(model.path)), model.signature, **how)


def together(answers: Sequence[tuple[tuple[Head, ...], Mapping[str, Array]]], kinds: Sequence[Head], temperature: float) -> list[Array]:
    """What teachers say together of each of a student's outputs.

    Args:
        answers: the heads of each teacher and its tensors by name.
        kinds: the student's heads, in order.
        temperature: logits are divided by it.

    Returns:
        For an output of classes the mean of the teachers' softened probabilities, classes last; for others the mean of the values.

    Raises:
        UsageError: a teacher has fewer outputs than the student.
    """
    found: list[Array] = []
    for place, student in enumerate(kinds):
        said: list[Array] = []
        for heads, tensors in answers:
            named = next((one for one in heads if one.output == student.output), heads[place] if place < len(heads) else None)
            if named is None:
                raise UsageError(
                    f"a teacher has {len(heads)} outputs, the student {len(kinds)}", hint="both need the same outputs, in the same order"
                )
            value = tensors[named.tensor]
            said.append(softened(value, named.axis, temperature) if student.kind == "classes" else value)
        if any(one.size != said[0].size for one in said):
            sizes = " and ".join(str(list(one.shape)) for one in said)
            raise UsageError(f"teachers answer in different sizes: {sizes}", hint="teachers of one student have the same classes")
        found.append(np.asarray(np.mean([one.reshape(said[0].shape) for one in said], axis=0, dtype=np.float64), np.float32))
    return found


def softened(logits: Array, axis: int, temperature: float) -> Array:
    """Probabilities of logits at a temperature, classes last.

    Source:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, eq. 1.
    """
    scaled = np.moveaxis(logits, axis, -1).astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)


def _as_taken(value: Array, given: Tensor, before: Preprocess | None, wanted: Tensor, after: Preprocess | None) -> Array | None:
    if {given.layout, wanted.layout} == {"nchw", "nhwc"}:
        value = np.moveaxis(value, 2, -1) if wanted.layout == "nhwc" else np.moveaxis(value, -1, 2)
    fits = len(wanted.shape) == value.ndim - 1 and all(
        isinstance(size, str) or have == size for have, size in zip(value.shape[1:], wanted.shape, strict=True)
    )
    if not fits:
        return None
    if before is not None and after is not None and (before.mean, before.std, before.colour) != (after.mean, after.std, after.colour):
        if before.colour != after.colour:
            return None
        pixels = value * _by_channel(before.std, wanted) + _by_channel(before.mean, wanted)
        value = (pixels - _by_channel(after.mean, wanted)) / _by_channel(after.std, wanted)
    return np.ascontiguousarray(value.astype(wanted.dtype))


def _by_channel(numbers: Iterable[float], tensor: Tensor) -> Array:
    array = np.asarray(tuple(numbers), np.float32)
    return array if tensor.layout == "nhwc" else array[:, None, None]


def _flat(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The samples' batches of one as one batch."""
    return {name: np.ascontiguousarray(values.reshape(-1, *values.shape[2:])) for name, values in inputs.items()}


def _is_near(one: Array, other: Array) -> bool:
    difference = np.abs(one.astype(np.float64) - other).max(initial=0.0)
    return bool(difference <= _ALIKE * max(float(np.abs(other).max(initial=0.0)), 1e-30))

"""What is learned from: samples decoded once, their labels, and the teachers who know the answers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SamplesError
from edgekit.model import Signature
from edgekit.samples import Sample, Samples, feed_of

if TYPE_CHECKING:
    from edgekit.passes.learn.teacher import Teacher

Array = NDArray[Any]

HELD_BYTES = 2 * 2**30
"""Samples that take more than this together lie in a temporary file and are read from there."""

NO_LABEL = -1


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that one training learns from.

    Attributes:
        inputs: by input name, shape (samples, *shape of one feed): the batch of one of each feed is kept as the second axis.
        labels: class index of each sample, :data:`NO_LABEL` where there is none. Shape (samples,).
        signature: what the student takes, preprocessing included.
        teachers: who is learned from; may be empty where there are labels.
        samples: where the inputs came from, for teachers who look at them in another size; None for arrays.
    """

    inputs: Mapping[str, Array]
    labels: NDArray[np.int64]
    signature: Signature
    teachers: tuple[Teacher, ...] = ()
    samples: Samples | None = None

    @property
    def count(self) -> int:
        """Samples there are."""
        return len(self.labels)

    @property
    def has_labels(self) -> bool:
        """Whether a label is known of any."""
        return bool((self.labels != NO_LABEL).any())


def material_of(samples: Samples, signature: Signature, teachers: Sequence[Teacher] = ()) -> Material:
    """The calibrating samples, decoded; those that judge are not looked at.

    Raises:
        SamplesError: a file cannot be read, does not fit the model, has another shape than the others, or holds what is no number.
    """
    labels = np.array([NO_LABEL if one.label is None else one.label for one in samples.calibrating], np.int64)
    return Material(decoded(samples, signature), labels, signature, tuple(teachers), samples)


def decoded(samples: Samples, signature: Signature) -> dict[str, Array]:
    """Calibrating samples as arrays by input name, see :class:`Material`; several are decoded at once.

    Raises:
        SamplesError: see :func:`material_of`.
    """
    held: dict[str, Array] = {}
    for place, (sample, feed) in enumerate(_feeds(samples, signature)):
        for name, value in feed.items():
            if place == 0:
                held[name] = _room((len(samples.calibrating), *value.shape), value.dtype)
            if value.shape != held[name].shape[1:]:
                sizes = f"{list(value.shape)}, the samples before it {list(held[name].shape[1:])}"
                raise SamplesError(
                    f"{sample.path.name}: {name} has the shape {sizes}", hint="a batch needs equal sizes: --set preprocess.resize=[H, W]"
                )
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise SamplesError(f"{sample.path.name}: {name} holds NaN or infinity", hint="replace it, or leave it out of the samples")
            held[name][place] = value
    return held


def _feeds(samples: Samples, signature: Signature) -> Iterator[tuple[Sample, Mapping[str, Array]]]:
    def read(sample: Sample) -> tuple[Sample, Mapping[str, Array]]:
        return sample, feed_of(sample.path, samples.kind, signature)

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        yield from pool.map(read, samples.calibrating)


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array to fill: in memory, or in a file that vanishes with the process where it is large."""
    if int(np.prod(shape)) * dtype.itemsize <= HELD_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryDirectory(prefix="edgekit-samples-") as folder:
        return np.memmap(Path(folder) / "samples", dtype, "w+", shape=shape)  # the name goes at once, the space with the last reader

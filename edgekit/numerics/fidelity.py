"""How near one set of outputs is to another, and how often it is right; over streams, keeping sums only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]

# Stands for "no signal left": outputs that are not finite, or that differ from a reference of zeros. Finite, since JSON has no infinity.
NO_SIGNAL_DB = -300.0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near outputs are to the reference's, over all samples and all outputs.

    Attributes:
        sqnr_db: signal to quantization noise, 10 log10(sum r^2 / sum (r - q)^2), decibels; None where all are equal bit for bit.
        cosine: of all outputs laid end to end, -1 to 1.
        max_abs: largest difference of one element.
        top1_agreement: share of rows whose largest element is at the same place; None where the first output holds no classes.
        samples: how many were compared.
        not_finite: elements that are finite in the reference and not here, or the other way round; they count as no signal.
    """

    sqnr_db: float | None
    cosine: float
    max_abs: float
    top1_agreement: float | None
    samples: int
    not_finite: int = 0


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of samples that are right, 0 to 1.

    Attributes:
        top1: the largest output is the label.
        top5: the label is among the five largest; None where there are fewer than six classes.
        n: how many samples had a label.
    """

    top1: float
    top5: float | None
    n: int


def fidelity(pairs: Iterable[tuple[Outputs, Outputs]]) -> Fidelity:
    """Compare outputs with the reference's.

    Args:
        pairs: (reference, outputs) of each sample; arrays by name, same names and shapes in both.

    Raises:
        ValueError: there are no pairs, or the two of a pair differ in names or shapes.
    """
    sums = _Sums()
    for reference, outputs in pairs:
        sums.add(reference, outputs)
    return sums.result()


class _Sums:
    """Sums over what was compared so far, in double precision."""

    def __init__(self) -> None:
        self.samples = self.rows = self.agreeing = self.not_finite = 0
        self.signal = self.noise = self.product = self.power = self.max_abs = 0.0

    def add(self, reference: Outputs, outputs: Outputs) -> None:
        if reference.keys() != outputs.keys():
            raise ValueError(f"outputs {sorted(outputs)} are not those of the reference {sorted(reference)}")
        self.samples += 1
        for position, (name, wanted) in enumerate(reference.items()):
            if wanted.shape != outputs[name].shape:
                raise ValueError(f"output {name} has shape {outputs[name].shape}, the reference {wanted.shape}")
            self._add_values(np.asarray(wanted, np.float64), np.asarray(outputs[name], np.float64))
            if position == 0:
                self._add_classes(wanted, outputs[name])

    def _add_values(self, wanted: NDArray[np.float64], got: NDArray[np.float64]) -> None:
        usable = np.isfinite(wanted) & np.isfinite(got)
        if not usable.all():
            same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
            self.not_finite += int(np.count_nonzero(~usable & ~same))
            wanted, got = wanted[usable], got[usable]
        noise = wanted - got
        self.signal += float(np.vdot(wanted, wanted))
        self.noise += float(np.vdot(noise, noise))
        self.product += float(np.vdot(wanted, got))
        self.power += float(np.vdot(got, got))
        self.max_abs = max(self.max_abs, float(np.abs(noise).max(initial=0.0)))

    def _add_classes(self, wanted: NDArray[Any], got: NDArray[Any]) -> None:
        rows = class_rows(wanted)
        if rows is not None:
            self.rows += len(rows)
            self.agreeing += int((rows.argmax(1) == got.reshape(rows.shape).argmax(1)).sum())

    def result(self) -> Fidelity:
        if not self.samples:
            raise ValueError("there is nothing to compare")
        norms = math.sqrt(self.signal * self.power)
        return Fidelity(
            sqnr_db=self._sqnr_db(),
            cosine=self.product / norms if norms else float(self.signal == self.power),
            max_abs=self.max_abs,
            top1_agreement=self.agreeing / self.rows if self.rows else None,
            samples=self.samples,
            not_finite=self.not_finite,
        )

    def _sqnr_db(self) -> float | None:
        if self.not_finite or (self.noise and not self.signal):
            return NO_SIGNAL_DB
        return 10 * math.log10(self.signal / self.noise) if self.noise else None


def class_rows(outputs: NDArray[Any]) -> NDArray[Any] | None:
    """Outputs as rows of classes, shape (batch, classes); None unless exactly one size after the batch is larger than 1."""
    wide = [size for size in outputs.shape[1:] if size != 1]
    return outputs.reshape(outputs.shape[0], wide[0]) if len(wide) == 1 and wide[0] > 1 else None


def accuracy(outputs: Iterable[tuple[NDArray[Any], int | None]]) -> Accuracy | None:
    """How often the largest outputs are the label.

    Args:
        outputs: (classes, label) of each sample; classes of shape (1, classes), or with further sizes of 1; label None if unknown.

    Returns:
        None where no sample has a label.

    Raises:
        ValueError: outputs hold no classes, or a label is none of them.
    """
    count = first = among_five = classes = 0
    for values, label in outputs:
        rows = class_rows(values)
        if rows is None or len(rows) != 1:
            raise ValueError(f"outputs of shape {values.shape} are not the classes of one sample")
        if label is None:
            continue
        classes = rows.shape[1]
        if not 0 <= label < classes:
            raise ValueError(f"label {label} is not one of {classes} classes")
        order = np.argsort(-rows[0].astype(np.float64), kind="stable")  # of equal values the first counts as larger, as argmax has it; NaN is last
        rank = int(np.flatnonzero(order == label)[0])
        count, first, among_five = count + 1, first + (rank == 0), among_five + (rank < 5)
    if not count:
        return None
    return Accuracy(top1=first / count, top5=among_five / count if classes > 5 else None, n=count)

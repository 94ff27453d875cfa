"""Means and covariances of what a product multiplies its weights with, batch after batch, shrunk where samples are few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_STEADY = 1e-4
"""Share of the mean variance added to every variance, so that the covariance can be inverted where inputs are copies of one another."""


@dataclass(slots=True)
class Moments:
    """Sums over batches; the batches, not the rows in them, are what is taken as independent.

    Rows of one batch come from few samples (places of one picture) and resemble one another; counted as so many
    independent rows they would make a covariance look much better known than it is.

    Attributes:
        total: sum of the products x xᵀ of all rows, shape (groups, inputs, inputs).
        mean_total: sum of all rows, shape (groups, inputs).
        squares: sum over batches of rows times the squared Frobenius norm of their mean product, shape (groups,).
        rows: how many.
        batches: how many.
    """

    total: NDArray[np.float32]
    mean_total: F64
    squares: F64
    rows: int
    batches: int

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Moments:
        """The moments of one batch.

        Args:
            rows: inputs, shape (groups, rows, inputs).
        """
        batch = Batch()
        batch.add(rows)
        return batch.moments()

    def add(self, other: Moments) -> None:
        """Count the batches of ``other``, too."""
        self.total += other.total
        self.mean_total += other.mean_total
        self.squares += other.squares
        self.rows += other.rows
        self.batches += other.batches

    @property
    def mean(self) -> F64:
        """Mean of each input, shape (groups, inputs)."""
        return self.mean_total / self.rows

    def covariance(self) -> F64:
        """The centred covariance, moved towards its own diagonal as far as the batches leave its other entries in doubt.

        Where inputs lie so far from zero that float32 does not show how they vary together, the diagonal alone is left.

        Returns:
            Positive definite, shape (groups, inputs, inputs).

        Source:
            Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
            Multivariate Analysis 88, 2004, eq. 14, with the diagonal as the target instead of a multiple of the identity, and with
            chance / (found + chance) as the share instead of chance / found: to shrink costs more where inputs do go
            together than it saves where they do not.
        """
        mean = self.mean
        found = self.total.astype(np.float64) / self.rows - mean[:, :, None] * mean[:, None, :]
        variances = np.maximum(np.einsum("gii->gi", found), 0.0)
        share = self._doubt(found)[:, None, None]
        shrunk = (1.0 - share) * found
        places = np.arange(found.shape[1])
        steady = _STEADY * variances.mean(axis=1, keepdims=True)
        steady = np.maximum(steady, _STEADY * 1e-6 * max(float(variances.max(initial=0.0)), 1e-30))
        shrunk[:, places, places] = variances + steady / 2
        shrunk[[not _is_definite(one) for one in shrunk]] *= np.eye(found.shape[1])
        shrunk[:, places, places] += steady / 2
        return shrunk

    def _doubt(self, found: F64) -> F64:
        """Share of what lies beside the diagonal that is chance, 0 to 1, shape (groups,)."""
        if self.batches < 2:
            return np.ones(len(found))
        spread = self.squares / self.rows - np.square(self.total / np.float32(self.rows)).sum(axis=(1, 2), dtype=np.float64)
        chance = np.maximum(spread, 0.0) / (self.batches - 1)
        beside = np.square(found).sum(axis=(1, 2)) - np.square(np.einsum("gii->gi", found)).sum(axis=1)
        return np.asarray(chance / np.maximum(beside + chance, 1e-300))


def _is_definite(matrix: F64) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


class Batch:
    """Sums over the rows of one batch, part by part, so that its rows need not be held together."""

    def __init__(self) -> None:
        self._product: NDArray[np.float32] | None = None
        self._total: F64 | None = None
        self._rows = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Count rows of the batch, shape (groups, rows, inputs)."""
        rows = np.asarray(rows, np.float32)
        product, total = np.matmul(rows.transpose(0, 2, 1), rows), rows.sum(axis=1, dtype=np.float64)
        self._product = product if self._product is None else np.add(self._product, product, out=self._product)
        self._total = total if self._total is None else self._total + total
        self._rows += rows.shape[1]

    def moments(self) -> Moments:
        """The moments of the batch.

        Raises:
            ValueError: it has no rows.
        """
        if self._product is None or self._total is None:
            raise ValueError("a batch without rows has no moments")
        squares = np.array([np.vdot(one, one) for one in self._product], np.float64) / self._rows
        return Moments(total=self._product, mean_total=self._total, squares=squares, rows=self._rows, batches=1)

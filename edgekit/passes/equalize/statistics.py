"""How large each channel of each tensor is on the samples; sums and extremes only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.graph.run import Runner
from edgekit.passes.streaming import Feed, Numbered, in_chunks
from edgekit.watch import Watcher

F64 = NDArray[np.float64]


@dataclass(slots=True)
class Extent:
    """Of the channels of a tensor, all arrays of shape (channels,).

    Attributes:
        largest: largest value seen.
        smallest: smallest value seen.
        mean_total: sum over samples of the mean.
        square_total: sum over samples of the mean square.
        samples: how many were seen.
    """

    largest: F64
    smallest: F64
    mean_total: F64
    square_total: F64
    samples: int = 1

    def add(self, other: Extent) -> None:
        """What ``other`` saw, too."""
        self.largest = np.maximum(self.largest, other.largest)
        self.smallest = np.minimum(self.smallest, other.smallest)
        self.mean_total += other.mean_total
        self.square_total += other.square_total
        self.samples += other.samples

    def moved(self, offset: F64) -> Extent:
        """What would have been seen with an offset taken from each channel."""
        squares = self.square_total - 2 * offset * self.mean_total + self.samples * np.square(offset)
        mean_total = self.mean_total - self.samples * offset
        return Extent(self.largest - offset, self.smallest - offset, mean_total, np.maximum(squares, 0.0), self.samples)

    @property
    def size(self) -> F64:
        """Largest distance from 0."""
        return np.maximum(self.largest, -self.smallest)

    @property
    def mean(self) -> F64:
        """Mean value."""
        return self.mean_total / self.samples

    @property
    def mean_square(self) -> F64:
        """Mean squared value."""
        return self.square_total / self.samples

    @property
    def deviation(self) -> F64:
        """Standard deviation."""
        return np.sqrt(np.maximum(self.mean_square - np.square(self.mean), 0.0))


def extent_of(values: NDArray[Any], axis: int) -> Extent:
    """The extent of one sample's values."""
    rows = values.reshape(int(np.prod(values.shape[:axis])), values.shape[axis], -1)
    return Extent(
        largest=rows.max(axis=(0, 2)).astype(np.float64),
        smallest=rows.min(axis=(0, 2)).astype(np.float64),
        mean_total=rows.mean(axis=(0, 2)).astype(np.float64),
        square_total=np.einsum("bcp,bcp->c", rows, rows).astype(np.float64) / (rows.shape[0] * rows.shape[2]),
    )


def extents(path: Path, axes: Mapping[str, int], feeds: Iterable[Feed], watcher: Watcher, *, bytes_held: int) -> dict[str, Extent]:
    """Run every sample through a graph and keep the extents of its channels.

    Args:
        path: of the graph.
        axes: tensors that nodes make, with the axis of their channels.
        feeds: the samples.
        watcher: told about every sample.
        bytes_held: by all of these tensors for one sample.

    Raises:
        SourceError: the graph cannot be run, or makes numbers that are not finite.
    """
    runner = Runner(path, outputs=sorted(axes), threads=1)

    def look(chunk: Numbered) -> tuple[int, dict[str, Extent]]:
        found: dict[str, Extent] = {}
        for _, feed in chunk:
            values = runner(feed)
            while values:
                tensor, array = values.popitem()
                if array.size:
                    _add(found, tensor, extent_of(array, axes[tensor]))
        return len(chunk), found

    seen: dict[str, Extent] = {}
    for count, found in in_chunks(look, feeds, bytes_held=2 * bytes_held):
        for tensor, extent in found.items():
            _add(seen, tensor, extent)
        watcher.advance(count)
    for tensor, extent in seen.items():
        if not np.all(np.isfinite(extent.square_total)):
            raise SourceError(
                f"{tensor}: infinite or not a number for one of the samples",
                hint="check the preprocessing of the samples (edgekit inspect shows the model's), and the float model itself",
            )
    return seen


def _add(extents_: dict[str, Extent], tensor: str, extent: Extent) -> None:
    if tensor in extents_:
        extents_[tensor].add(extent)
    else:
        extents_[tensor] = extent

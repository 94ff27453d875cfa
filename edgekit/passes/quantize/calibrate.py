"""What flows through a graph: every sample once, histograms and averages kept; the same for every scheme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SamplesError, SourceError
from edgekit.graph.run import Runner
from edgekit.numerics.observers import Histogram
from edgekit.passes.quantize.view import View
from edgekit.passes.quantize.weighted import Weighted, is_inside, weighted_nodes
from edgekit.watch import Watcher

VERSION = 1
"""Counts up when what is seen, or how it is kept, changes."""

FETCHED_AT_ONCE_BYTES = 512 * 2**20
"""Inner tensors held at once; a graph with more of them is run again for the rest, sample by sample."""

Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Observations:
    """What was seen of a graph's tensors.

    Attributes:
        histograms: by tensor.
        averages: by node with constant weights: what its weights are multiplied with on average, see
            :meth:`Weighted.average_input`.
        samples: how many were seen.
    """

    histograms: dict[str, Histogram]
    averages: dict[str, NDArray[np.float64]]
    samples: int


def calibrate(path: Path, view: View, feeds: Iterable[Feed], watcher: Watcher) -> Observations:
    """Run every sample through a graph and keep what was seen.

    Raises:
        SamplesError: there are none, or they make the graph overflow.
        SourceError: the graph cannot be run.
    """
    tensors = observed_tensors(view)
    weighted = list(weighted_nodes(view).values())
    histograms = {tensor: Histogram() for tensor in tensors}
    sums: dict[str, NDArray[np.float64]] = {}
    portions = [Runner(path, outputs=portion, threads=1) for portion in _portions(view, [t for t in tensors if view.maker(t) is not None])]
    count = 0
    for feed in feeds:
        for values in _values(portions, feed, view):
            _observe(histograms, values)
            _add_averages(sums, weighted, values)
        count += 1
        watcher.advance()
    if count == 0:
        raise SamplesError("there are no samples to calibrate with", hint="--samples DIR, with at least two pictures in it")
    return Observations(histograms=histograms, averages={name: total / count for name, total in sums.items()}, samples=count)


def observed_tensors(view: View) -> list[str]:
    """Every float tensor that some scheme may store as integers."""
    made = [name for node in view.nodes for name in node.output if name and view.is_float(name)]
    inputs = [name for name in view.inputs if view.is_float(name)]
    return inputs + [name for name in made if not is_inside(view, name)]


def _portions(view: View, tensors: list[str]) -> Iterator[list[str]]:
    """Tensors in runs that are fetched together."""
    portion: list[str] = []
    held = 0
    for tensor in tensors:
        size = 4 * math.prod(size for size in view.shape(tensor) or () if isinstance(size, int))
        if portion and held + size > FETCHED_AT_ONCE_BYTES:
            yield portion
            portion, held = [], 0
        portion.append(tensor)
        held += size
    yield portion


def _values(portions: list[Runner], feed: Feed, view: View) -> Iterator[dict[str, NDArray[Any]]]:
    yield {name: values for name, values in feed.items() if view.is_float(name)}
    for runner in portions:
        yield runner(feed)


def _observe(histograms: dict[str, Histogram], values: dict[str, NDArray[Any]]) -> None:
    for tensor, array in values.items():
        try:
            histograms[tensor].observe(array)
        except ValueError as error:
            raise SourceError(
                f"{tensor}: infinite or not a number for one of the samples: no range can hold it",
                hint="check the preprocessing of the samples (edgekit inspect shows the model's), and the float model itself",
            ) from error


def _add_averages(sums: dict[str, NDArray[np.float64]], weighted: list[Weighted], values: dict[str, NDArray[Any]]) -> None:
    for one in weighted:
        if one.input in values:
            average = one.average_input(values[one.input])
            sums[one.node] = sums[one.node] + average if one.node in sums else average


class _Kept(msgspec.Struct):
    """The observations' record beside their arrays; arrays are kept end to end, in the record's order."""

    samples: int
    histograms: dict[str, tuple[float, float, float, int, int]]
    averages: dict[str, tuple[int, ...]]


def write(observations: Observations, folder: Path) -> None:
    """Keep observations in a folder; see :func:`read`."""
    kept = _Kept(
        samples=observations.samples,
        histograms={name: (one.low, one.high, one.width, one.first, len(one.counts)) for name, one in observations.histograms.items()},
        averages={name: tuple(array.shape) for name, array in observations.averages.items()},
    )
    (folder / "observations.json").write_bytes(msgspec.json.encode(kept))
    nothing: list[NDArray[Any]] = [np.zeros(0)]
    np.save(folder / "counts.npy", np.concatenate([one.counts for one in observations.histograms.values()]))
    np.save(folder / "averages.npy", np.concatenate([array.reshape(-1) for array in observations.averages.values()] or nothing))


def read(folder: Path) -> Observations:
    """The observations that :func:`write` kept in a folder."""
    kept = msgspec.json.decode((folder / "observations.json").read_bytes(), type=_Kept)
    counts, averages = np.load(folder / "counts.npy"), np.load(folder / "averages.npy")
    result = Observations(histograms={}, averages={}, samples=kept.samples)
    at = 0
    for name, (low, high, width, first, bins) in kept.histograms.items():
        result.histograms[name] = Histogram(low, high, width, first, counts[at : at + bins])
        at += bins
    at = 0
    for name, shape in kept.averages.items():
        size = math.prod(shape)
        result.averages[name] = averages[at : at + size].reshape(shape)
        at += size
    return result

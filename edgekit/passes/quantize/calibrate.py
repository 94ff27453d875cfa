"""What flows through a graph: every sample once, in bounded memory; the same for every scheme."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgekit.errors import SamplesError, SourceError
from edgekit.graph.run import Runner
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted, is_inside
from edgekit.numerics.moments import Batch, Moments
from edgekit.numerics.observers import Histogram
from edgekit.numerics.portions import in_portions
from edgekit.passes.quantize.patches import in_blocks, patches
from edgekit.passes.streaming import Feed, Numbered, in_chunks
from edgekit.watch import Watcher

FETCHED_AT_ONCE_BYTES = 96 * 2**20
"""Inner tensors held at once by a thread; a graph with more of them is run again for the rest, sample by sample."""


@dataclass(slots=True)
class Seen:
    """What was seen of a graph's tensors.

    Attributes:
        histograms: by tensor.
        moments: of the inputs of nodes with constant weights, by node.
        samples: how many were seen.
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    samples: int = 0

    def add(self, other: Seen) -> None:
        """What ``other`` saw, too."""
        for tensor, histogram in other.histograms.items():
            self.histograms[tensor] = self.histograms[tensor].joined(histogram) if tensor in self.histograms else histogram
        for node, moments in other.moments.items():
            if node in self.moments:
                self.moments[node].add(moments)
            else:
                self.moments[node] = moments
        self.samples += other.samples


def calibrate(path: Path, view: View, feeds: Iterable[Feed], watcher: Watcher, weighted: Sequence[Weighted] = ()) -> Seen:
    """Run every sample through a graph and keep what was seen.

    Args:
        path: of the graph.
        view: of the graph.
        feeds: the samples.
        watcher: told about every sample.
        weighted: nodes whose inputs' moments are wanted.

    Raises:
        SamplesError: there are none, or they make the graph overflow.
        SourceError: the graph cannot be run.
    """
    look = _Look(path, view, tuple(weighted))
    seen = Seen()
    for chunk in in_chunks(look, feeds, bytes_held=look.bytes_held):
        seen.add(chunk)
        watcher.advance(chunk.samples)
    if seen.samples == 0:
        raise SamplesError("there are no samples to calibrate with", hint="--samples DIR, with at least two pictures in it")
    return seen


def observed_tensors(view: View) -> list[str]:
    """Every float tensor that some scheme may store as integers."""
    made = [name for node in view.nodes for name in node.output if name and view.is_float(name)]
    inputs = [name for name in view.inputs if view.is_float(name)]
    return inputs + [name for name in made if not is_inside(view, name)]


class _Look:
    """Looks at chunks of samples."""

    def __init__(self, path: Path, view: View, weighted: tuple[Weighted, ...]) -> None:
        self._view = view
        self._weighted: dict[str, list[Weighted]] = {}
        for one in weighted:
            self._weighted.setdefault(one.input, []).append(one)
        self._tensors = frozenset(observed_tensors(view))
        made = {name for node in view.nodes for name in node.output}
        wanted = [name for name in made if name in self._tensors or name in self._weighted]
        portions = list(fetched_together(view, sorted(wanted)))
        largest = max((4 * sum(map(view.numbers, portion)) for portion in portions), default=0)
        self.bytes_held = 3 * largest + 2**20  # its values, and about as much twice while they are computed and counted
        self._portions = [Runner(path, outputs=portion, threads=1) for portion in portions]

    def __call__(self, chunk: Numbered) -> Seen:
        """What a chunk of numbered samples shows."""
        seen = Seen(samples=len(chunk))
        batches: dict[str, Batch] = {}
        for number, feed in chunk:
            for tensor, values in self._values(feed):
                if tensor in self._tensors:
                    _observe(seen.histograms.setdefault(tensor, Histogram()), tensor, values)
                for one in self._weighted.get(tensor, ()):
                    batches.setdefault(one.node, Batch()).add(in_blocks(patches(one, values, number)))
        seen.moments = {node: batch.moments() for node, batch in batches.items()}
        return seen

    def _values(self, feed: Feed) -> Iterator[tuple[str, NDArray[Any]]]:
        yield from ((name, values) for name, values in feed.items() if self._view.is_float(name))
        for runner in self._portions:
            values = runner(feed)
            while values:
                yield values.popitem()  # so that it can go as soon as it has been looked at


def fetched_together(view: View, tensors: list[str]) -> Iterator[list[str]]:
    """Tensors in runs that are fetched together."""
    return in_portions(tensors, lambda tensor: 4 * view.numbers(tensor), FETCHED_AT_ONCE_BYTES)


def _observe(histogram: Histogram, tensor: str, values: NDArray[Any]) -> None:
    try:
        histogram.observe(values)
    except ValueError as error:
        raise SourceError(
            f"{tensor}: infinite or not a number for one of the samples: no range can hold it",
            hint="check the preprocessing of the samples (edgekit inspect shows the model's), and the float model itself",
        ) from error

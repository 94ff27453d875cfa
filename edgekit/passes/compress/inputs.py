"""What weights are multiplied with on the samples, as moments, a few nodes at a time so that little is held."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SamplesError
from edgekit.graph.run import Runner
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.model import Model
from edgekit.numerics.moments import Batch, Moments
from edgekit.numerics.portions import in_portions
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize.patches import block_sizes, from_blocks, in_blocks, patches
from edgekit.passes.streaming import Feed, Numbered, in_chunks
from edgekit.watch import Watcher

SAMPLES = 256
"""More of them are not looked at: covariances of some hundred samples at many places each are known well enough."""

LARGEST = 4608
"""Inputs of a covariance that is kept whole; of more, variances are kept alone. Ten such matrices are a gigabyte and a half."""

_HELD_BYTES = 384 * 2**20


def looked_at(model: Model, view: View, nodes: Sequence[Weighted], supplies: Supplies, *, blocked: bool) -> Iterator[tuple[Weighted, Moments]]:
    """The moments of each node's inputs, nodes in portions, each of which runs the samples once.

    Args:
        model: the model.
        view: of its graph.
        nodes: whose inputs.
        supplies: samples, and who watches.
        blocked: keep a covariance of many inputs in blocks, as the quantizer does; otherwise whole, or beyond
            :data:`LARGEST` inputs as blocks of one input each.

    Raises:
        SamplesError: there are none, or they do not fit.
        SourceError: the graph cannot be run.
    """
    samples = supplies.samples
    assert samples is not None, "whoever calls looks whether there are samples"

    def feeds() -> Iterator[Feed]:
        return itertools.islice(samples.feeds("calibrating", model.signature), SAMPLES)

    for portion in _portions(view, nodes, blocked=blocked):
        seen = _seen(model.path, view, portion, feeds, supplies.watcher, blocked=blocked)
        for one in portion:
            yield one, seen.pop(one.node)


def covariance_of(moments: Moments, inputs: int) -> NDArray[np.float64]:
    """The covariance of a node's inputs if it was kept whole, shape (inputs, inputs); else their variances, shape (inputs,).

    Args:
        moments: of a node that has one group, not in blocks.
        inputs: how many.
    """
    found = moments.covariance()
    return found.reshape(-1)[:inputs] if len(found) > 1 else found[0]


def average_of(moments: Moments, one: Weighted, inputs: int) -> NDArray[np.float64]:
    """What a node's weights are multiplied with on average, shape (groups, inputs)."""
    return from_blocks(moments.mean[:, None, :], one.groups, inputs)[:, 0, :]


def _inputs(view: View, one: Weighted) -> int:
    shape = view.constants[one.weight].dims
    return int(np.prod(shape)) // int(shape[one.axis]) // (one.groups if one.window is not None and one.window.is_transposed else 1)


def _portions(view: View, nodes: Sequence[Weighted], *, blocked: bool) -> Iterator[list[Weighted]]:
    def size_of(one: Weighted) -> int:
        inputs = _inputs(view, one)
        return 4 * one.groups * inputs * (block_sizes(inputs)[1] if blocked else inputs if inputs <= LARGEST else 1)

    return in_portions(nodes, size_of, _HELD_BYTES)


def _seen(
    path: Path, view: View, portion: list[Weighted], feeds: Callable[[], Iterable[Feed]], watcher: Watcher, *, blocked: bool
) -> dict[str, Moments]:
    wanted = sorted({one.input for one in portion} - {*view.inputs})
    runner = Runner(path, outputs=wanted, threads=1) if wanted else None

    def look(chunk: Numbered) -> tuple[int, dict[str, Moments]]:
        batches: dict[str, Batch] = {}
        for number, feed in chunk:
            values = {**feed, **(runner(feed) if runner is not None else {})}
            for one in portion:
                batches.setdefault(one.node, Batch()).add(_rows(one, values[one.input], number, blocked=blocked))
        return len(chunk), {node: batch.moments() for node, batch in batches.items()}

    watcher.begin("look at inputs")
    found: dict[str, Moments] = {}
    total = 0
    for count, moments in in_chunks(look, feeds(), bytes_held=_HELD_BYTES // 2):
        total += count
        for node, one in moments.items():
            if node in found:
                found[node].add(one)
            else:
                found[node] = one
        watcher.advance(count)
    if not total:
        raise SamplesError("there are no samples to look at inputs with", hint="--samples DIR, with at least two pictures in it")
    watcher.end(f"{total} samples, {len(portion)} nodes")
    return found


def _rows(one: Weighted, values: NDArray[np.generic], number: int, *, blocked: bool) -> NDArray[np.float32]:
    rows = patches(one, values, number)
    if blocked:
        return in_blocks(rows)
    return rows if rows.shape[2] <= LARGEST else np.ascontiguousarray(rows.transpose(0, 2, 1).reshape(-1, rows.shape[1], 1))

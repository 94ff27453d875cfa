"""Weights rounded by learning on samples which way each goes: block by block, against the float graph.

Of this room, only this file and ``blocks`` may be imported where torch is not installed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import SamplesError, UnsupportedError
from edgekit.extras import extra
from edgekit.graph.trainable import trainable
from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.passes.quantize.decide import Decision
from edgekit.passes.quantize.learned.blocks import Block, blocks
from edgekit.passes.quantize.observations import Observations
from edgekit.passes.streaming import Feed
from edgekit.watch import Watcher

if TYPE_CHECKING:
    import onnx

VERSION = 1
"""Counts up when what is learned changes."""

SAMPLES = 256
"""So many are learned from at most, those held out included; fewer where they would take more than :data:`HELD_BYTES`."""

HELD_BYTES = 384 * 2**20
"""What is kept of all samples together between two blocks; while one is learned, up to two and a half times as much."""

FEWEST = 8
"""So many are needed, however large they are: a quarter of them judges."""

_FILE = "integers.npz"
_OTHERWISE = "--set quantize.rounding=compensated"


@dataclass(frozen=True, slots=True)
class Start:
    """What there is before anything is learned.

    Attributes:
        proto: the float graph, shapes inferred.
        view: of it.
        seen: what flowed through it.
        decision: all numbers, weights rounded without learning.
        correct_bias: whether biases take up the average error of rounded weights.
    """

    proto: onnx.ModelProto
    view: View
    seen: Observations
    decision: Decision
    correct_bias: bool


def check(proto: onnx.ModelProto, samples: int) -> None:
    """Refuse what can be refused before anything calibrates.

    Raises:
        SamplesError: there are too few samples.
        UnsupportedError: nodes of the graph have no counterpart in torch here.
    """
    try:
        trainable(proto)
    except UnsupportedError as error:
        raise UnsupportedError("rounding cannot be learned through these nodes:", hint=_OTHERWISE, refusals=error.refusals) from error
    if samples < FEWEST:
        hint = f"give more samples, or {_OTHERWISE}"
        raise SamplesError(f"quantize: rounding = learned needs {FEWEST} samples that calibrate, there are {samples}", hint=hint)


def learn(start: Start, feeds: Iterable[Feed], watcher: Watcher, folder: Path) -> None:
    """Learn which way weights are rounded, of a graph and samples that :func:`check` takes, and keep that in a folder; see
    :func:`with_learned`. Weights that have something to keep are left as they are.

    Raises:
        MissingExtraError: torch is not installed.
    """
    with extra("torch"):
        from edgekit.passes.quantize.learned.learning import learned_integers
    free = {name: one for name, one in weighted_nodes(start.view).items() if one.weight not in start.view.structures}
    parts = blocks(start.view, free) if free else ()
    held = list(itertools.islice(feeds, _how_many(start.view, parts)))
    watcher.begin("learn rounding", len(parts))
    found, adopted = learned_integers(start, parts, held, watcher)
    np.savez(folder / _FILE, **found)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options
    watcher.end(f"{adopted} of {len(parts)} blocks came nearer to float")


def with_learned(seen: Observations, decision: Decision, folder: Path) -> Observations:
    """What was seen, with learned integers in the place of those that were rounded without learning.

    Args:
        seen: what was seen.
        decision: what was started from.
        folder: filled by :func:`learn`.
    """
    weights = dict(seen.weights)
    with np.load(folder / _FILE) as arrays:
        for node, integers in arrays.items():
            scale = np.resize(decision.weights[node].affine.scale, len(integers))
            weights[node] = dataclasses.replace(weights[node], integers=integers, scale=scale)
    return dataclasses.replace(seen, weights=weights)


def _how_many(view: View, parts: tuple[Block, ...]) -> int:
    """Samples that are learned from: of each, what goes on behind a block is kept twice, exact and rounded."""
    largest = max((4 * sum(map(view.numbers, block.left)) for block in parts), default=0)
    inputs = 4 * sum(map(view.numbers, view.inputs))
    return max(FEWEST, min(SAMPLES, HELD_BYTES // max(2 * max(largest, inputs), 1)))

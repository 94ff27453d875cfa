"""What calibration leaves behind, in a folder: ranges, averages, and weights rounded on what was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgekit.numerics.observers import Histogram

VERSION = 2
"""Counts up when what is seen, or how it is kept, changes."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """Weights rounded on what they are multiplied with.

    Attributes:
        integers: a row an output channel, shape (output channels, inputs).
        scale: of each row.
        added: what rounding adds to the variance of each output channel, in the output's unit squared; of learned ones, what
            those they were learned from add.
        nearest: what rounding to the nearest would have added.
    """

    integers: NDArray[np.int8]
    scale: NDArray[np.float32]
    added: NDArray[np.float64]
    nearest: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Observations:
    """What was seen of a graph's tensors.

    Attributes:
        histograms: by tensor.
        averages: by node with constant weights: what its weights are multiplied with on average, shape (groups, inputs).
        weights: by node, where they were rounded on what was seen.
        samples: how many were seen.
    """

    histograms: dict[str, Histogram]
    averages: dict[str, NDArray[np.float64]]
    weights: dict[str, Rounded]
    samples: int


class _Kept(msgspec.Struct):
    """The observations' record beside their arrays."""

    samples: int
    histograms: dict[str, tuple[float | None, float | None, float, int, int, float, float, int]]
    averages: list[str]
    weights: list[str]


def write(observations: Observations, folder: Path) -> None:
    """Keep observations in a folder; see :func:`read`."""
    kept = _Kept(
        samples=observations.samples,
        histograms={
            name: (one.low, one.high, one.width, one.first, len(one.counts), one.lows, one.highs, one.samples)
            for name, one in observations.histograms.items()
        },
        averages=list(observations.averages),
        weights=list(observations.weights),
    )
    (folder / "observations.json").write_bytes(msgspec.json.encode(kept))
    arrays: dict[str, NDArray[Any]] = {"counts": np.concatenate([one.counts for one in observations.histograms.values()])}
    arrays |= {f"average/{at}": array for at, array in enumerate(observations.averages.values())}
    for at, one in enumerate(observations.weights.values()):
        arrays |= {f"weight/{at}/{part}": getattr(one, part) for part in Rounded.__slots__}
    np.savez(folder / "observations.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options


def read(folder: Path) -> Observations:
    """The observations that :func:`write` kept in a folder."""
    kept = msgspec.json.decode((folder / "observations.json").read_bytes(), type=_Kept)
    histograms: dict[str, Histogram] = {}
    with np.load(folder / "observations.npz") as arrays:
        counts, at = arrays["counts"], 0
        for name, (low, high, width, first, bins, lows, highs, samples) in kept.histograms.items():
            histograms[name] = Histogram(_number(low, math.inf), _number(high, -math.inf), width, first, counts[at : at + bins], lows, highs, samples)
            at += bins
        averages = {name: arrays[f"average/{at}"] for at, name in enumerate(kept.averages)}
        weights = {name: Rounded(*(arrays[f"weight/{at}/{part}"] for part in Rounded.__slots__)) for at, name in enumerate(kept.weights)}
    return Observations(histograms=histograms, averages=averages, weights=weights, samples=kept.samples)


def _number(value: float | None, missing: float) -> float:
    """JSON has no infinity: the ends of what saw nothing come back as None."""
    return missing if value is None else value

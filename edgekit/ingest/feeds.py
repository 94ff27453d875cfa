"""Inputs that a source and its Model are compared on, and what the source made of them: kept beside the Model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.errors import SourceError
from edgekit.model import Preprocess, Signature, Tensor
from edgekit.model.signature import RAW_PIXELS
from edgekit.model.store import writing
from edgekit.samples import Samples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

PARITY_FILE = "parity.npz"
_RANDOM_FEEDS = 2
_REPEATS_TO = 1e-3
OPEN_BATCH = 2
OPEN_SIZE = 224
"""What a size that is kept open is tried at: the batch, any other."""


def record_parity(
    call: Callable[[Arrays], Arrays],
    signature: Signature,
    out: Path,
    *,
    samples: Samples | None,
    count: int,
    divisors: frozenset[str] = frozenset(),
) -> None:
    """Run a source on a few inputs and keep inputs and outputs in ``out/parity.npz``.

    Args:
        call: the source framework's outputs by name, for inputs by name.
        signature: of the source.
        out: an existing folder.
        samples: used where it is known how they become inputs.
        count: how many of the samples.
        divisors: names of inputs that get no random 0 if they are integers.

    Raises:
        SourceError: for the same input the source gives another output when it is run again.
    """
    import numpy as np

    kept: Arrays = {}
    for index, feed in enumerate(feeds(signature, samples, count, divisors)):
        outputs = call(feed)
        if index == 0:
            _check_repeats(outputs, call(feed))
        kept |= {f"in/{index}/{name}": array for name, array in feed.items()}
        kept |= {f"out/{index}/{name}": np.asarray(array) for name, array in outputs.items()}
    with writing(out), (out / PARITY_FILE).open("wb") as stream:
        np.savez(stream, allow_pickle=False, **kept)


def _check_repeats(outputs: Arrays, again: Arrays) -> None:
    import numpy as np

    for name, values in outputs.items():
        scale = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) if values.dtype.kind == "f" else 0.0
        if values.shape != again[name].shape or not np.allclose(values, again[name], rtol=0, atol=_REPEATS_TO * scale, equal_nan=True):
            raise SourceError(
                f"output {name} is another when the source is run again on the same input",
                hint="remove what draws random numbers or keeps state from the network",
            )


def read_parity(out: Path) -> list[tuple[Arrays, Arrays]]:
    """Inputs and outputs by name, one pair a feed, of ``out/parity.npz``."""
    import numpy as np

    pairs: dict[int, tuple[Arrays, Arrays]] = {}
    with np.load(out / PARITY_FILE, allow_pickle=False) as held:
        for key in held.files:
            side, index, name = key.split("/", 2)
            pairs.setdefault(int(index), ({}, {}))[side == "out"][name] = held[key]
    return [pairs[index] for index in sorted(pairs)]


def feeds(signature: Signature, samples: Samples | None, count: int, divisors: frozenset[str] = frozenset()) -> list[Arrays]:
    """Two random inputs, the same every time, and the first ``count`` samples that judge."""
    import numpy as np

    random = np.random.default_rng(0)
    made: list[Arrays] = [{tensor.name: _random(random, tensor, signature.preprocess) for tensor in signature.inputs} for _ in range(_RANDOM_FEEDS)]
    for feed in made:
        for name in divisors & feed.keys():
            if feed[name].dtype.kind in "iu":
                feed[name] += feed[name] == 0
    if samples is None:
        return made
    preprocess = signature.preprocess or samples.preprocess
    if samples.kind == "images" and preprocess is None:
        return made
    known = msgspec.structs.replace(signature, preprocess=preprocess)
    return [*made, *itertools.islice(samples.feeds("judging", known), count)]


def _random(random: np.random.Generator, tensor: Tensor, preprocess: Preprocess | None) -> NDArray[Any]:
    """Values an input may have: pixels, numbers of the order of one, and small integers, since those may be indices."""
    import numpy as np

    shape = [size if isinstance(size, int) else OPEN_SIZE if axis else OPEN_BATCH for axis, size in enumerate(tensor.shape)]
    kind = np.dtype(tensor.dtype)
    if kind.kind in "iub":
        return random.integers(0, 2, shape).astype(kind)
    values = random.uniform(0, 255, shape) if preprocess is not None and preprocess.std == RAW_PIXELS.std else random.standard_normal(shape)
    return values.astype(kind)

"""Known inputs, and what the engine answers to them here: what a device must answer before it takes the engine over."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import edgekit.run
from edgekit.bundle.manifest import Manifest
from edgekit.engine.contract import Engine
from edgekit.errors import UsageError
from edgekit.model import Signature
from edgekit.run import health
from edgekit.run.errors import RunError
from edgekit.run.tensors import write_tensors
from edgekit.samples import Samples

if TYPE_CHECKING:
    from edgekit.samples import Feed

QUERIES = 4
SEED = 0


def write_inputs(folder: Path, engine: Engine, signature: Signature, samples: Samples | None) -> int:
    """Write the known inputs: the first samples that judge, or made-up ones, the same each time.

    Returns:
        How many.

    Raises:
        SamplesError: a sample does not fit the engine.
    """
    from edgekit.measure.ports import feed_tensors

    feeds = samples.feeds("judging", signature) if samples is not None else made_up(signature)
    told = [feed_tensors(feed, engine, signature) for feed in itertools.islice(feeds, QUERIES)]
    write_tensors(str(folder / "inputs"), told)
    return len(told)


def made_up(signature: Signature, *, seed: int = SEED) -> Iterator[Feed]:
    """Inputs of a signature's shapes: pixels of noise, prepared as pictures are; other reals from 0 to 1, integers 0. Open sizes become 1."""
    import numpy as np

    generator = np.random.default_rng(seed)
    how = signature.preprocess
    while True:
        feed: Feed = {}
        for tensor in signature.inputs:
            shape = [size if isinstance(size, int) else 1 for size in tensor.shape]
            if how is not None and len(signature.inputs) == 1 and len(shape) == 4:
                channels = (1, 1, 1, -1) if tensor.layout == "nhwc" else (1, -1, 1, 1)
                mean, std = (np.asarray(values, np.float32).reshape(channels) for values in (how.mean, how.std))
                values: Any = (generator.integers(0, 256, shape).astype(np.float32) - mean) / std
            else:
                values = generator.random(shape) if np.issubdtype(np.dtype(tensor.dtype), np.floating) else np.zeros(shape)
            feed[tensor.name] = values.astype(tensor.dtype)
        yield feed


def write_outputs(stage: Path, manifest: Manifest) -> None:
    """Run the engine here as the device will, and write what it answers.

    Args:
        stage: the bundle's members as they will lie in a slot, but for these.
        manifest: of the bundle; of an engine that is built on the device, its graph answers in ONNX Runtime.

    Raises:
        UsageError: it does not run here.
    """
    try:
        outputs, _ = _from_graph(stage, manifest) if manifest.build is not None else health.answers(str(stage), msgspec.to_builtins(manifest))
    except RunError as error:
        raise UsageError(
            f"{manifest.title}: what it answers cannot be recorded here: {error.reason}", hint="`edgekit doctor` says what runs its engines"
        ) from error
    if not math.isfinite(health.difference(outputs, outputs)):
        raise UsageError(
            f"{manifest.title}: some of what it answers is not finite, and cannot be compared", hint="--samples with inputs that it is made for"
        )
    write_tensors(str(stage / health.FOLDER / "outputs"), outputs)


def _from_graph(stage: Path, manifest: Manifest) -> Any:
    """What the graph answers that the device builds from; the adapter for ONNX Runtime does not stay in the bundle."""
    opened = msgspec.structs.replace(manifest.engine, runtime="onnxruntime", options={})
    adapter = stage / "runner" / "edgekit_run" / "onnxruntime.py"
    shutil.copyfile(Path(edgekit.run.__file__).with_name(adapter.name), adapter)
    try:
        return health.answers(str(stage), msgspec.to_builtins(msgspec.structs.replace(manifest, engine=opened)))
    finally:
        adapter.unlink()

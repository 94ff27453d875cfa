"""What an NPU would compute of a model, known before anything calibrates: an engine of ranges that random inputs gave."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import msgspec

from edgekit import plugins
from edgekit.engine.contract import Backend, NpuEstimate
from edgekit.model import Model
from edgekit.passes.contract import Supplies
from edgekit.pipeline.assess import random_feeds
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan, runtime_of
from edgekit.report import npu_lines
from edgekit.samples import read_samples
from edgekit.target import Chosen

QUANTIZE = "quantize"
ESTIMATE_FILE = "npu.json"
_FEEDS = 4
_QUICK = {"observer": "minmax", "rounding": "nearest", "correct_bias": False, "float_if_free": False}


def foreseen(plan: Plan, ready: Model, workshop: Workshop) -> tuple[str, ...]:
    """Of every target that computes in integers alone, what it would compute and what not, in sentences.

    Raises:
        UnsupportedError: the compiler refuses the model.
        ChildError: it crashed or took too long.
    """
    lines: list[str] = []
    for one in plan.chosen:
        scheme = runtime_of(one).scheme
        if scheme is not None and scheme.integers_alone:
            estimate = _drafted(one, plan, ready, workshop)
            lines += [f"{one.key}, drafted before anything calibrates: {line}" for line in npu_lines(estimate)] if estimate is not None else []
    return tuple(lines)


def _drafted(one: Chosen, plan: Plan, ready: Model, workshop: Workshop) -> NpuEstimate | None:
    """The estimate of an engine whose operators and sizes are those of the real one, and whose numbers mean nothing."""
    backend: Backend = plugins.load("edgekit.backends", one.runtime)()
    options = next((step.options for step in plan.steps if step.name == QUANTIZE), {})
    quantize = plugins.load("edgekit.passes", QUANTIZE)(**_QUICK, keep_float=tuple(options.get("keep_float", ())))

    def make(out: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="edgekit-draft-") as name:
            folders = [Path(name, part) for part in ("samples", "quantized", "engine")]
            for folder in folders:
                folder.mkdir()
            _write_samples(ready, folders[0])
            supplies = Supplies(samples=read_samples(folders[0]), scheme=runtime_of(one).scheme)
            quantized = quantize(ready, supplies, folders[1])
            engine = backend.compile(quantized, one.target, None, folders[2])
        (out / ESTIMATE_FILE).write_bytes(msgspec.json.encode(engine.npu))

    decided_by = {
        "model": ready.sha256,
        "signature": ready.signature,
        "target": one.target,
        "keep_float": options.get("keep_float"),
        "tools": {**quantize.tools(), **backend.tools()},
    }
    folder, _, _ = workshop.folder(f"draft {one.key}", decided_by, make)
    return msgspec.json.decode((folder / ESTIMATE_FILE).read_bytes(), type=NpuEstimate | None)


def _write_samples(model: Model, folder: Path) -> None:
    """Files as :func:`numpy.savez` writes them, which has words of its own that no input may be called."""
    from numpy.lib import format as npy

    for index, feed in enumerate(random_feeds(model.signature, count=_FEEDS)):
        with zipfile.ZipFile(folder / f"{index}.npz", "w") as archive:
            for name, array in feed.items():
                with archive.open(f"{name}.npy", "w") as stream:
                    npy.write_array(stream, array, allow_pickle=False)

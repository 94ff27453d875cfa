"""What a graph computes as a torch module, beside ONNX Runtime: the largest difference over an architecture's outputs.

    python tests/benchmarks/learn/parity.py FOLDER [NAME …] [--store FOLDER]

``FOLDER`` holds networks as ``tests/benchmarks/zoo/zoo.py`` makes them: ``NAME.pt2`` or ``NAME.keras`` beside ``NAME.npz``, whose
arrays ``x…`` are fed. Each is ingested, simplified and fused as a build does it, and the module is made of that graph. Error is the
largest difference relative to the span of that output's values.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.errors import EdgekitError
from edgekit.graph.onnx_file import load
from edgekit.graph.run import Runner
from edgekit.graph.trainable import trainable
from edgekit.model import Store
from edgekit.pipeline.line import ingested, prepared
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Request, check
from edgekit.watch import SILENT

MOST = 1e-5
Array = NDArray[Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", type=Path, help="where steps are kept; the user's own store if left out")
    parser.add_argument("names", nargs="*")
    given = parser.parse_intermixed_args()
    sources = sorted(path for suffix in ("*.pt2", "*.keras") for path in given.folder.glob(suffix))
    store = Store(given.store) if given.store else Store()
    torch.set_num_threads(1)
    above = failed = 0
    print("| network | nodes | error | largest output | s |\n|---|---|---|---|---|")
    for source in sources:
        if given.names and source.stem not in given.names:
            continue
        try:
            row, error = _row(source, store)
        except EdgekitError as wrong:
            row, error, failed = f"{type(wrong).__name__}: {' '.join(str(wrong).split())[:150]} | | |", 0.0, failed + 1
        above += error > MOST
        print(f"| {source.name} | {row} |", flush=True)
    print(f"above {MOST:.0e}: {above}; not possible: {failed}")
    return int(above + failed > 0)


def _row(source: Path, store: Store) -> tuple[str, float]:
    plan = check(Request(source=source, targets=("x86",), recipe="float", trust=True))
    workshop = Workshop(store=store, watcher=SILENT)
    proto = load(prepared(plan, ingested(plan, workshop)[0], workshop).path)
    arrays = np.load(source.with_suffix(".npz"))
    values = [arrays[name] for name in sorted(arrays.files) if name.startswith("x")]
    feed = {port.name: value for port, value in zip(proto.graph.input, values, strict=True)}
    wanted = Runner(proto.SerializeToString(), threads=1)(feed)
    module = trainable(proto)
    begun = time.perf_counter()
    with torch.no_grad():
        got = {name: value.numpy() for name, value in module({name: torch.from_numpy(value) for name, value in feed.items()}).items()}
    took = time.perf_counter() - begun
    error = max(_error(wanted[name], got[name]) for name in wanted)
    largest = max(float(np.abs(value).max()) for value in wanted.values())
    return f"{len(proto.graph.node)} | {error:.1e} | {largest:.3g} | {took:.2f}", error


def _error(wanted: Array, got: Array) -> float:
    """The largest difference relative to the span of what was wanted."""
    if wanted.shape != got.shape:
        return float("inf")
    span = float(wanted.max() - wanted.min()) or float(np.abs(wanted).max()) or 1.0
    return float(np.abs(wanted.astype(np.float64) - got).max()) / span


if __name__ == "__main__":
    sys.exit(main())

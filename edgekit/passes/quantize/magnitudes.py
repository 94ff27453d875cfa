"""The largest number each tensor of a float graph holds on the samples, so that what overflows half precision is known before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.graph.run import Runner
from edgekit.graph.view import View
from edgekit.passes.quantize.calibrate import fetched_together
from edgekit.passes.streaming import Feed
from edgekit.watch import Watcher

if TYPE_CHECKING:
    import onnx

HEADROOM = 4.0
"""Samples do not show the largest that will come: four times what was seen has to fit."""

SQUARES = frozenset({"LayerNormalization", "InstanceNormalization", "GroupNormalization", "ReduceL2", "ReduceSumSquare", "LpNormalization"})
"""Operators that square what they read on their way, which shows in none of their outputs."""


def largest_seen(path: Path, view: View, feeds: Iterable[Feed], watcher: Watcher) -> dict[str, float]:
    """Largest finite absolute value by float tensor, inputs included; infinite ones are meant so and do not count.

    Raises:
        SourceError: the graph cannot be run.
    """
    made = sorted({name for node in view.nodes for name in node.output if name and view.is_float(name)})
    runners = [Runner(path, outputs=portion) for portion in fetched_together(view, made)]
    largest: dict[str, float] = {}
    for feed in feeds:
        values = {name: array for name, array in feed.items() if view.is_float(name)}
        for runner in runners:
            values.update(runner(feed))
            for name, array in values.items():
                finite = np.abs(array[np.isfinite(array)])
                if finite.size:
                    largest[name] = max(largest.get(name, 0.0), float(finite.max()))
            values = {}
        watcher.advance()
    return largest


def reason_for_overflow(node: onnx.NodeProto, largest: Mapping[str, float], limit: float, name: str) -> str:
    """Why a node must not compute in a format that ends at ``limit``; "" if nothing that was seen speaks against it."""
    for tensor in (*node.input, *node.output):
        seen = largest.get(tensor, 0.0)
        if seen * HEADROOM > limit:
            return f"{tensor} reached {seen:g} on the samples: {HEADROOM:g} times that is beyond {name}, which ends at {limit:g}"
    if node.op_type in SQUARES:
        seen = largest.get(node.input[0], 0.0)
        if (seen * HEADROOM) ** 2 > limit:
            return f"it squares {node.input[0]}, which reached {seen:g} on the samples: beyond {name}, which ends at {limit:g}"
    return ""

"""Latency for passes that go by it: a model is compiled and timed on the device, and the time kept in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from edgekit.errors import UsageError
from edgekit.measure import Load, measure
from edgekit.model import Model
from edgekit.pipeline.assess import timing_feeds
from edgekit.pipeline.line import backend_of, engine_inputs
from edgekit.pipeline.place import Bench, why_not_here
from edgekit.pipeline.steps import Workshop
from edgekit.plan import Plan
from edgekit.target import Chosen

LATENCY_FILE = "latency.json"
LOAD = Load(warmup_s=0.02, warmup_queries=3, min_queries=30, min_duration_s=0.15, max_duration_s=3.0)
"""A layer is timed for a moment: there are many, and one beside the other their times are compared."""

Cost = Callable[[Model], float]


def costing(one: Chosen, plan: Plan, bench: Bench, workshop: Workshop) -> Cost:
    """``cost(model)``: milliseconds, the median of some queries on the device, one thread.

    Whoever calls it may get a UsageError: engines of the target cannot be run on the device.
    """
    backend = backend_of(one, plan)

    def cost(model: Model) -> float:
        def make(out: Path) -> None:
            engine = backend.compile(model, one.target, None, out)
            if reason := why_not_here(engine, bench):
                raise UsageError(f"{one.key}: its latency cannot be measured: {reason}", hint="of = macs goes by multiply-adds instead")
            if bench.device.facts.emulated:
                raise UsageError(f"{one.key}: an emulated device has no latency", hint="of = macs goes by multiply-adds instead")
            found = measure(out, engine, timing_feeds(None, model.signature), bench.device, LOAD, signature=model.signature)
            (out / LATENCY_FILE).write_bytes(msgspec.json.encode(float(np.median(found.latencies_ns)) / 1e6))

        decided_by = {**engine_inputs(one, model, backend), "device": bench.device.facts, "load": LOAD}
        folder, _, _ = workshop.folder("latency", decided_by, make, quiet=True)
        return msgspec.json.decode((folder / LATENCY_FILE).read_bytes(), type=float)

    return cost

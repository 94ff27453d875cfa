"""What the outputs lose when one group alone is pruned, or one layer: measured on samples, share by share."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.channels import ChannelGroups, cut
from edgekit.graph.run import Runner
from edgekit.numerics.fidelity import fidelity
from edgekit.passes.compress.prune.choose import Candidate

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.streaming import Feed

F64 = NDArray[np.float64]

SHARES = (0.25, 0.5, 0.75)
"""Of what is pruned alone."""
_FEEDS = 16
"""Samples that every trial runs on."""


def measured(found: ChannelGroups, candidates: Sequence[Candidate], feeds: Sequence[Feed]) -> list[Candidate]:
    """The candidates with the damage that pruning each group alone does to the outputs: relative squared error."""
    trial = Trial(found.proto, feeds)

    def makes(number: int, share: float) -> Callable[[], onnx.ModelProto]:
        one = candidates[number]
        count = max(1, min(one.sizes[0] - 1, round(share * one.sizes[0])))
        return lambda: cut(found, {number: one.order[:count]})

    wanted = [(number, share) for number, one in enumerate(candidates) if len(one.sizes) > 1 for share in SHARES]
    errors = dict(zip(wanted, trial.errors([makes(*one) for one in wanted]), strict=True))
    return [
        dataclasses.replace(one, damage=_curve(one.sizes[0], [errors[number, share] for share in SHARES])) if len(one.sizes) > 1 else one
        for number, one in enumerate(candidates)
    ]


def _curve(units: int, errors: Sequence[float]) -> F64:
    """Damage between the measured shares on straight lines; the last quarter as steep as that before it, and never all."""
    steep = errors[-1] + max(errors[-1] - errors[-2], 0.0)
    damage = np.interp(np.arange(units + 1) / units, [0.0, *SHARES, 1.0], [0.0, *errors, steep])
    damage[-1] = math.inf
    return np.maximum.accumulate(damage)


class Trial:
    """A graph's outputs on a few samples, to compare others with.

    Args:
        proto: the graph.
        feeds: samples; the first few are taken.
    """

    def __init__(self, proto: onnx.ModelProto, feeds: Sequence[Feed]) -> None:
        self._feeds = list(feeds[:_FEEDS])
        runner = Runner(proto.SerializeToString(), threads=1)
        self._wanted = [runner(feed) for feed in self._feeds]

    def errors(self, makes: Sequence[Callable[[], onnx.ModelProto]]) -> list[float]:
        """Relative squared error of the outputs of each graph, on all processors."""
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(lambda make: self.error(make()), makes))

    def error(self, proto: onnx.ModelProto) -> float:
        """Relative squared error of the outputs of a graph."""
        runner = Runner(proto.SerializeToString(), threads=1)
        found = fidelity((wanted, runner(feed)) for wanted, feed in zip(self._wanted, self._feeds, strict=True)).sqnr_db
        return 0.0 if found is None else float(10.0 ** (-found / 10.0))

"""Which nodes' weights are stored in 4 bits so that all weights fit: those that cost the outputs least for the bytes they save."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from edgekit.errors import UsageError
from edgekit.graph.view import View
from edgekit.numerics.affine import INT4_SYMMETRIC
from edgekit.passes.quantize.decide import Decision
from edgekit.passes.quantize.place import Placement
from edgekit.passes.quantize.sensitivity import Trial, weights_alone


def weight_bytes(view: View, placement: Placement, narrow: frozenset[str]) -> int:
    """Bytes of all integer weights, with these nodes' in 4 bits and the others' in 8; biases and scales are not counted."""
    return sum(_bytes(view.numbers(one.weight), 4 if name in narrow else 8) for name, one in placement.weighted.items())


def _bytes(numbers: int, bits: int) -> int:
    return -(-numbers * bits // 8)


def chosen(trial: Trial, view: View, all_narrow: Decision, max_weight_bytes: int, *, samples: int) -> frozenset[str]:
    """Nodes whose weights go into 4 bits; none where they fit without.

    Args:
        trial: the float graph and samples.
        view: of it.
        all_narrow: with 4 bits wherever the runtime takes them.
        max_weight_bytes: most that all integer weights may have.
        samples: of the trial's, how many are looked at.

    Raises:
        UsageError: they do not fit with 4 bits wherever the runtime takes them.
    """
    placement = all_narrow.placement
    nodes = [name for name, one in all_narrow.weights.items() if one.affine.grid == INT4_SYMMETRIC]
    least = weight_bytes(view, placement, frozenset(nodes))
    if least > max_weight_bytes:
        raise UsageError(
            f"quantize: max_weight_bytes = {max_weight_bytes}: weights have {least} bytes with 4 bits wherever the runtime takes them",
            hint=f"--set quantize.max_weight_bytes={least}, or make the model smaller",
        )
    if weight_bytes(view, placement, frozenset()) <= max_weight_bytes:
        return frozenset()
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        errors = list(pool.map(lambda node: trial.error(weights_alone(all_narrow, node), samples=samples), nodes))
    saved = {name: view.numbers(placement.weighted[name].weight) for name in nodes}
    cost = {name: error / saved[name] for name, error in zip(nodes, errors, strict=True)}
    narrow: set[str] = set()
    for name in sorted(nodes, key=lambda name: (cost[name], name)):
        if weight_bytes(view, placement, frozenset(narrow)) > max_weight_bytes:
            narrow.add(name)
    by_error = dict(zip(nodes, errors, strict=True))
    for name in sorted(narrow, key=lambda name: (-by_error[name], name)):
        if weight_bytes(view, placement, frozenset(narrow - {name})) <= max_weight_bytes:  # a later, larger one made it needless
            narrow.remove(name)
    return frozenset(narrow)

"""Which nodes' weights are stored in 4 bits so that all weights fit: those that cost the outputs least for the bytes they save."""

from __future__ import annotations

from edgekit.errors import UsageError
from edgekit.graph.view import View
from edgekit.passes.quantize.decide import Decision
from edgekit.passes.quantize.sensitivity import Trial, weights_alone


def weight_bytes(view: View, decision: Decision) -> int:
    """Bytes of all integer weights; biases and scales are not counted."""
    numbers = {name: view.numbers(one.weight) for name, one in decision.placement.weighted.items()}
    return sum(numbers.values()) - sum(_saved(numbers[name]) for name in decision.narrow)


def _saved(numbers: int) -> int:
    """Bytes that 4 bits save of so many numbers in 8; the last byte may be half full."""
    return numbers // 2


def nodes_to_narrow(trial: Trial, view: View, all_narrow: Decision, max_weight_bytes: int, *, samples: int) -> frozenset[str]:
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
    nodes = sorted(all_narrow.narrow)
    saved = {name: _saved(view.numbers(all_narrow.placement.weighted[name].weight)) for name in nodes}
    least = weight_bytes(view, all_narrow)
    if least > max_weight_bytes:
        raise UsageError(
            f"quantize: max_weight_bytes = {max_weight_bytes}: weights have {least} bytes with 4 bits wherever the runtime takes them",
            hint=f"--set quantize.max_weight_bytes={least}, or make the model smaller",
        )
    above = least + sum(saved.values()) - max_weight_bytes
    if above <= 0:
        return frozenset()
    error = dict(zip(nodes, trial.errors([weights_alone(all_narrow, node) for node in nodes], samples=samples), strict=True))
    narrow: list[str] = []
    for name in sorted(nodes, key=lambda name: error[name] / max(saved[name], 1)):
        if above > 0:
            narrow.append(name)
            above -= saved[name]
    for name in sorted(narrow, key=lambda name: -error[name]):
        if above + saved[name] <= 0:  # a later, larger one made it needless
            narrow.remove(name)
            above += saved[name]
    return frozenset(narrow)

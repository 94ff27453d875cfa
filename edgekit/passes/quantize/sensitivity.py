"""What each rounding costs at the outputs: every group of tensors and every node's weights quantized alone."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.run import Runner
from edgekit.numerics.fidelity import accuracy, class_rows
from edgekit.passes.quantize.apply import apply
from edgekit.passes.quantize.decide import Decision
from edgekit.passes.quantize.place import Placement
from edgekit.passes.streaming import Feed

if TYPE_CHECKING:
    import onnx


def decibels(error: float) -> float | None:
    """A relative squared error as SQNR; None if there is none."""
    return None if error <= 0.0 else round(-10.0 * math.log10(error), 2)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Relative squared errors of all outputs together; they add up, nearly, since roundings have little to do with one another.

    Attributes:
        groups: with one group of tensors stored as integers, all else float.
        weights: with the weights and the bias of one node stored as integers; empty if they were not looked at.
        tensors: the group of each tensor then.
        samples: how many they were seen on.
    """

    groups: dict[str, float]
    weights: dict[str, float]
    tensors: dict[str, str]
    samples: int

    def of_activations(self, placed: Placement) -> float:
        """Relative squared error expected of all activations that a placement stores as integers."""
        members: dict[str, set[str]] = {}
        for tensor, group in placed.tensors.items():
            members.setdefault(group, set()).add(self.tensors.get(tensor, tensor))
        return sum(max(self.groups.get(name, 0.0) for name in names) for names in members.values())


@dataclass(frozen=True, slots=True)
class Judged:
    """What a decision comes to on the samples of a trial.

    Attributes:
        error: relative squared error of all outputs together.
        agreement: share of the samples whose top-1 class is that of the float graph; None where the first output holds none.
        accuracy_drop: by so much the top-1 accuracy is less than that of the float graph, 0 to 1; None where the samples
            have no labels.
    """

    error: float
    agreement: float | None = None
    accuracy_drop: float | None = None


class Trial:
    """A float graph and its outputs on a few samples, to try decisions on.

    Attributes:
        proto: the float graph; it is left alone.
        feeds: the samples.
        labels: the class of each, None where it is not known; empty if accuracy is not asked for.
    """

    def __init__(self, proto: onnx.ModelProto, feeds: Sequence[Feed], labels: Sequence[int | None] = ()) -> None:
        self.proto = proto
        self.feeds = feeds
        self.labels = labels
        runner = Runner(proto.SerializeToString(), threads=1)
        self._wanted = [runner(feed) for feed in feeds]

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.feeds)

    def judged(self, decision: Decision) -> Judged:
        """What becomes of the outputs with these numbers in the graph.

        Raises:
            ValueError: there are labels, and the first output holds no classes, or not that many.
        """
        got = list(self._outputs(decision, None))
        drop = self.top1() - self.top1(got) if self.labels else None
        return Judged(error=_error(zip(self._wanted, got, strict=True)), agreement=self._agreement(got), accuracy_drop=drop)

    def error(self, decision: Decision, *, samples: int | None = None) -> float:
        """Relative squared error of the outputs with these numbers in the graph, on the first so many samples."""
        return _error(zip(self._wanted, self._outputs(decision, samples), strict=False))

    def errors(self, decisions: Sequence[Decision], *, samples: int) -> list[float]:
        """The same of several, on all processors."""
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(lambda one: self.error(one, samples=samples), decisions))

    def _outputs(self, decision: Decision, samples: int | None) -> Iterator[Feed]:
        runner = Runner(with_numbers(self.proto, decision).SerializeToString(), threads=1)
        return map(runner, self.feeds[:samples])

    def check_classes(self) -> None:
        """Raise ValueError if the first output holds no classes, or the labels are none of them."""
        if self._agreement(self._wanted) is None:
            raise ValueError(f"the first output, {self.proto.graph.output[0].name}, holds no classes")
        if self.labels:
            self.top1()

    def _agreement(self, got: Sequence[Feed]) -> float | None:
        first = self.proto.graph.output[0].name
        rows = [(class_rows(one[first]), class_rows(other[first])) for one, other in zip(self._wanted, got, strict=True)]
        alike = [one.argmax(axis=1) == other.argmax(axis=1) for one, other in rows if one is not None and other is not None]
        return float(np.concatenate(alike).mean()) if alike else None

    def top1(self, got: Sequence[Feed] | None = None) -> float:
        """Share of the samples with a label whose class is the first, by these outputs, or by the float graph's own.

        Raises:
            ValueError: the first output holds no classes, or not that many; or no sample has a label.
        """
        first = self.proto.graph.output[0].name
        found = accuracy((one[first], label) for one, label in zip(self._wanted if got is None else got, self.labels, strict=True))
        if found is None:
            raise ValueError("no sample has a label")
        return found.top1


def _error(pairs: Iterable[tuple[Feed, Feed]]) -> float:
    """Relative squared error of outputs, beside those that were wanted."""
    lost = power = 0.0
    for wanted, got in pairs:
        lost += sum(_power(np.subtract(values, got[name], dtype=np.float64)) for name, values in wanted.items())
        power += sum(map(_power, wanted.values()))
    return lost / max(power, 1e-300)


def with_numbers(proto: onnx.ModelProto, decision: Decision) -> onnx.ModelProto:
    """A copy of a float graph with a decision written into it."""
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    apply(copied, decision)
    return copied


def _power(values: NDArray[Any]) -> float:
    if values.dtype.kind != "f":
        return 0.0
    flat = np.asarray(values, np.float64).reshape(-1)
    return float(np.dot(flat, flat))


def sensitivity(trial: Trial, decision: Decision, *, weights: bool, samples: int) -> Sensitivity:
    """Quantize every part of a decision alone.

    Args:
        trial: the graph and samples.
        decision: of all numbers.
        weights: also those of each node, which add little where they are rounded on samples.
        samples: of the trial's, how many are looked at.
    """
    alone = dict(_each_group(decision))
    nodes = {node: weights_alone(decision, node) for node in decision.placement.weighted} if weights else {}
    errors = trial.errors([*alone.values(), *nodes.values()], samples=samples)
    of_groups, of_weights = errors[: len(alone)], errors[len(alone) :]
    return Sensitivity(
        groups=dict(zip(alone, of_groups, strict=True)),
        weights=dict(zip(nodes, of_weights, strict=True)),
        tensors=dict(decision.placement.tensors),
        samples=min(samples, trial.samples),
    )


def _each_group(decision: Decision) -> Iterator[tuple[str, Decision]]:
    placed = decision.placement
    for group in dict.fromkeys(placed.tensors.values()):
        tensors = {tensor: name for tensor, name in placed.tensors.items() if name == group}
        converted = {edge: name for edge, name in placed.converted.items() if name == group}
        alone = dataclasses.replace(placed, weighted={}, tensors=tensors, converted=converted)
        yield group, dataclasses.replace(decision, placement=alone, weights={})


def weights_alone(decision: Decision, node: str) -> Decision:
    """The weights and the bias of one node as a decision has them, all else in float."""
    placed = dataclasses.replace(decision.placement, weighted={node: decision.placement.weighted[node]}, tensors={}, converted={})
    return dataclasses.replace(decision, placement=placed, weights={node: decision.weights[node]})

"""The loop: each block's roundings are learned on what the blocks before it make of the samples, against the float graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.graph.open_batch import with_open_batch
from edgekit.passes.quantize.learned import Start
from edgekit.passes.quantize.learned.blocks import Block
from edgekit.passes.quantize.learned.parts import Part, Torch, Values
from edgekit.passes.quantize.learned.soft import Soft
from edgekit.passes.quantize.sensitivity import with_numbers
from edgekit.passes.streaming import Feed
from edgekit.watch import Watcher

if TYPE_CHECKING:
    import onnx

Integers = dict[str, NDArray[np.int8]]

STEPS = 250
"""For each block; MobileNetV2 takes 105 CPU seconds with them and 100 samples, compensated rounding 6 for all of quantization."""

RATE = 0.03
"""Of Adam, on what is learned."""

FREE = 0.05
"""Share of the steps before the first weights are frozen."""

FROZEN_EVERY = 5
"""Steps between two times that weights are frozen."""

BATCH = 16
"""Samples a step, fewer where a block is large."""

BATCH_NUMBERS = 1_500_000
"""So many may all of a block's tensors hold for one batch: large maps tell as much with fewer samples."""

DROPPED = 0.5
"""Share of the numbers of a block's inputs that a step takes from the float graph, drawn anew each time: what is learned fits
the samples less closely and others better. MobileNetV2 at 4 bits, learned from 30 samples, came to 6.6 dB with it, to 6.2
without, and to 5.7 on float inputs alone; the start has 5.0. From 75 samples it comes to 7.3."""

HELD_OUT = 4
"""One sample of so many judges what was learned from the others."""


def learned_integers(start: Start, parts: Sequence[Block], feeds: Sequence[Feed], watcher: Watcher) -> tuple[Integers, int]:
    """Integers of the nodes whose blocks are nearer to float with them, on samples that were held out.

    Args:
        start: what there is before.
        parts: of the graph, in its order.
        feeds: samples, at least :data:`HELD_OUT`.
        watcher: told about every block.

    Returns:
        A row an output channel, by node; and how many blocks took what they learned.
    """
    proto = with_open_batch(start.proto)
    quantized = with_numbers(proto, start.decision)
    places = _places(quantized, start)
    replaced = {name for place in places.values() for name in (place.weight, place.bias) if name}
    exact: list[dict[str, Torch]] = [{name: torch.from_numpy(np.array(value)) for name, value in feed.items()} for feed in feeds]
    rounded = [dict(one) for one in exact]
    found: Integers = {}
    adopted = 0
    with _one_thread():
        for number, block in enumerate(parts):
            wanted = Part(proto, block, exact).each(exact)
            learning = _Learning(start, Part(quantized, block, rounded, replaced), block, places, wanted)
            integers, made = learning.run(exact, rounded, number)
            found |= integers
            adopted += bool(integers)
            _go_on(exact, wanted, block)
            _go_on(rounded, made, block)
            watcher.advance()
    return found, adopted


def _go_on(samples: Sequence[dict[str, Torch]], made: Sequence[Values], block: Block) -> None:
    """Keep what a block made, and drop what nobody reads after it."""
    for sample, values in zip(samples, made, strict=True):
        sample.update(values)
        for name in sample.keys() - set(block.left):
            del sample[name]


@dataclass(frozen=True, slots=True)
class _Place:
    """Tensors of the quantized graph that are a node's weight and its bias; "" if it has none."""

    weight: str
    bias: str


def _places(quantized: onnx.ModelProto, start: Start) -> dict[str, _Place]:
    nodes = {node.name: node for node in quantized.graph.node}
    before = {node.name: node for node in start.view.nodes}
    found = {}
    for name, one in start.decision.placement.weighted.items():
        bias = ""
        if start.decision.weights[name].bias is not None:
            holder, at = (name, 2) if one.bias_adder is None else (one.bias_adder, 0)
            if one.bias_adder is not None:
                at = 1 if before[holder].input[1] == one.bias else 0
            bias = nodes[holder].input[at]
        found[name] = _Place(nodes[name].input[1], bias)
    return found


class _Learning:
    """One block while it is learned.

    Args:
        start: what there is before.
        part: the block of the quantized graph.
        block: the same.
        places: of weights and biases in it.
        wanted: outputs of the float graph's block, by sample.
    """

    def __init__(self, start: Start, part: Part, block: Block, places: dict[str, _Place], wanted: Sequence[Values]) -> None:
        self._part = part
        self._places = places
        self._wanted = wanted
        self._soft = {name: _soft(start, name) for name in block.weighted if name in start.decision.weights}
        self._batch = max(1, min(BATCH, BATCH_NUMBERS // max(block.numbers, 1)))

    def run(self, exact: Sequence[Values], given: Sequence[Values], seed: int) -> tuple[Integers, list[dict[str, Torch]]]:
        """Learn.

        Args:
            exact: what the float graph made before the block, by sample.
            given: what the quantized one made.
            seed: of what is drawn.

        Returns:
            The block's integers if it takes them, and what it makes of all samples from now on.
        """
        before = self._part.each(given, self._instead("start"))
        if not self._soft:
            return {}, before
        used = [at for at in range(len(given)) if at % HELD_OUT != HELD_OUT - 1]
        held = [at for at in range(len(given)) if at % HELD_OUT == HELD_OUT - 1]
        worth = self._worth(before, used)
        self._optimize(_Mixed(exact, given, seed), used, worth, np.random.default_rng(seed))
        after = self._part.each(given, self._instead("hard"))
        if not self._lost(after, held, worth) < self._lost(before, held, worth):
            return {}, before
        return {name: one.integers() for name, one in self._soft.items()}, after

    def _worth(self, made: Sequence[Values], used: Sequence[int]) -> dict[str, float]:
        """What a squared error of each float output counts: all are as large, and the start's errors add up to about 1 a sample."""
        found: dict[str, float] = {}
        for name in (name for name, value in made[0].items() if value.is_floating_point()):
            power = sum(float(self._wanted[at][name].square().sum()) for at in used)
            found[name] = len(used) / max(power, 1e-30)
        lost = self._lost(made, used, found)
        return {name: worth * len(used) / max(lost, 1e-30) for name, worth in found.items()}

    def _lost(self, made: Sequence[Values], which: Sequence[int], worth: dict[str, float]) -> float:
        return sum(float(self._loss(made[at], self._wanted[at], worth)) for at in which)

    @staticmethod
    def _loss(made: Values, wanted: Values, worth: dict[str, float]) -> Torch:
        return sum(weight * (made[name] - wanted[name]).square().sum() for name, weight in worth.items())

    def _optimize(self, inputs: _Mixed, used: Sequence[int], worth: dict[str, float], draw: np.random.Generator) -> None:
        batch = min(self._batch, len(used))
        optimizer = torch.optim.Adam([one.learned for one in self._soft.values()], lr=RATE)
        order: list[int] = []
        for step in range(STEPS):
            if len(order) < batch:
                order = draw.permutation(used).tolist()
            chosen, order = order[:batch], order[batch:]
            self._freeze(step)
            made = self._part([inputs.of(at) for at in chosen], self._instead("soft"))
            wanted = {name: torch.cat([self._wanted[at][name] for at in chosen]) for name in worth}
            optimizer.zero_grad()
            (self._loss(made, wanted, worth) / batch).backward()
            optimizer.step()

    def _freeze(self, step: int) -> None:
        """More and more weights, half of them in the first quarter: those that are left have the more time to make up for it."""
        progress = (step / STEPS - FREE) / (1.0 - FREE)
        if progress > 0.0 and step % FROZEN_EVERY == 0:
            for one in self._soft.values():
                one.freeze(progress**0.5)

    def _instead(self, how: str) -> dict[str, Torch]:
        """Weights and biases to run the block with."""
        found: dict[str, Torch] = {}
        for name, one in self._soft.items():
            weight, bias = {"start": one.start, "soft": one.soft, "hard": one.hard}[how]()
            found[self._places[name].weight] = weight
            if self._places[name].bias:
                found[self._places[name].bias] = bias
        return found


class _Mixed:
    """Inputs that come from the quantized graph and, drawn number by number, from the float one.

    Source:
        Wei et al., "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization", ICLR 2022; here
        only at a block's inputs.

    Args:
        exact: of the float graph, by sample.
        given: of the quantized one.
        seed: of what is drawn.
    """

    def __init__(self, exact: Sequence[Values], given: Sequence[Values], seed: int) -> None:
        self._exact, self._given = exact, given
        self._draw = torch.Generator().manual_seed(seed)

    def of(self, at: int) -> Values:
        """One sample."""
        pairs = {name: (self._exact[at][name], value) for name, value in self._given[at].items()}
        return {name: torch.where(torch.rand(value.shape, generator=self._draw) < DROPPED, exact, value) for name, (exact, value) in pairs.items()}


def _soft(start: Start, name: str) -> Soft:
    one = start.decision.placement.weighted[name]
    average = start.seen.averages[name] if start.correct_bias and one.takes_bias else None
    return Soft(one, start.view, start.decision.weights[name], average)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The number of threads must not decide the result."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""A graph in blocks that are learned one after the other: from one residual join to the next, or a few nodes in a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgekit.graph.view import View
from edgekit.graph.weighted import ACTIVATIONS, Weighted

MOST = 4
"""Nodes with weights in a block, unless branches that meet have more between them."""

LARGEST = 8
"""So many may branches that meet have; beyond, they are cut all the same, several tensors wide."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some nodes in a row.

    Attributes:
        inputs: tensors it reads that were made before it.
        outputs: tensors it makes that are read after it, or are outputs of the graph.
        weighted: names of its nodes with constant weights.
        left: tensors that are read after it, whoever made them.
        numbers: in all tensors that it reads and makes, for one sample.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weighted: tuple[str, ...]
    left: tuple[str, ...]
    numbers: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Nodes between two places where one float tensor alone goes on.

    Attributes:
        end: place behind its last node.
        weighted: how many of its nodes have constant weights.
        joins: whether branches meet in it.
        size: numbers in what goes on.
    """

    end: int
    weighted: int
    joins: bool
    size: int


def blocks(view: View, weighted: Mapping[str, Weighted]) -> tuple[Block, ...]:
    """Cut a graph into blocks, in its order; where there is a choice, behind a small tensor.

    Source:
        Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction", ICLR 2021, section 3.2.
    """
    live = _live(view)
    stretches = list(_stretches(view, weighted, live))
    cuts: list[int] = []
    waiting: list[_Stretch] = []
    for stretch in stretches:
        while (count := _count(waiting)) and count + stretch.weighted > MOST:
            at = min((at for at in range(len(waiting)) if _count(waiting[: at + 1])), key=lambda at: (waiting[at].size, -at))
            cuts.append(waiting[at].end)
            waiting = waiting[at + 1 :]
        waiting.append(stretch)
        if stretch.joins and _count(waiting):
            cuts.append(stretch.end)
            waiting = []
    if cuts and not _count(waiting):
        cuts.pop()
    begin = 0
    for stretch in stretches:
        if stretch.weighted > LARGEST:
            cuts += _cuts_within(view, weighted, live, range(begin, stretch.end))
        begin = stretch.end
    ends = sorted({*cuts, len(view.nodes)})
    return tuple(_block(view, weighted, live, begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True))


def _count(stretches: list[_Stretch]) -> int:
    return sum(one.weighted for one in stretches)


def _live(view: View) -> list[tuple[str, ...]]:
    """Tensors that are made before each node and read by it or after it; one entry more than there are nodes."""
    last: dict[str, int] = {}
    for at, node in enumerate(view.nodes):
        last.update(dict.fromkeys(node.input, at))
    made = [name for name in view.inputs if name in last]
    found = []
    for at, node in enumerate(view.nodes):
        made = [name for name in made if last[name] >= at]
        found.append(tuple(made))
        made += [name for name in node.output if name in last]
    return [*found, ()]


def _stretches(view: View, weighted: Mapping[str, Weighted], live: list[tuple[str, ...]]) -> Iterator[_Stretch]:
    inside = _inside(view, weighted)
    count, joins = 0, False
    for at, node in enumerate(view.nodes):
        on = [name for name in live[at + 1] if view.is_float(name)]
        count += node.name in weighted
        joins = joins or len(on) > 1
        if at + 1 == len(view.nodes) or (len(on) == 1 and at not in inside):
            yield _Stretch(at + 1, count, joins, sum(map(view.numbers, on)))
            count, joins = 0, False


def _inside(view: View, weighted: Mapping[str, Weighted]) -> frozenset[int]:
    """Places of nodes behind which nothing is cut: runtimes compute what comes next along with them."""
    adders = {one.bias_adder for one in weighted.values()}
    readers = ((at, view.only_reader(node.output[0])) for at, node in enumerate(view.nodes))
    return frozenset(at for at, reader in readers if reader is not None and (reader.op_type in ACTIVATIONS or reader.name in adders))


def _cuts_within(view: View, weighted: Mapping[str, Weighted], live: list[tuple[str, ...]], places: range) -> list[int]:
    """Where a stretch that is too long is cut all the same: where fewest tensors go on, late rather than early."""
    inside = _inside(view, weighted)
    cuts: list[int] = []
    count, best = 0, 0
    for at in places:
        count += view.nodes[at].name in weighted
        if count and at not in inside and (not best or len(live[at + 1]) <= len(live[best])):
            best = at + 1
        if count >= MOST and best:
            cuts.append(best)
            count, best = 0, 0
    return cuts


def _block(view: View, weighted: Mapping[str, Weighted], live: list[tuple[str, ...]], begin: int, end: int) -> Block:
    nodes = view.nodes[begin:end]
    read = {name for node in nodes for name in node.input}
    made = {name for node in nodes for name in node.output if name}
    return Block(
        inputs=tuple(name for name in live[begin] if name in read),
        outputs=tuple(sorted(made & {*live[end], *view.outputs})),
        weighted=tuple(node.name for node in nodes if node.name in weighted),
        left=live[end],
        numbers=sum(map(view.numbers, {*live[begin], *made})),
    )

"""Operators that move numbers without changing them: where each channel goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.graph.channels.heads import beside_one_another, blocks
from edgekit.graph.channels.ties import Ids
from edgekit.graph.channels.walk import Labels, Walk
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node


def transpose(walk: Walk, node: Node) -> None:
    """Axes in another order."""
    held = walk.labels(node.inputs[0])
    order = node.get("perm", list(range(len(held)))[::-1])
    walk.put(node.outputs[0], [held[axis] for axis in order], node.inputs[0])


def concat(walk: Walk, node: Node) -> None:
    """One after the other along an axis, side by side along the others."""
    rank = len(walk.shape(node.outputs[0]))
    axis = int(node.get("axis")) % rank
    labels: Labels = []
    for place in range(rank):
        if place == axis:
            labels.append(_joined(walk, node, axis))
            continue
        for other in node.inputs[1:]:
            walk.tie((node.inputs[0], place), (other, place))
        labels.append(walk.labels(node.inputs[0])[place])
    walk.put(node.outputs[0], labels, node.inputs[0])


def _joined(walk: Walk, node: Node, axis: int) -> Ids | None:
    if all(walk.labels(name)[axis] is None for name in node.inputs if not walk.graph.is_constant(name)):
        for name in node.inputs:
            walk.freeze(name, axis, f"Concat {node.name} joins it with what no weight decides the size of")
        return None
    parts = [walk.channels(name, axis) for name in node.inputs]
    filled = []
    for name, part in zip(node.inputs, parts, strict=True):
        size = walk.shape(name)[axis]
        if part is None:
            if not isinstance(size, int):
                walk.give_up(node, "how many it joins is known only while it runs")
                return None
            part = walk.ties.new(size)
            walk.ties.fix(part, walk.is_fixed_to(name))
        filled.append(part)
    return np.concatenate(filled)


def split(walk: Walk, node: Node) -> None:
    """Parts along an axis."""
    source = node.inputs[0]
    axis = int(node.get("axis", 0)) % len(walk.shape(source))
    sizes = [walk.shape(name)[axis] for name in node.outputs]
    held, begin = walk.labels(source)[axis], 0
    for name, size in zip(node.outputs, sizes, strict=True):
        labels = list(walk.labels(source))
        if held is not None and isinstance(size, int):
            labels[axis] = held[begin : begin + size]
            begin += size
        walk.put(name, labels, source)


def slice_(walk: Walk, node: Node) -> None:
    """A range along some axes; of channels every one, or one after the other."""
    source, ranges = node.inputs[0], slices(walk.graph, node)
    labels = list(walk.labels(source))
    for axis, ids in enumerate(labels):
        found = ranges.get(axis) if ranges is not None else None
        if ids is None or (ranges is not None and axis not in ranges):
            continue
        if found is None or found.step != 1:
            walk.ties.fix(ids, f"Slice {node.name} takes channels that are not next to one another")
            labels[axis] = None if found is None else ids[found]
        else:
            labels[axis] = ids[found]
    walk.put(node.outputs[0], labels, source)


def slices(graph: Graph, node: Node) -> dict[int, slice] | None:
    """The ranges of a Slice by axis, with a step and, going forward, real bounds; None if they are known only while it runs."""
    shape = graph.shape(node.inputs[0]) or ()
    given = [graph.constant(name) if name else None for name in (node.input(at) for at in range(1, 5))]
    if given[0] is None or given[1] is None or any(node.input(at + 1) and given[at] is None for at in (2, 3)):
        return None
    axes = given[2].tolist() if given[2] is not None else list(range(len(given[0])))
    steps = given[3].tolist() if given[3] is not None else [1] * len(axes)
    found = {}
    for axis, begin, end, step in zip(axes, given[0].tolist(), given[1].tolist(), steps, strict=True):
        size = shape[axis]
        if isinstance(size, int):
            begin, end, step = slice(begin, end, step).indices(size)
            found[axis % len(shape)] = slice(begin, end if end >= 0 else None, step)
    return found


def gather(walk: Walk, node: Node) -> None:
    """Constant places along channels; any places along what has none."""
    source, rank = node.inputs[0], len(walk.shape(node.inputs[0]))
    axis = int(node.get("axis", 0)) % rank
    held, places = walk.labels(source)[axis], walk.graph.constant(node.inputs[1])
    if walk.graph.is_constant(source):
        walk.fix_axis(source, axis, f"Gather {node.name} looks up any of these")
        for other in set(range(rank)) - {axis}:
            walk.channels(source, other)
            walk.use(node, "makes", (source, other))
        held = None
    indices = walk.labels(node.inputs[1])
    middle: Labels = list(indices)
    if held is not None and (places is None or places.ndim > 1):
        walk.ties.fix(held, f"Gather {node.name} takes channels that are known only while it runs")
    elif held is not None and places is not None:
        if places.ndim == 0:
            walk.ties.fix(held, f"Gather {node.name} takes one of these")
        else:
            middle = [held[places]]
    labels = walk.labels(source)
    computed = node.inputs[1] if walk.graph.is_constant(source) else source
    walk.put(node.outputs[0], [*labels[:axis], *middle, *labels[axis + 1 :]], computed)


def squeeze(walk: Walk, node: Node) -> None:
    """Axes of size 1 go."""
    before, after = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
    given = walk.graph.constant(node.input(1)) if node.input(1) else None
    gone = {int(axis) % len(before) for axis in given} if given is not None else {axis for axis, size in enumerate(before) if size == 1}
    kept = [ids for axis, ids in enumerate(walk.labels(node.inputs[0])) if axis not in gone]
    if len(kept) != len(after):
        walk.give_up(node, "which axes go is known only while it runs")
        return
    walk.put(node.outputs[0], kept, node.inputs[0])


def unsqueeze(walk: Walk, node: Node) -> None:
    """Axes of size 1 come in."""
    rank, given = len(walk.shape(node.outputs[0])), walk.graph.constant(node.input(1))
    if given is None:
        walk.give_up(node, "which axes come is known only while it runs")
        return
    new, held = {int(axis) % rank for axis in given.ravel()}, iter(walk.labels(node.inputs[0]))
    walk.put(node.outputs[0], [None if axis in new else next(held) for axis in range(rank)], node.inputs[0])


def pad(walk: Walk, node: Node) -> None:
    """Channels put around others are never cut."""
    pads, axes = walk.graph.constant(node.input(1)), walk.graph.constant(node.input(3)) if node.input(3) else None
    if pads is None or (node.input(3) and axes is None):
        walk.give_up(node, "how much it pads is known only while it runs")
        return
    rank = len(walk.shape(node.inputs[0]))
    padded = [int(axis) % rank for axis in axes] if axes is not None else list(range(rank))
    labels = list(walk.labels(node.inputs[0]))
    for axis, begin, end in zip(padded, pads[: len(padded)].tolist(), pads[len(padded) :].tolist(), strict=True):
        held = labels[axis]
        if held is None or (begin == 0 and end == 0):
            continue
        if min(begin, end) < 0:
            walk.give_up(node, "it takes channels away")
            return
        around = walk.ties.new(begin + end)
        walk.ties.fix(around, f"Pad {node.name} puts channels around others")
        labels[axis] = np.concatenate([around[:begin], held, around[begin:]])
    walk.put(node.outputs[0], labels, node.inputs[0])


def expand(walk: Walk, node: Node) -> None:
    """Copies side by side: axes that keep their size keep their channels."""
    before, after = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
    aligned: Labels = [None] * len(after)
    for place in range(-len(before), 0):
        ids = walk.labels(node.inputs[0])[place]
        if ids is not None and before[place] != after[place]:
            walk.ties.fix(ids, f"{node.op} {node.name} makes copies of these")
        elif ids is not None:
            aligned[place] = ids
    walk.put(node.outputs[0], aligned, node.inputs[0])


def reshape(walk: Walk, node: Node) -> None:
    """Axes that become several, or one: as :func:`_spread` says for each part that is reshaped by itself."""
    source, result = node.inputs[0], node.outputs[0]
    parts = blocks(walk.shape(source), walk.shape(result))
    held = walk.labels(source)
    if parts is None:
        walk.give_up(node, "its sizes are known only while it runs")
        return
    heads = beside_one_another(walk.graph, result) if any(ids is not None for ids in held) else frozenset()
    labels: Labels = [None] * len(walk.shape(result))
    for before, after in parts:
        live = [axis for axis in before if held[axis] is not None]
        if len(before) == len(after) == 1:
            labels[after[0]] = held[before[0]]
        elif len(live) > 1:
            for axis in live:
                walk.fix_axis(source, axis, f"{node.op} {node.name} makes one axis of channels and channels")
        elif live:
            axis, ids = _spread(walk, node, live[0], (before, after), heads)
            labels[axis] = ids
    walk.put(result, labels, source)


def _spread(walk: Walk, node: Node, live: int, part: tuple[Sequence[int], Sequence[int]], heads: frozenset[int]) -> tuple[int, Ids]:
    """The axis that channels lie along after a Reshape, and which.

    Where one axis becomes several, channels are cut along one of them only, so that a rectangle is left: along heads that
    a product takes side by side, or else along the axis that leaves most units to choose from.
    """
    source, result = node.inputs[0], node.outputs[0]
    before, after = part
    sizes = [int(walk.shape(source)[axis]) for axis in before]
    ids = walk.labels(source)[live]
    assert ids is not None, "live"
    every = np.broadcast_to(ids.reshape([-1 if axis == live else 1 for axis in before]), sizes).reshape([int(walk.shape(result)[a]) for a in after])
    wide = [place for place, axis in enumerate(after) if every.shape[place] > 1] or [0]
    preferred = [place for place in wide if after[place] in heads]
    best = max(preferred or wide, key=lambda place: _units_along(walk, every, place))
    rows = np.moveaxis(every, best, 0).reshape(every.shape[best], -1)
    walk.ties.tie(rows, rows[:, :1])
    return after[best], np.ascontiguousarray(rows[:, 0])


def _units_along(walk: Walk, every: Ids, place: int) -> int:
    """How many units would be left if all but one axis became one."""
    rows = np.moveaxis(walk.ties.roots(every), place, 0).reshape(every.shape[place], -1)
    group = {int(root): int(root) for root in np.unique(rows)}
    for row in rows.tolist():
        ends = {_end(group, one) for one in row}
        least = min(ends)
        group.update(dict.fromkeys(ends, least))
    return len({_end(group, one) for one in group})


def _end(group: dict[int, int], one: int) -> int:
    while group[one] != one:
        one = group[one]
    return one

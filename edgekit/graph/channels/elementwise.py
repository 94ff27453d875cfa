"""Operators that compute each number from those at its place, and what is normalized or pooled channel by channel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.graph.channels.walk import Labels, Walk
from edgekit.graph.node import Node


def same(walk: Walk, node: Node) -> None:
    """One number from one: the channels of the first input."""
    walk.put(node.outputs[0], walk.labels(node.inputs[0]), node.inputs[0])
    for name in filter(None, node.outputs[1:]):
        walk.put(name, walk.labels(node.inputs[0]), node.inputs[0])


def broadcast(walk: Walk, node: Node) -> None:
    """Numbers from those of several inputs, which broadcast: channels that meet are one."""
    names = [name for name in node.inputs if name]
    rank = len(walk.shape(node.outputs[0]))
    labels: Labels = []
    for place in range(-rank, 0):
        wide = [(name, len(walk.shape(name)) + place) for name in names if len(walk.shape(name)) >= -place and walk.shape(name)[place] != 1]
        for other in wide[1:]:
            walk.tie(wide[0], other)
        if len(wide) == 1 and walk.labels(wide[0][0])[wide[0][1]] is None:
            walk.freeze(*wide[0], f"{node.op} {node.name} makes copies of what it meets")
        held = [walk.labels(name)[axis] for name, axis in wide]
        labels.append(next((ids for ids in held if ids is not None), None))
        for name, axis in wide:
            if walk.labels(name)[axis] is not None:
                walk.use(node, "follows", (name, axis))
    computed = next((name for name in names if not walk.graph.is_constant(name)), names[0])
    walk.put(node.outputs[0], labels, computed)


def by_channel(walk: Walk, node: Node) -> None:
    """Normalization of each channel by itself: constants of one number a channel follow it."""
    held = walk.labels(node.inputs[0])[1]
    for name in filter(None, node.inputs[1:]):
        walk.tie_ids((name, 0), held, walk.is_fixed_to(node.inputs[0]))
        walk.use(node, "follows", (name, 0))
    same(walk, node)


def group_norm(walk: Walk, node: Node) -> None:
    """Channels of a group are normalized together, so that whole groups alone can be cut."""
    held, groups = walk.labels(node.inputs[0])[1], int(node.get("num_groups"))
    if held is not None:
        rows = held.reshape(groups, -1)
        walk.ties.tie(rows, rows[:, :1])
    by_channel(walk, node)


def layer_norm(walk: Walk, node: Node) -> None:
    """What is normalized together stays together."""
    rank = len(walk.shape(node.inputs[0]))
    first = int(node.get("axis", -1)) % rank
    across(walk, node, range(first, rank))
    for name in filter(None, node.inputs[1:]):
        walk.fix([name], f"{node.op} {node.name} computes across these channels")
    for name in filter(None, node.outputs):
        walk.put(name, walk.labels(node.inputs[0]), node.inputs[0])


def along_axis(walk: Walk, node: Node) -> None:
    """Softmax and its like: no channel along the axis may go, all others pass."""
    axis = int(node.get("axis", 1 if node.op == "LRN" else -1))
    across(walk, node, [axis % len(walk.shape(node.inputs[0]))])
    same(walk, node)


def reduce(walk: Walk, node: Node) -> None:
    """Means and sums over sides of pictures keep the channels; those over channels compute across them."""
    source, rank = node.inputs[0], len(walk.shape(node.inputs[0]))
    given = walk.graph.constant(node.input(1)) if node.input(1) else node.get("axes", [node.get("axis", 0)] if node.op.startswith("Arg") else [])
    if given is None:
        walk.give_up(node, "its axes are known only while it runs")
        return
    axes = {int(axis) % rank for axis in np.ravel(given)}
    axes = axes or (set() if node.get("noop_with_empty_axes", 0) else set(range(rank)))
    across(walk, node, axes)
    labels = [None if axis in axes else ids for axis, ids in enumerate(walk.labels(source))]
    kept = labels if node.get("keepdims", 1) else [ids for axis, ids in enumerate(labels) if axis not in axes]
    walk.put(node.outputs[0], kept, source)


def pool(walk: Walk, node: Node) -> None:
    """Each channel by itself."""
    held = walk.labels(node.inputs[0])
    for name in filter(None, node.outputs):
        walk.put(name, [held[0], held[1], *[None] * (len(held) - 2)], node.inputs[0])


def resize(walk: Walk, node: Node) -> None:
    """Sides of pictures change, channels do not."""
    before, after = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
    for axis, (one, other) in enumerate(zip(before, after, strict=True)):
        if one != other:
            walk.fix_axis(node.inputs[0], axis, f"{node.op} {node.name} changes how many these are")
    held = walk.labels(node.inputs[0])
    walk.put(node.outputs[0], [ids if one == other else None for ids, one, other in zip(held, before, after, strict=True)], node.inputs[0])


def across(walk: Walk, node: Node, axes: Iterable[int]) -> None:
    """Fix the channels along axes that an operator computes across."""
    for axis in axes:
        walk.fix_axis(node.inputs[0], axis, f"{node.op} {node.name} computes across these channels")

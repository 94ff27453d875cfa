"""Convolutions and matrix products: what they make and what they read."""

from __future__ import annotations

import math

import numpy as np

from edgekit.graph.channels.ties import Ids
from edgekit.graph.channels.walk import Labels, Product, Walk
from edgekit.graph.inspect import macs_of
from edgekit.graph.node import Node


def conv(walk: Walk, node: Node) -> None:
    """Input channels to the weight's second axis, output channels from its first, grouped ones as :func:`_grouped` says."""
    source, weight = node.inputs[:2]
    groups, channels, filters = _groups(node), _size(walk, source, 1), _size(walk, weight, 0)
    axes: tuple[Ids | None, ...]
    if groups == 1:
        reads, made = walk.tie((source, 1), (weight, 1)), walk.channels(weight, 0)
        walk.use(node, "reads", (weight, 1), (source, 1))
        walk.use(node, "makes", (weight, 0))
        axes = (made, reads)
    elif groups == channels:
        made = _depthwise(walk, node, source, weight, filters // channels)
        axes = (made,)
    else:
        made, reads = _grouped(walk, node, source, weight)
        axes = (made, reads)
    _finish(walk, node, made, axes)


def conv_transpose(walk: Walk, node: Node) -> None:
    """As a convolution, with the axes of the weight the other way round; grouped ones only depthwise."""
    source, weight = node.inputs[:2]
    groups, channels, each = _groups(node), _size(walk, source, 1), _size(walk, weight, 1)
    if groups == 1:
        reads, made = walk.tie((source, 1), (weight, 0)), walk.channels(weight, 1)
        walk.use(node, "reads", (weight, 0), (source, 1))
        walk.use(node, "makes", (weight, 1))
        _finish(walk, node, made, (made, reads))
    elif groups == channels and each == 1:
        made = walk.tie((source, 1), (weight, 0))
        walk.use(node, "follows", (weight, 0))
        _finish(walk, node, made, (made,))
    else:
        walk.give_up(node, "a transposed convolution in groups keeps its channels")


def gemm(walk: Walk, node: Node) -> None:
    """Rows by columns, either operand perhaps transposed, and a bias that broadcasts."""
    left, right = node.inputs[:2]
    depth, row = (0, 1) if node.get("transA", 0) else (1, 0)
    across, column = (1, 0) if node.get("transB", 0) else (0, 1)
    reads, made = walk.tie((left, depth), (right, across)), walk.channels(right, column)
    walk.use(node, "reads", (right, across), (left, depth))
    walk.use(node, "makes", (right, column))
    rows = walk.labels(left)[row]
    if bias := node.input(2):
        _follow(walk, node, bias, made)
    walk.put(node.outputs[0], [rows, made], left)
    _count(walk, node, (rows, made, reads))


def matmul(walk: Walk, node: Node) -> None:
    """The last axis of the first with the last but one of the second; axes before these go side by side."""
    left, right = node.inputs[:2]
    ranks = len(walk.shape(left)), len(walk.shape(right))
    if min(ranks) < 2:
        walk.give_up(node, "a product of vectors keeps its channels")
        return
    for name, axis in ((left, ranks[0] - 1), (right, ranks[1] - 2)):
        walk.channels(name, axis)
    reads = walk.tie((left, ranks[0] - 1), (right, ranks[1] - 2))
    rows, made = walk.channels(left, ranks[0] - 2), walk.channels(right, ranks[1] - 1)
    walk.use(node, "reads", (right, ranks[1] - 2), (left, ranks[0] - 1))
    walk.use(node, "makes", (right, ranks[1] - 1))
    walk.use(node, "reads", (left, ranks[0] - 1), (right, ranks[1] - 2))
    walk.use(node, "makes", (left, ranks[0] - 2))
    beside = _beside(walk, left, right)
    walk.put(node.outputs[0], [*beside, rows, made], right if walk.graph.is_constant(left) else left)
    _count(walk, node, (*beside, rows, made, reads))


def _beside(walk: Walk, left: str, right: str) -> Labels:
    """The axes before the last two, which broadcast."""
    shapes = {name: walk.shape(name)[:-2] for name in (left, right)}
    rank = max(map(len, shapes.values()))
    found: Labels = []
    for place in range(-rank, 0):
        wide = [(name, len(shape) + place) for name, shape in shapes.items() if len(shape) >= -place and shape[place] != 1]
        found.append(walk.tie(*wide) if len(wide) == 2 else walk.labels(wide[0][0])[wide[0][1]] if wide else None)
    return found


def _depthwise(walk: Walk, node: Node, source: str, weight: str, each: int) -> Ids | None:
    """Every input channel has ``each`` filters of its own, next to one another."""
    held = walk.labels(source)[1]
    filters = None if held is None else np.repeat(held, each)
    made = walk.tie_ids((weight, 0), filters, walk.is_fixed_to(source))
    walk.use(node, "follows", (weight, 0))
    return made


def _grouped(walk: Walk, node: Node, source: str, weight: str) -> tuple[Ids | None, Ids | None]:
    """Whole groups from the input to the output, or the same place in every group: whichever can be cut more finely."""
    held, made, groups = walk.labels(source)[1], walk.channels(weight, 0), _groups(node)
    if held is None or made is None:
        walk.tie_ids((weight, 1), None, walk.is_fixed_to(source))
        return made if made is None else _same_place(walk, made, groups), None
    in_groups, out_groups = held.reshape(groups, -1), made.reshape(groups, -1)
    if groups > in_groups.shape[1] + out_groups.shape[1]:
        walk.ties.tie(in_groups, out_groups[:, :1])
        walk.ties.tie(out_groups, out_groups[:, :1])
        walk.tie_ids((weight, 1), None, "whole groups are cut")
        walk.use(node, "follows", (weight, 0))
        return made, None
    _same_place(walk, made, groups)
    walk.ties.tie(in_groups, in_groups[:1])
    reads = walk.tie_ids((weight, 1), in_groups[0], walk.is_fixed_to(source))
    walk.use(node, "reads", (weight, 1), (source, 1))
    walk.use(node, "makes", (weight, 0))
    return made, reads


def _same_place(walk: Walk, made: Ids, groups: int) -> Ids:
    rows = made.reshape(groups, -1)
    walk.ties.tie(rows, rows[:1])
    return made


def _finish(walk: Walk, node: Node, made: Ids | None, axes: tuple[Ids | None, ...]) -> None:
    if bias := node.input(2):
        _follow(walk, node, bias, made)
    rank = len(walk.shape(node.inputs[0]))
    walk.put(node.outputs[0], [None, made, *[None] * (rank - 2)], node.inputs[0])
    _count(walk, node, axes)


def _follow(walk: Walk, node: Node, bias: str, made: Ids | None) -> None:
    """A bias whose last axis lies along the channels, or is one number for all of them."""
    shape = walk.shape(bias)
    if shape and shape[-1] != 1 and math.prod(size for size in shape if isinstance(size, int)) == shape[-1]:
        walk.tie_ids((bias, len(shape) - 1), made, walk.is_fixed_to(node.inputs[0]))
        walk.use(node, "follows", (bias, len(shape) - 1))
    elif shape and shape[-1] != 1:
        walk.fix([bias], f"{bias} is a bias of more than one axis")
        if made is not None:
            walk.ties.fix(made, f"{bias} is a bias of more than one axis")


def _count(walk: Walk, node: Node, axes: tuple[Ids | None, ...]) -> None:
    held = tuple(ids for ids in axes if ids is not None)
    walk.products.append(Product(node.name or node.outputs[0], macs_of(walk.graph, node), held))


def _groups(node: Node) -> int:
    return int(node.get("group", 1))


def _size(walk: Walk, name: str, axis: int) -> int:
    size = walk.shape(name)[axis]
    return size if isinstance(size, int) else -1

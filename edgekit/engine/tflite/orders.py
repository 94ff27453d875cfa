"""In which order a tensor's axes are stored, and what an operation makes of that order.

ONNX says channels first, TFLite's kernels want them last. Nothing else in a graph cares, so an order is a property of
each tensor: stored axis ``i`` is axis ``axes[i]`` of the ONNX tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.engine.tflite.graph import Array


@dataclass(frozen=True, slots=True)
class Order:
    """How a tensor is stored.

    Attributes:
        axes: stored axis ``i`` is axis ``axes[i]`` of the ONNX tensor.
        picture: sizes of the axes that were flattened into the last one, as ONNX had them, where they are stored in
            another sequence; otherwise empty.
        turn: that sequence: the ``i``-th of them as stored is ``turn[i]`` of ``picture``.
    """

    axes: tuple[int, ...]
    picture: tuple[int, ...] = ()
    turn: tuple[int, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is stored as ONNX has it."""
        return self.axes == tuple(range(len(self.axes))) and not self.picture

    def where(self, axis: int) -> int:
        """Where an axis of the ONNX tensor (negative ones count from the end) is stored."""
        return self.axes.index(axis % len(self.axes))


def plain(rank: int) -> Order:
    """As ONNX has it."""
    return Order(tuple(range(rank)))


def channels_last(rank: int) -> Order:
    """Batch, what ONNX has after the channels, channels."""
    return Order((0, *range(2, rank), 1)) if rank > 2 else plain(rank)


def stored_shape(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    """Sizes in the order they are stored in."""
    return tuple(shape[axis] for axis in order.axes)


def arranged(array: Array, order: Order) -> Array:
    """An array with ONNX's axes, as it is stored."""
    if order.picture and array.shape[-1] != 1:
        outer = array.ndim - 1
        pictures = array.reshape(*array.shape[:-1], *order.picture)
        array = pictures.transpose(*range(outer), *(outer + axis for axis in order.turn)).reshape(array.shape)
    return array.transpose(order.axes)


def same_memory(shape: Sequence[int], one: Order, other: Order) -> bool:
    """Whether both orders put the elements into the same sequence (axes of size 1 may stand anywhere)."""

    def moving(order: Order) -> list[int]:
        return [axis for axis in order.axes if shape[axis] != 1]

    return moving(one) == moving(other) and (one.picture, one.turn) == (other.picture, other.turn)


def permutation(one: Order, other: Order) -> tuple[int, ...]:
    """By what a tensor stored in one order is transposed into the other (neither holds a flattened picture)."""
    return tuple(one.axes.index(axis) for axis in other.axes)


def through_transpose(by: Sequence[int], order: Order) -> Order | None:
    """The order of a Transpose's output if nothing is moved."""
    if order.picture:
        return None
    return Order(tuple(list(by).index(axis) for axis in order.axes))


def through_reduction(axes: Sequence[int], order: Order) -> Order | None:
    """The order of what is left when these axes are taken away."""
    if order.picture:
        return None
    left = [axis for axis in range(len(order.axes)) if axis not in axes]
    return Order(tuple(left.index(axis) for axis in order.axes if axis not in axes))


def through_reshape(before: Sequence[int], after: Sequence[int], order: Order) -> Order | None:
    """The order of a Reshape's output if nothing is moved; ``None`` if it cannot be had so.

    Args:
        before, after: shapes in ONNX.
        order: of the input.
    """
    if order.picture or 0 in before:
        return None
    ends = _groups(before, after)
    position = {axis: index for index, axis in enumerate(axis for axis in order.axes if before[axis] != 1)}
    placed = []
    for old, new in ends:
        places = [position[axis] for axis in old]
        if places != list(range(places[0], places[0] + len(places))):
            return None
        placed.append((places[0], new))
    axes = [axis for _, new in sorted(placed) for axis in new]
    for axis, size in enumerate(after):
        if size == 1:
            axes.insert(axis, axis)
    return Order(tuple(axes))


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Which axes larger than 1 of one shape become which of the other, in the smallest groups."""
    old = [axis for axis, size in enumerate(before) if size != 1]
    new = [axis for axis, size in enumerate(after) if size != 1]
    groups = []
    while old:
        left, right = [old.pop(0)], [new.pop(0)]
        left_size, right_size = before[left[0]], after[right[0]]
        while left_size != right_size:
            if left_size < right_size:
                left.append(old.pop(0))
                left_size *= before[left[-1]]
            else:
                right.append(new.pop(0))
                right_size *= after[right[-1]]
        groups.append((left, right))
    return groups


def flattened(before: Sequence[int], after: Sequence[int], order: Order) -> Order | None:
    """The order of pictures that are flattened into rows without being moved; ``None`` for anything else."""
    is_flattening = len(before) > 2 and len(after) == 2 and after[0] == before[0] and order.axes[0] == 0 and not order.picture
    return Order((0, 1), tuple(before[1:]), tuple(axis - 1 for axis in order.axes[1:])) if is_flattening else None

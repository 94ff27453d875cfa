"""What the weights of a node are multiplied with, at some places of its output: rows of inputs, one row a place.

Taking every place of every sample would cost as much as the network itself; some of each sample tell as much, since
neighbours resemble one another. Which ones is decided by arithmetic, not by chance: same samples, same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.weighted import Weighted, Window

NUMBERS = 32_768
"""About so many are taken from one sample for one node, but never fewer places than :data:`FEWEST`."""

FEWEST, MOST = 16, 128

LARGEST_BLOCK = 256
"""A covariance of more inputs is kept as blocks of at most so many: beyond, it costs more than it tells."""

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def patches(one: Weighted, values: NDArray[Any], sample: int, *, most: int = MOST) -> NDArray[np.float32]:
    """Inputs of a node as its weights see them, padding as zeros.

    Args:
        one: the node.
        values: its input, shape (batch, channels, …) for a convolution, else (…, inputs).
        sample: number of the sample; others give other places.
        most: places taken at most.

    Returns:
        Shape (groups, places, inputs of a group), inputs in the order of :meth:`Weighted.by_channel`.
    """
    if one.window is None:
        rows = values.reshape(-1, values.shape[-1])
        return np.ascontiguousarray(rows[_places(len(rows), rows.shape[1], sample, most)][None], np.float32)
    sizes = _output_sizes(values.shape[2:], one.window)
    inputs = values.shape[1] * math.prod(one.window.kernel)
    places = _places(values.shape[0] * math.prod(sizes), inputs, sample, most)
    batch, *where = np.unravel_index(places, (values.shape[0], *sizes))
    index, is_inside = _reads(where, values.shape[2:], one.window)
    flat = values.reshape(*values.shape[:2], -1)
    taken = flat[batch[:, None], :, index] * is_inside[:, :, None]  # (places, kernel, channels)
    grouped = taken.reshape(len(places), index.shape[1], one.groups, -1).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(grouped.reshape(one.groups, len(places), -1), np.float32)


def block_sizes(inputs: int) -> tuple[int, int]:
    """In how many blocks the covariance of so many inputs is kept, and how many inputs each has; the last may be padded."""
    blocks = max(-(-inputs // LARGEST_BLOCK), 1)
    return blocks, -(-inputs // blocks)


def in_blocks(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows with the inputs of each group split into blocks, zeros behind the last.

    Args:
        rows: shape (groups, rows, inputs).

    Returns:
        Shape (groups x blocks, rows, inputs of a block).
    """
    groups, count, inputs = rows.shape
    blocks, size = block_sizes(inputs)
    padded = np.pad(rows, ((0, 0), (0, 0), (0, blocks * size - inputs))) if blocks * size > inputs else rows
    return np.ascontiguousarray(padded.reshape(groups, count, blocks, size).transpose(0, 2, 1, 3)).reshape(groups * blocks, count, size)


def from_blocks(parts: NDArray[Any], groups: int, inputs: int) -> NDArray[Any]:
    """The opposite of :func:`in_blocks`: shape (groups, rows, inputs)."""
    split = parts.reshape(groups, -1, parts.shape[1], parts.shape[2]).transpose(0, 2, 1, 3)
    return split.reshape(groups, parts.shape[1], -1)[:, :, :inputs]


def _places(total: int, inputs: int, sample: int, most: int) -> NDArray[np.intp]:
    """Some of ``total`` places, spread out, each once."""
    wanted = min(max(NUMBERS // inputs, FEWEST), most)
    if total <= wanted:
        return np.arange(total)
    step = max(round(total * _GOLDEN), 1)
    while math.gcd(step, total) > 1:
        step += 1
    return np.sort((sample * wanted + np.arange(wanted)) * step % total)


def _output_sizes(sizes: tuple[int, ...], window: Window) -> tuple[int, ...]:
    found = []
    for axis, size in enumerate(sizes):
        reach, padding = window.dilations[axis] * (window.kernel[axis] - 1) + 1, window.begins[axis] + window.ends[axis]
        if window.is_transposed:
            found.append(window.strides[axis] * (size - 1) + reach - padding)
        else:
            found.append((size + padding - reach) // window.strides[axis] + 1)
    return tuple(found)


def _reads(where: list[NDArray[np.intp]], sizes: tuple[int, ...], window: Window) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Flat indices of what is read at each place, and whether it lies inside; both of shape (places, kernel)."""
    index = np.zeros((len(where[0]), 1), np.intp)
    is_inside = np.ones((len(where[0]), 1), np.bool_)
    for axis, size in enumerate(sizes):
        offsets = np.arange(window.kernel[axis]) * window.dilations[axis] - window.begins[axis]
        if window.is_transposed:
            read, remainder = np.divmod(where[axis][:, None] - offsets, window.strides[axis])
            good = (remainder == 0) & (read >= 0) & (read < size)
        else:
            read = where[axis][:, None] * window.strides[axis] + offsets
            good = (read >= 0) & (read < size)
        read = np.clip(read, 0, size - 1)
        index = (index[:, :, None] * size + read[:, None, :]).reshape(len(index), -1)
        is_inside = (is_inside[:, :, None] & good[:, None, :]).reshape(len(index), -1)
    return index, is_inside

"""Few values for a node's weights: which, and which weight takes which. Numpy in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.numerics.codebook import codebook, codebooks, nearest
from edgekit.numerics.rounding import compensated_by
from edgekit.passes.compress.rows import Rows, by_channel, changed, importance, times
from edgekit.passes.quantize.patches import from_blocks, in_blocks

F64 = NDArray[np.float64]
Codes = NDArray[np.intp]
Scope = Literal["layer", "channel", "scaled"]

_ROUNDS = 8
_STEADY = 1e-6
"""Of the mean of a diagonal: so much a value prefers to stay."""

_FITTED = 64
"""Codebooks with more entries are not fitted to the inputs: it takes a product for each and changes little."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Weights with few values.

    Attributes:
        table: the values of each row, sorted, shape (rows, entries); a row may use fewer.
        codes: which of them each weight has, shape (rows, inputs).
    """

    table: F64
    codes: Codes

    @property
    def values(self) -> F64:
        """The weights, shape (rows, inputs)."""
        return np.take_along_axis(self.table, self.codes, axis=1)


def share(rows: Rows, entries: int, scope: Scope) -> Shared:
    """Weights of at most so many values in each slice that has a codebook of its own.

    Where inputs were seen, weights count by how much their inputs vary, each weight's error is made up for by those that
    follow, and the values are fitted once more to what the codes make of the inputs.

    Args:
        rows: the weights.
        entries: of a codebook, a zero that has to stay included; >= 2.
        scope: ``layer``: all rows have one codebook. ``channel``: each channel has its own. ``scaled``: each channel has
            a multiple of one codebook whose ends are opposite and used in every channel: with a scale for each channel,
            the same integers stand for it in all of them.

    Source:
        Han et al., "Deep Compression", ICLR 2016, section 3; weights of the k-means as in Kim et al., "SqueezeLLM:
        Dense-and-Sparse Quantization", ICML 2024, section 4.1, with the variance of inputs for the Fisher information.
    """
    weights = importance(rows)
    if scope == "scaled":
        return _scaled(rows, entries, weights)
    slices = rows.channel if scope == "channel" else np.zeros_like(rows.channel)
    shared = _assigned(rows, _by_slice(rows, entries, weights) if scope == "channel" else _one_for_all(rows, entries, weights))
    return _refitted(shared, slices, rows) if rows.covariance is not None and entries <= _FITTED else shared


def _one_for_all(rows: Rows, entries: int, weights: F64, begun: F64 | None = None) -> F64:
    """The best codebook of all rows, filled up with its last value; from one that was good for almost the same rows, a good one."""
    if begun is not None and rows.zeros is not None:
        begun = begun[begun != 0.0]
    book = codebook(rows.values, entries - (rows.zeros is not None), weights=weights, begun=begun)
    book = book if rows.zeros is None else np.union1d(book, [0.0])
    return np.broadcast_to(np.pad(book, (0, entries - len(book)), mode="edge"), (len(rows.values), entries))


def _by_slice(rows: Rows, entries: int, weights: F64) -> F64:
    """A good codebook for each channel."""
    count = rows.channel.max() + 1
    order = np.argsort(rows.channel, kind="stable")
    books = codebooks(rows.values[order].reshape(count, -1), entries - (rows.zeros is not None), weights=weights[order].reshape(count, -1))
    if rows.zeros is not None:
        books = np.sort(np.concatenate([books, np.zeros((count, 1))], axis=1), axis=1)
    return books[rows.channel]


def _assigned(rows: Rows, table: F64) -> Shared:
    """Each weight its nearest value, what that changes made up for where inputs are known."""
    zero = np.abs(table).argmin(axis=1)
    if rows.covariance is None:
        codes = np.stack([nearest(row, book) for row, book in zip(rows.values, table, strict=True)])
        return Shared(table, codes if rows.zeros is None else np.where(rows.zeros, zero[:, None], codes))
    inputs = rows.values.shape[1]

    def parts(array: NDArray[Any]) -> NDArray[Any]:
        return in_blocks(array.reshape(rows.groups, -1, inputs))

    blocks = len(rows.covariance) // rows.groups
    books = np.repeat(table.reshape(rows.groups, -1, table.shape[1]), blocks, axis=0)
    cuts = (books[:, :, 1:] + books[:, :, :-1]) / 2.0

    def of_column(left: F64) -> tuple[F64, F64]:
        codes = (left[:, :, None] >= cuts).sum(axis=2)
        return codes.astype(np.float64), np.take_along_axis(books, codes[:, :, None], 2)[:, :, 0]

    held = None if rows.zeros is None else parts(rows.zeros)
    found = compensated_by(parts(rows.values), rows.covariance, of_column, zeros=held, zero=-1.0)
    codes = from_blocks(found, rows.groups, inputs).reshape(rows.values.shape).astype(np.intp)
    shared = Shared(table, np.where(codes < 0, zero[:, None], codes))
    at_once = _assigned(replace(rows, covariance=None), table)
    return min(at_once, shared, key=lambda one: changed(rows, one.values))


def _refitted(shared: Shared, slices: NDArray[np.intp], rows: Rows) -> Shared:
    """The same codes with the values of each slice that change outputs least; a value that is 0 stays so."""
    count, entries = slices.max() + 1, shared.table.shape[1]
    gram, target = np.empty((count, entries, entries)), np.empty((count, entries))
    for entry in range(entries):
        seen = times(rows, (shared.codes == entry).astype(np.float64))
        found = np.bincount((slices[:, None] * entries + shared.codes).reshape(-1), seen.reshape(-1), count * entries)
        gram[:, entry] = found.reshape(count, entries)
        target[:, entry] = np.bincount(slices, (seen * rows.values).sum(axis=1))
    table, codes = shared.table.copy(), shared.codes.copy()
    for one in range(count):
        where = slices == one
        begun = table[where][0]
        steady = max(_STEADY * float(np.trace(gram[one])) / entries, 1e-300)
        moving = np.flatnonzero(begun)
        system = gram[one][np.ix_(moving, moving)] + steady * np.eye(len(moving))
        fitted = begun.copy()
        fitted[moving] = np.linalg.solve(system, target[one, moving] + steady * begun[moving])
        order = np.argsort(fitted, kind="stable")
        table[where], codes[where] = fitted[order], np.argsort(order, kind="stable")[shared.codes[where]]
    return Shared(table, codes)


def _scaled(rows: Rows, entries: int, weights: F64) -> Shared:
    """One codebook with ends -1 and 1 for all channels, each channel's scale fitted to what it codes."""
    scale = np.maximum(np.array([np.abs(rows.values[rows.channel == one]).max() for one in range(rows.channel.max() + 1)]), 1e-30)
    book = np.empty(0)
    for _ in range(_ROUNDS):
        by_row = scale[rows.channel, None]
        unit = replace(rows, values=rows.values / by_row, covariance=None)
        book = _with_ends(_one_for_all(unit, entries, weights, book if len(book) else None)[0], has_zero=rows.zeros is not None)
        shared = _assigned(unit, np.broadcast_to(book, (len(by_row), entries)))
        product = by_channel(rows, weights * shared.values * rows.values)
        square = by_channel(rows, weights * np.square(shared.values))
        scale = np.where((square > 0.0) & (product > 0.0), product / np.maximum(square, 1e-300), scale)
    final = _assigned(rows, book * scale[rows.channel, None])
    codes = _reaching_ends(rows, final.codes, book)
    if rows.covariance is not None:
        unit_values = book[codes]
        seen = times(rows, unit_values)
        product, square = by_channel(rows, seen * rows.values), by_channel(rows, seen * unit_values)
        scale = np.where((square > 0.0) & (product > 0.0), product / np.maximum(square, 1e-300), scale)
    return Shared(book * scale[rows.channel, None], codes)


def _with_ends(book: F64, *, has_zero: bool) -> F64:
    """A codebook whose ends are -1 and 1, and that has 0 where zeros have to stay."""
    book = book / max(float(np.abs(book).max()), 1e-30)
    book[0], book[-1] = -1.0, 1.0
    if has_zero and not (book == 0.0).any():
        book[1 + np.abs(book[1:-1]).argmin()] = 0.0
    return np.sort(book)


def _reaching_ends(rows: Rows, codes: Codes, book: F64) -> Codes:
    """The same codes, but that in each channel that is not all 0 the largest weight has an end of the codebook, if none has."""
    ends = (codes == 0) | (codes == len(book) - 1)
    codes = codes.copy()
    for one in np.flatnonzero(by_channel(rows, ends.astype(np.float64)) == 0.0):
        where = np.flatnonzero(rows.channel == one)
        if not rows.values[where].any():
            continue
        row, column = np.unravel_index(np.abs(rows.values[where]).argmax(), (len(where), rows.values.shape[1]))
        codes[where[row], column] = 0 if rows.values[where[row], column] < 0.0 else len(book) - 1
    return codes

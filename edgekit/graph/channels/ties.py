"""Channels by number, and which of them are one: a union-find with a reason beside what may not be cut."""

from __future__ import annotations

from typing import Any

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int64]]


class Ties:
    """Numbers that stand for channels; tied ones stand for the same unit."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._why: dict[int, str] = {}

    def new(self, count: int) -> Ids:
        """Numbers of channels that nothing is tied to yet."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def tie(self, one: Ids, other: Ids) -> None:
        """Make each channel of ``one`` the same unit as that at its place in ``other``; shapes broadcast."""
        pairs = np.stack([side.ravel() for side in np.broadcast_arrays(one, other)], axis=1)
        for first, second in np.unique(pairs, axis=0).tolist():
            self._join(first, second)

    def fix(self, ids: Ids, why: str) -> None:
        """Let channels never be cut; the first reason stays."""
        for one in np.unique(ids).tolist():
            self._why.setdefault(self._root(one), why)

    def roots(self, ids: Ids) -> Ids:
        """The unit of each channel, as the number of one channel in it."""
        return np.array([self._root(one) for one in ids.ravel().tolist()], np.int64).reshape(ids.shape)

    def why(self, root: int) -> str:
        """Why a unit may not be cut; "" if it may."""
        return self._why.get(root, "")

    def _root(self, one: int) -> int:
        parent = self._parent
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    def _join(self, one: int, other: int) -> None:
        kept, gone = sorted((self._root(one), self._root(other)))
        if kept == gone:
            return
        self._parent[gone] = kept
        why = self._why.pop(gone, "")
        if why:
            self._why.setdefault(kept, why)

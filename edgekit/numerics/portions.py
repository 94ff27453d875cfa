"""Things in runs that fit into a limit together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def in_portions(things: Iterable[T], size_of: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Things in their order, in lists whose sizes add up to ``most`` at the most; one that is larger comes alone.

    Args:
        things: taken one by one, as the lists are asked for.
        size_of: such as bytes.
        most: of all in a list.
    """
    portion: list[T] = []
    held = 0
    for thing in things:
        size = size_of(thing)
        if portion and held + size > most:
            yield portion
            portion, held = [], 0
        portion.append(thing)
        held += size
    if portion:
        yield portion

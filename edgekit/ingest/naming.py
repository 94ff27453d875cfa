"""Errors found where a source's name is not known get it where it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.errors import SourceError


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Put what messages call the source in front of what is wrong with it.

    Raises:
        SourceError: the one raised within, with the name.
    """
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{source}: {error.message}", hint=error.hint) from error

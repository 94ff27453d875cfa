"""Optional packages are imported where they are used, inside ``with extra("torch"):``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.errors import MissingExtraError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn a missing package into the command that installs it.

    Args:
        name: the extra of edgekit that holds the package, as in ``pip install 'edgekit[NAME]'``.

    Raises:
        MissingExtraError: a package imported inside is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(name, (error.name or "?").partition(".")[0]) from error

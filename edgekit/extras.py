"""Optional packages are imported where they are used, inside ``with extra("torch"):``."""

from __future__ import annotations

import importlib.util
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


def lacks(name: str, package: str) -> str:
    """What to say where a package of an extra is not installed, without importing it; "" where it is."""
    if importlib.util.find_spec(package) is not None:
        return ""
    return f"needs the package {package}, which is not installed: pip install 'edgekit[{name}]'"

"""Versions of installed packages, without importing them."""

from __future__ import annotations

from importlib import metadata, util

from edgekit.errors import MissingExtraError


def versions(*packages: str) -> dict[str, str]:
    """Version by name, of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def require(extra: str, *modules: str) -> None:
    """Make sure that modules can be imported, importing none.

    Raises:
        MissingExtraError: one cannot.
    """
    for module in modules:
        if util.find_spec(module) is None:
            raise MissingExtraError(extra, module)

"""Plugins come one way, by entry point, edgekit's own included. Listing them imports nothing."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any, Literal

from edgekit.errors import UsageError
from edgekit.strict import nearest

Group = Literal["edgekit.frontends", "edgekit.passes", "edgekit.backends", "edgekit.devices", "edgekit.trainers", "edgekit.losses", "edgekit.metrics"]


@functools.cache
def _found(group: Group) -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in sorted(metadata.entry_points(group=group))}


def names(group: Group) -> tuple[str, ...]:
    """Names of all plugins of a group that are installed."""
    return tuple(_found(group))


def load(group: Group, name: str) -> Any:
    """The class a plugin's name stands for.

    Raises:
        UsageError: no such plugin is installed.
    """
    found = _found(group)
    if name not in found:
        kind = group.rpartition(".")[2]
        raise UsageError(f"{name}: unknown{nearest(name, found)}", hint=f"installed {kind}: {', '.join(found)}")
    return found[name].load()


def origin_of(group: Group, name: str) -> str:
    """The package that a plugin comes from, and its version; "" if it is not installed."""
    point = _found(group).get(name)
    return f"{point.dist.name} {point.dist.version}" if point is not None and point.dist is not None else ""


def version_of(*packages: str) -> dict[str, str]:
    """Versions of those of the packages that are installed. Imports none of them."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

"""What the shell offers while a command line is typed."""

from __future__ import annotations


def target_names(incomplete: str) -> list[str]:
    """Targets and aliases that begin like the last name typed; names before it, set off by commas, stay."""
    from edgekit.target import alias_names, target_files

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in (*target_files(), *alias_names()) if name.startswith(last)]


def recipe_names(incomplete: str) -> list[str]:
    """Built-in recipes that begin like this."""
    from edgekit.recipe import recipe_files

    return [name for name in recipe_files() if name.startswith(incomplete)]


def device_names(incomplete: str) -> list[str]:
    """Devices of ``devices.toml`` that begin like this."""
    from edgekit.device.inventory import read_inventory

    return [entry.name for entry in read_inventory().device if entry.name.startswith(incomplete)]


def key_names(incomplete: str) -> list[str]:
    """Keys that can sign and begin like this."""
    from edgekit.bundle import list_keys

    return [key.name for key in list_keys() if key.can_sign and key.name.startswith(incomplete)]

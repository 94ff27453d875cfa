"""``edgekit version``."""

from __future__ import annotations

from edgekit.cli.terminal import AsJson, print_json, say


def version(as_json: AsJson = False) -> None:
    """Print the version of edgekit."""
    from edgekit.plugins import version_of

    found = version_of("edgekit").get("edgekit", "not installed")
    if as_json:
        print_json({"edgekit": found})
    else:
        say(f"edgekit {found}")

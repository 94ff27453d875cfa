"""``edgekit rollback``."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli.deploy import DeployDevice
from edgekit.cli.terminal import AsJson, print_json, say

NameOption = Annotated[str, typer.Option("--name", metavar="APP", help="The application, if the device has several.", show_default=False)]


def rollback(device: DeployDevice, name: NameOption = "", as_json: AsJson = False) -> None:
    """Return to what ran before, on a device where it still lies; at once, nothing is sent."""
    from edgekit.deploy import site_of

    with site_of(device) as site:
        found = site.back(name)
    running = found.running
    if as_json:
        print_json(found)
    elif running is not None:
        say(f"{device}: {found.app} {running.version} runs again ({running.title})")

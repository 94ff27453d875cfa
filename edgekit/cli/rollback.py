"""``edgekit rollback``."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli.deploy import DeployDevice
from edgekit.cli.terminal import AsJson, print_json, say

NameOption = Annotated[str, typer.Option("--name", metavar="APP", help="The application, if the device has several.", show_default=False)]


def rollback(device: DeployDevice, name: NameOption = "", as_json: AsJson = False) -> None:
    """Return to what ran before, on a device where it still lies; at once, nothing is sent."""
    from edgekit.deploy import Site
    from edgekit.device import open_device

    opened = open_device(device, as_it_is=True)
    try:
        found = Site(opened).back(name)
    finally:
        opened.close()
    running = found.running
    if as_json:
        print_json(found)
    elif running is not None:
        say(f"{opened.facts.name}: {found.app} {running.version} runs again ({running.title})")

"""``edgekit status``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.deploy import DeployDevice
from edgekit.cli.rollback import NameOption
from edgekit.cli.terminal import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.deploy import Installed

MARKS = {"mark-good": "good", "mark-bad": "bad"}


def status(
    device: DeployDevice,
    mark: Annotated[str, typer.Argument(metavar="[mark-good|mark-bad]", help="Say so of what runs; what is bad gives way.", show_default=False)] = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Say what is installed on a device and what runs, or say that what runs is good or bad."""
    from edgekit.deploy import site_of
    from edgekit.errors import UsageError
    from edgekit.strict import nearest

    if mark not in ("", *MARKS):
        raise UsageError(f"{mark}: no such mark{nearest(mark, MARKS)}", hint=f"one of {', '.join(MARKS)}, or nothing")
    with site_of(device) as site:
        found = (site.mark(name, MARKS[mark]),) if mark else site.status(name)
    if as_json:
        print_json({"device": device, "apps": found})
        return
    if not any(one.slots for one in found):  # a first deploy that was refused leaves a name without slots
        say(f"{device}: nothing is installed")
        return
    _show(found)


def _show(found: Sequence[Installed]) -> None:
    rows = [
        (
            one.app,
            str(slot.version),
            "runs" if slot.runs else "",
            slot.status,
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(slot.since)),
            slot.slot,
            "; ".join(filter(None, (slot.title, slot.reason))),
        )
        for one in found
        for slot in one.slots
    ]
    print_table(("application", "version", "", "status", "since", "slot", "what"), rows, right=("version",))

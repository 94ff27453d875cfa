"""One bundle onto several devices of the inventory at once; what fails on one takes nothing from the others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgekit.bundle import looked_at
from edgekit.deploy import Deployed, Terms, deploy
from edgekit.device import Entry
from edgekit.errors import DeviceError, EdgekitError
from edgekit.pipeline.fleet import members
from edgekit.watch import SILENT, Watcher

Deploy = Callable[[Path, str, Terms], Deployed]


class Arrival(msgspec.Struct, frozen=True):
    """What came of one device.

    Attributes:
        device: its name.
        url: how it was reached.
        deployed: what runs there now; None if nothing was installed.
        error: why not; empty if it was.
        hint: what can be done about it.
        exit_status: of the error.
    """

    device: str
    url: str
    deployed: Deployed | None = None
    error: str = ""
    hint: str = ""
    exit_status: int = 0


def deploy_fleet(bundle: Path, asked: str, terms: Terms, *, watcher: Watcher = SILENT, deploy_: Deploy = deploy) -> tuple[Arrival, ...]:
    """Install a bundle on several devices, side by side.

    Args:
        bundle: the file.
        asked: ``lab:all``, ``lab:TAG``, ``lab:NAME,TAG,…``.
        terms: how.
        watcher: told about progress.
        deploy_: installs it on one.

    Returns:
        One for each device, in the order of the inventory.

    Raises:
        BundleError: it is no bundle.
        UsageError: there is no such device.
    """
    entries = members(asked)
    looked_at(bundle)
    done: queue.Queue[tuple[int, Arrival]] = queue.Queue()

    def visit(index: int, entry: Entry) -> None:
        done.put((index, _arrived(bundle, entry, terms, deploy_)))

    watcher.begin(f"deploy {bundle.name} to {len(entries)} devices", len(entries))
    for index, entry in enumerate(entries):  # daemons: after Ctrl-C nothing waits for them; a device goes on with what it has whole
        threading.Thread(target=visit, args=(index, entry), daemon=True).start()
    arrivals: dict[int, Arrival] = {}
    while len(arrivals) < len(entries):
        index, one = done.get()
        arrivals[index] = one
        watcher.advance()
    watcher.end(f"{sum(not one.error for one in arrivals.values())} of {len(entries)} have it")
    return tuple(arrivals[index] for index in range(len(entries)))


def _arrived(bundle: Path, entry: Entry, terms: Terms, deploy_: Deploy) -> Arrival:
    try:
        found = deploy_(bundle, entry.name, terms)
    except EdgekitError as error:
        return Arrival(entry.name, entry.url, error=error.message, hint=error.hint, exit_status=error.exit_status)
    except Exception as error:  # noqa: BLE001 - a defect met on one device must not take the others' results away
        return Arrival(entry.name, entry.url, error=f"a defect in edgekit: {type(error).__name__}: {error}", hint="please report it", exit_status=1)
    if found.gave_way:
        reason = next(one.reason for one in found.installed.slots if one.slot == found.slot)
        told = f"it failed its trial: {reason}"
        hint = "is this the device that it was built and measured for?"
        return Arrival(entry.name, entry.url, deployed=found, error=told, hint=hint, exit_status=DeviceError.exit_status)
    return Arrival(entry.name, entry.url, deployed=found)

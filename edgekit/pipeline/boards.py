"""Devices that build their own engines: asked first, so that nobody calibrates for a board that cannot build."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edgekit import plugins
from edgekit.device.contract import Device
from edgekit.errors import DeviceError
from edgekit.pipeline.place import Bench
from edgekit.target import Chosen


@dataclass(frozen=True, slots=True)
class Boards:
    """Where engines are built that no host builds.

    Attributes:
        device: that builds them; None if none was named.
        machines: by target's key, what decides an engine there; of targets that the device can build for.
        remarks: why it cannot build for others.
    """

    device: Device | None = None
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def builder(self, one: Chosen) -> Device | None:
        """The device that builds for a target."""
        return self.device if one.key in self.machines else None


NO_BOARDS = Boards()


def surveyed(chosen: Iterable[Chosen], bench: Bench) -> Boards:
    """Ask the device that the user named what it could build.

    Raises:
        DeviceError: it cannot build for the only target there is.
    """
    chosen = tuple(chosen)
    wanted = [one for one in chosen if one.builds_on == "device"]
    if not bench.is_named or not wanted or bench.device.facts.emulated:
        return Boards()
    machines, remarks = {}, []
    for one in wanted:
        backend = plugins.load("edgekit.backends", one.runtime)()
        machine = backend.survey(bench.device)
        if not (reason := backend.why_not_on(machine, one.target)):
            machines[one.key] = backend.deciding(machine)
            continue
        if len(chosen) == 1:
            name = bench.device.facts.name
            hint = f"edgekit targets probe {bench.device.facts.url} writes this device's own target file; without --device the package is made"
            raise DeviceError(f"{name} cannot build for {one.target.name}: {reason}", hint=hint)
        remarks.append(f"{one.key} is left as a package: {bench.device.facts.name} cannot build it: {reason}")
    return Boards(device=bench.device, machines=machines, remarks=tuple(remarks))

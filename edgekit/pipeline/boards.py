"""Devices that build their own engines: asked first, so that nobody calibrates for a board that cannot build."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit import plugins
from edgekit.device.contract import Device
from edgekit.engine.contract import Engine
from edgekit.errors import DeviceError
from edgekit.pipeline.place import Bench
from edgekit.target import Chosen, Target
from edgekit.watch import Watcher


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


def built_there(folder: Path, package: Engine, target: Target | None, bench: Bench, out: Path, watcher: Watcher) -> Engine | None:
    """The engine that a device makes of a package which was written before; None if it cannot build any, or not this one.

    Args:
        folder: of the package.
        package: its record.
        target: that it is for; None if its file is not known here, and the builder alone compares.
        bench: the device.
        out: folder for the engine.
        watcher: told about progress.

    Raises:
        DeviceError: the build there fails.
    """
    backend = plugins.load("edgekit.backends", package.runtime)()
    if bench.device.facts.emulated or not hasattr(backend, "build"):
        return None
    if target is not None and (reason := backend.why_not_on(backend.survey(bench.device), target)):
        watcher.note(f"{bench.device.facts.name} cannot build for {target.name}: {reason}")
        return None
    engine: Engine = backend.build(bench.device, folder, out, watcher=watcher)
    return engine

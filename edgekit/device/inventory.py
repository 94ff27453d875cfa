"""``devices.toml``: the devices of a lab by name, so that ``--device NAME`` reaches one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from edgekit import plugins, strict
from edgekit.device import adb, address, power
from edgekit.errors import StoreError, UsageError
from edgekit.target import choose

FILE = "devices.toml"
LAB = "lab:"
ADDRESSED: dict[str, Callable[[str], address.Address | adb.Serial]] = {"ssh": address.parsed, "adb": adb.parsed}
"""Kinds of device whose URL holds an address: what reads it."""
"""Begins what names several devices at once: ``lab:all``, ``lab:TAG``."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device.

    Attributes:
        name: what it is called here and in reports.
        url: how it is reached, such as ``ssh://pi@10.0.0.7``.
        target: the kind of device it is; builds for it need no ``--target``.
        tags: words by which several are named together.
        power_mode: set before it is measured, and back afterwards: ``governor:NAME`` of cpufreq, or ``nvpmodel:NUMBER`` of a
            Jetson; needs root there, or ``sudo`` without a password.
        python: path of the interpreter there that has the runtimes, of a device reached by SSH or adb.
        benchmark_model: path there of LiteRT's program of that name, which then runs its engines; no Python is asked for.
    """

    name: str
    url: str
    target: str = ""
    tags: tuple[str, ...] = ()
    power_mode: str = ""
    python: str = ""
    benchmark_model: str = ""


class Inventory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file.

    Attributes:
        schema: version of this file format.
        device: all devices, in the order written.
    """

    schema: Literal[1]
    device: tuple[Entry, ...] = ()


def inventory_path() -> Path:
    """``$EDGEKIT_DEVICES``, else ``./devices.toml`` where there is one, else ``edgekit/devices.toml`` in the user's configuration folder."""
    named = os.environ.get("EDGEKIT_DEVICES")
    if named:
        return Path(named).expanduser()
    if Path(FILE).exists():
        return Path(FILE)
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "edgekit" / FILE


def read_inventory(path: Path | None = None) -> Inventory:
    """The inventory; an empty one where there is no file.

    Args:
        path: of the file; the one that is found if None.

    Raises:
        UsageError: it cannot be read, or an entry is wrong; all faults at once.
    """
    path = path or inventory_path()
    if not path.exists():
        return Inventory(schema=1)
    inventory = strict.read(path, Inventory)
    faults = [f"{entry.name}: {fault}" for entry in inventory.device for fault in entry_faults(entry)]
    names = [entry.name for entry in inventory.device]
    faults += [f"{name}: stands there twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if faults:
        raise UsageError(f"{path}: " + "; ".join(faults), hint="mend what is named; `edgekit schema devices` prints what is allowed")
    return inventory


def entry_faults(entry: Entry) -> list[str]:
    """What is wrong with an entry, without reaching the device."""
    faults = []
    schemes = plugins.names("edgekit.devices")
    scheme = entry.url.partition(":")[0]
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", entry.name) or entry.name in schemes:
        faults.append("name: letters, digits, `-`, `_`, `.`, and no kind of device")
    if scheme not in schemes:
        faults.append(f"url {scheme}: no such kind of device{strict.nearest(scheme, schemes)}; known are {', '.join(schemes)}")
    if scheme in ADDRESSED:
        faults += _fault_of(ADDRESSED[scheme], entry.url)
    faults += [f"tag {tag!r}: one word of letters, digits, `-`, `_`" for tag in entry.tags if not re.fullmatch(r"[\w-]+", tag)]
    if entry.power_mode and not power.is_mode(entry.power_mode):
        faults.append(f"power_mode {entry.power_mode}: {power.FORM}")
    faults += [
        f"{key}: only of a device reached by SSH or adb" for key in ("python", "benchmark_model") if getattr(entry, key) and scheme not in ADDRESSED
    ]
    if entry.python and entry.benchmark_model:
        faults.append("benchmark_model: where it runs the engines, no Python is asked for; name one of the two")
    if entry.benchmark_model and not entry.benchmark_model.startswith("/"):
        faults.append(f"benchmark_model {entry.benchmark_model}: the whole path there, such as /data/local/tmp/benchmark_model")
    return faults + (_fault_of(choose, entry.target) if entry.target else [])


def _fault_of(read: Callable[[str], object], text: str) -> list[str]:
    try:
        read(text)
    except UsageError as error:
        return [f"{error.message}; {error.hint}"]
    return []


def entry_of(name: str) -> Entry:
    """The device of that name.

    Raises:
        UsageError: there is none.
    """
    entries = read_inventory().device
    for entry in entries:
        if entry.name == name:
            return entry
    known = [entry.name for entry in entries]
    schemes = plugins.names("edgekit.devices")
    where = f"{inventory_path()} has {', '.join(known)}" if known else "edgekit devices add NAME URL"
    raise UsageError(
        f"--device {name}: no such device, nor kind of device{strict.nearest(name, [*known, *schemes])}",
        hint=f"{where}; known kinds are {', '.join(schemes)}",
    )


def is_fleet(asked: str) -> bool:
    """Whether ``--device`` names several."""
    return asked.startswith(LAB)


def is_name(asked: str) -> bool:
    """Whether ``--device`` was given a name, not a URL."""
    return ":" not in asked and asked not in plugins.names("edgekit.devices")


def add_entry(entry: Entry, path: Path) -> None:
    """Write a device at the end of the file; what stands there stays as it is, comments too.

    Raises:
        UsageError: the entry is wrong, or its name is taken.
        StoreError: the file cannot be written.
    """
    faults = entry_faults(entry)
    if faults:
        raise UsageError(f"{entry.name}: " + "; ".join(faults), hint="`edgekit devices add --help` shows the form")
    if any(one.name == entry.name for one in read_inventory(path).device):
        raise UsageError(f"{path}: {entry.name} stands there already", hint="choose another name, or change it there")
    before = path.read_text(encoding="utf-8") if path.exists() else "schema = 1\n"
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(before.rstrip("\n") + "\n\n[[device]]\n" + strict.toml_of(entry), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}", hint="name another with EDGEKIT_DEVICES") from error

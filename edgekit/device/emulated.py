"""An ARM processor emulated on this machine: engines run as they would on a board, and no time says anything.

``emulated:NAME`` runs the userland NAME (``tools/arm_userland.py`` makes it) under QEMU's user mode; ``emulated:NAME/CPU``
on another core. Files are this machine's, programs are the userland's: each has a launcher by its name, so that what a
program starts by its name is emulated, too.

Cores are a closed list. QEMU's own choice, ``max``, has SME, with which LiteRT 2.3 computes int8 models wrong under QEMU 7.2
(largest difference of one output 72 steps of 256).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import msgspec

from edgekit import strict
from edgekit.device.contract import DeviceFacts, Ran
from edgekit.device.local import LocalDevice
from edgekit.device.process import run_to_end
from edgekit.errors import DeviceError, UnreachableError, UsageError

RECORD = "userland.json"
VERSION_S = 10.0


class Machine(NamedTuple):
    """An architecture: QEMU's program for it, and cores whose results were seen to be those of x86-64; the first is taken."""

    qemu: str
    cpus: tuple[str, ...]


MACHINES = {
    "aarch64": Machine("qemu-aarch64", ("cortex-a76", "cortex-a72", "cortex-a53")),
    "armv7l": Machine("qemu-arm", ("cortex-a15", "cortex-a7")),
}


class Userland(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of a userland, as its maker wrote it.

    Attributes:
        schema: version of this file format.
        arch: as ``uname -m`` says there.
        packages: versions of its Python packages.
        wheels: what was asked for.
        counts_with: version of QEMU that was seen to count instructions for it; empty if none was.
    """

    schema: Literal[1]
    arch: str
    packages: dict[str, str]
    wheels: tuple[str, ...] = ()
    counts_with: str = ""


def apps_folder(name: str) -> Path:
    """Where applications lie that are installed in a userland: beside those of this machine, so that they outlast the userland."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share").absolute() / "edgekit" / "emulated" / name


def userlands_root() -> Path:
    """``$EDGEKIT_USERLANDS``, else ``edgekit/userlands`` in the user's cache folder."""
    named = os.environ.get("EDGEKIT_USERLANDS")
    if named:
        return Path(named).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache").absolute() / "edgekit" / "userlands"


class EmulatedDevice:
    """An ARM processor under QEMU's user mode.

    Args:
        url: ``emulated:NAME`` or ``emulated:NAME/CPU``; NAME begins with the architecture.

    Raises:
        UsageError: no such architecture or core.
        UnreachableError: the emulator or the userland is missing.
    """

    def __init__(self, url: str) -> None:
        name, arch, cpu = _parsed(url)
        self._folder = userlands_root() / name
        userland = _userland(self._folder, name)
        self._qemu = _emulator(arch)
        version = _version(self._qemu)
        self._cpu = cpu
        self._apps = apps_folder(name)
        self._files = LocalDevice()
        self.facts = DeviceFacts(
            url=url,
            name=f"qemu-{name}",
            arch=userland.arch,
            cpu=f"{cpu.title()} in QEMU {version}",
            emulated=True,
            packages=userland.packages,
            counting="python3-counting" if userland.counts_with == version else "",
        )

    def push(self, local: Path, remote: PurePosixPath) -> None:
        """Copy a file or folder.

        Raises:
            DeviceError: it cannot be written.
        """
        self._files.push(local, remote)

    def pull(self, remote: PurePosixPath, local: Path) -> None:
        """Copy a file back.

        Raises:
            DeviceError: it is not there.
        """
        self._files.pull(remote, local)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Ran:
        """Run a program of the userland, or one that was put there, emulated; it leaves no core dump.

        Raises:
            DeviceError: there is no such program, or it ran longer than ``timeout_s``.
        """
        called = f"{self.facts.name}: {argv[0]}"
        try:
            return run_to_end(self.command(argv), called=called, timeout_s=timeout_s, stdin=stdin, env=self.environment())
        except OSError as error:
            raise DeviceError(f"{called} cannot be run: {error.strerror or error}", hint=f"is it among {self._folder / 'commands'}?") from error

    def command(self, argv: Sequence[str]) -> list[str]:
        """What is started on this machine: a launcher of the userland, or QEMU with a program by its path."""
        if "/" in argv[0]:
            return [self._qemu, *argv]
        return [str(self._folder / "commands" / argv[0]), *argv[1:]]

    def environment(self) -> dict[str, str]:
        """The whole environment of a program: nothing of this machine's, and all that decides how often an instruction runs."""
        return {
            "PATH": str(self._folder / "commands"),
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self._folder / "site"),
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
            "QEMU_LD_PREFIX": str(self._folder / "cores" / self._cpu),
            "QEMU_CPU": self._cpu,
            "EDGEKIT_QEMU": self._qemu,
            "EDGEKIT_APPS": str(self._apps),
        }

    def workspace(self) -> PurePosixPath:
        """A fresh temporary folder.

        Raises:
            DeviceError: it cannot be made.
        """
        return self._files.workspace()

    def close(self) -> None:
        """Remove all workspaces."""
        self._files.close()


def _parsed(url: str) -> tuple[str, str, str]:
    """Userland, architecture and core that a URL names."""
    told = re.fullmatch(r"emulated:(?://)?([\w.-]+)(?:/([\w.-]+))?/?", url)
    name, cpu = (told[1], told[2]) if told else ("", None)
    arch = name.partition("-")[0]
    if arch not in MACHINES:
        raise UsageError(f"--device {url}: no such architecture{strict.nearest(arch, MACHINES)}", hint=f"--device emulated:{next(iter(MACHINES))}")
    cpus = MACHINES[arch].cpus
    if cpu is not None and cpu not in cpus:
        raise UsageError(f"--device {url}: no core {cpu}{strict.nearest(cpu, cpus)}", hint=f"known are {', '.join(cpus)}")
    return name, arch, cpu or cpus[0]


def _userland(folder: Path, name: str) -> Userland:
    path = folder / RECORD
    hint = f"from a clone of edgekit: python tools/arm_userland.py {name}, or make arm"
    if not path.is_file():
        raise UnreachableError(f"emulated:{name}: no userland in {folder}", hint=hint)
    try:
        return strict.read(path, Userland)
    except UsageError as error:
        raise UnreachableError(f"emulated:{name}: {error.message}", hint=f"make it anew: rm -r {folder}; {hint}") from error


def _emulator(arch: str) -> str:
    """Path of QEMU's program; Debian's static build is the same program without plugins."""
    qemu = MACHINES[arch].qemu
    found = shutil.which(qemu) or shutil.which(f"{qemu}-static")
    if found is None:
        raise UnreachableError(f"emulated:{arch}: {qemu} is not installed", hint="apt-get install qemu-user")
    return found


def _version(qemu: str) -> str:
    try:
        ran = run_to_end([qemu, "--version"], called=qemu, timeout_s=VERSION_S)
    except (OSError, DeviceError) as error:
        raise UnreachableError(f"{qemu} does not run: {error}", hint="apt-get install --reinstall qemu-user") from error
    told = re.search(rb"version ([\w.]+)", ran.stdout)
    if ran.status or told is None:
        raise UnreachableError(f"{qemu} --version ended with status {ran.status}", hint="apt-get install --reinstall qemu-user")
    return told[1].decode()

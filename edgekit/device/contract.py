"""A device is one that can be reached: put a file, get a file, run a command. It knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec


class DeviceFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a device once it has answered.

    Attributes:
        url: how it is reached, such as ``local``.
        name: what it calls itself.
        arch: as ``uname -m`` says.
        cpu: model name of the processor.
        features: processor features as Linux names them.
        emulated: whether its times mean nothing for real hardware.
        python: the interpreter that runs the agent there; empty if it has none, and is driven by its shell.
        packages: versions of the packages that it has; None where they are only known once it runs.
        benchmark_model: path of LiteRT's program of that name, which runs engines where there is no Python; whether it does, ``packages``
            says. Empty where it is not asked for, or neither named nor found.
        is_python_sought: whether it was; not where ``devices.toml`` names benchmark_model instead.
        counting: an interpreter under which instructions are counted, see :mod:`edgekit.run.counting`; empty where there is none.
    """

    url: str
    name: str
    arch: str
    cpu: str
    features: tuple[str, ...] = ()
    emulated: bool = False
    python: str = "python3"
    packages: dict[str, str] | None = None
    benchmark_model: str = ""
    is_python_sought: bool = True
    counting: str = ""


class Ran(msgspec.Struct, frozen=True):
    """What a command left behind."""

    status: int
    stdout: bytes
    stderr: bytes


class Device(Protocol):
    """Three verbs; entry-point group ``edgekit.devices``, by URL scheme."""

    facts: DeviceFacts

    def push(self, local: Path, remote: PurePosixPath) -> None:
        """Put a file or folder on the device."""

    def pull(self, remote: PurePosixPath, local: Path) -> None:
        """Get a file from the device."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Ran:
        """Run a command to its end.

        Raises:
            DeviceError: it ran longer than ``timeout_s``.
        """

    def workspace(self) -> PurePosixPath:
        """A fresh folder on the device that nobody else uses."""

    def close(self) -> None:
        """Remove what was put there."""

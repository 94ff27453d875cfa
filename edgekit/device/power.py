"""A power mode around a measurement: set when a device is first used, set back when it is closed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from edgekit.device.contract import Device, DeviceFacts, Ran
from edgekit.errors import DeviceError

FORM = "governor:NAME, such as governor:performance, or nvpmodel:NUMBER"
SET_S = 30.0

# $1 is a governor. Source: Linux, Documentation/admin-guide/pm/cpufreq.rst
_GOVERNOR = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
_GET = {
    "governor": f"cat {_GOVERNOR} 2>/dev/null | head -n 1",
    "nvpmodel": "nvpmodel -q 2>/dev/null | tail -n 1",  # NVIDIA, Jetson Linux Developer Guide: the mode's name, then its number
}
_SET = {
    "governor": f'for one in {_GOVERNOR}; do echo "$1" >"$one" || exit 1; done',
    "nvpmodel": 'nvpmodel -m "$1"',
}


def is_mode(text: str) -> bool:
    """Whether this is how a power mode is written."""
    return re.fullmatch(r"governor:[a-z_]+|nvpmodel:\d+", text) is not None


class PoweredDevice:
    """A device that is in a power mode from its first workspace until it is closed.

    Args:
        device: the device.
        mode: ``governor:NAME`` or ``nvpmodel:NUMBER``.
    """

    def __init__(self, device: Device, mode: str) -> None:
        self._device = device
        self._what, _, self._wanted = mode.partition(":")
        self._before: str | None = None
        self.facts: DeviceFacts = device.facts

    def push(self, local: Path, remote: PurePosixPath) -> None:
        """Copy a file or folder there."""
        self._device.push(local, remote)

    def pull(self, remote: PurePosixPath, local: Path) -> None:
        """Copy a file back."""
        self._device.pull(remote, local)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Ran:
        """Run a command to its end."""
        return self._device.run(argv, timeout_s=timeout_s, stdin=stdin)

    def workspace(self) -> PurePosixPath:
        """A fresh folder; with the first one, which leases the device, the mode is set.

        Raises:
            DeviceError: the device has no such mode, or that user may not set it.
        """
        folder = self._device.workspace()
        if self._before is None:
            before = self._device.run(["sh", "-c", _GET[self._what]], timeout_s=SET_S).stdout.decode(errors="replace").strip()
            if not before:
                raise DeviceError(f"{self.facts.name} has no {self._what}", hint="take power_mode out of devices.toml, or name the other kind")
            if before != self._wanted:
                self._set(self._wanted)
            self._before = before
        return folder

    def close(self) -> None:
        """Set the mode back, and close the device.

        Raises:
            DeviceError: it cannot be set back; the device is closed all the same.
        """
        try:
            if self._before not in (None, self._wanted):
                self._set(str(self._before))
        finally:
            self._before = None
            self._device.close()

    def _set(self, value: str) -> None:
        setting = 'if [ "$(id -u)" = 0 ]; then sh -c "$0" sh "$1"; else sudo -n sh -c "$0" sh "$1"; fi'
        ran = self._device.run(["sh", "-c", setting, _SET[self._what], value], timeout_s=SET_S)
        if ran.status:
            last = ran.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise DeviceError(
                f"{self.facts.name}: {self._what} {value} cannot be set: {''.join(last) or f'status {ran.status}'}",
                hint="it needs root: let that user run it by sudo without a password, or set it by hand and take power_mode out",
            )

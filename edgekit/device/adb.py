"""A device behind Android's debug bridge: ``adb://SERIAL``, or ``adb://HOST:PORT`` over the network.

Android's own client connects, so USB, ``adb pair`` and the keys in ``~/.android`` mean here what they mean to the user. Its shell
protocol (v2, Android 7 and newer) carries bytes as they are, in both directions, and exit statuses. What runs there is Python, which
Linux boards that are reached by adb have; telephones have none, and are driven by their shell (:mod:`edgekit.device.shell`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import NamedTuple

from edgekit.device.attended import CONNECT_S, LEASE_WAIT_S, AttendedDevice
from edgekit.errors import DeviceError, UnreachableError, UsageError

FORM = "adb://SERIAL or adb://HOST:PORT"
SERVER_S = 30.0
SERIAL = r"[A-Za-z0-9][\w.-]*(?::\d{1,5})?"


class Serial(NamedTuple):
    """Which device of those that adb knows; one with a port is connected to over the network."""

    name: str

    @property
    def url(self) -> str:
        """As it is written in files and reports."""
        return f"adb://{self.name}"

    @property
    def by_hand(self) -> str:
        """What a user types to try."""
        return f"adb -s {self.name} shell true"

    def command(self, remote: str, *, patience_s: int = CONNECT_S) -> list[str]:
        """What runs a command line there, without a terminal.

        Args:
            remote: as the shell there takes it.
            patience_s: seconds that connecting over the network may take.

        Raises:
            UnreachableError: there is no adb here, or no answer.
        """
        if ":" in self.name:
            self._connect(patience_s)
        return [_client(), "-s", self.name, "shell", "-T", "-e", "none", remote]

    def shell(self) -> list[str]:
        """What opens a shell for somebody at the keyboard.

        Raises:
            UnreachableError: there is no adb here, or no answer.
        """
        if ":" in self.name:
            self._connect(CONNECT_S)
        return [_client(), "-s", self.name, "shell"]

    def fault_of(self, status: int, said: str) -> DeviceError:
        """The error that a connection stands for which never came about."""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = lines[-1] if lines else f"adb ended with status {status}"
        for pattern, is_away, message, hint in _FAULTS:
            if found := re.search(pattern, said):
                kind = UnreachableError if is_away else DeviceError
                words = {"serial": self.name, "try": self.by_hand, "found": found[0].strip()}
                return kind(f"{self.url}: {message.format(**words)}", hint=hint.format(**words))
        return DeviceError(f"{self.url}: the connection opens, and nothing answers on it: {last}", hint=f"does `{self.by_hand}` end well?")

    def _connect(self, patience_s: int) -> None:
        """``adb connect`` ends with status 0 whatever happens; its words tell."""
        try:
            ran = subprocess.run(
                [_client(), "connect", self.name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=patience_s + SERVER_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UnreachableError(f"{self.url}: no answer within {patience_s} s", hint="is it on, and in this network?") from error
        said = ran.stdout.strip() or ran.stderr.strip()
        if "authenticate" in said:
            raise self.fault_of(1, "unauthorized")
        if "connected to" not in said:
            last = said.splitlines()[-1] if said else f"adb ended with status {ran.returncode}"
            raise UnreachableError(
                f"{self.url}: {last}", hint=f"is it on, and does it listen? On the device: adb tcpip PORT; here: adb connect {self.name}"
            )


class AdbDevice(AttendedDevice):
    """A device behind Android's debug bridge.

    Args:
        url: ``adb://SERIAL`` or ``adb://HOST:PORT``.
        python: the interpreter there; ``python3`` if empty.
        lease_wait_s: how long to wait for another run to end.

    Raises:
        UsageError: the URL has another form.
        UnreachableError: adb does not know it, or it does not answer.
        DeviceError: it has no Python that will do.
    """

    def __init__(self, url: str, *, python: str = "", lease_wait_s: float = LEASE_WAIT_S) -> None:
        super().__init__(parsed(url), python=python, lease_wait_s=lease_wait_s)


def parsed(url: str) -> Serial:
    """The serial that a URL names.

    Raises:
        UsageError: it has another form.
    """
    told = re.fullmatch(rf"adb:(?://)?({SERIAL})/?", url)
    if told is None:
        raise UsageError(f"--device {url}: no serial of adb", hint=f"--device {FORM}; `adb devices` lists them")
    return Serial(told[1])


def _client() -> str:
    found = shutil.which(os.environ.get("EDGEKIT_ADB", "adb"))
    if found is None:
        raise UnreachableError("adb is not installed here", hint="apt-get install adb, or Android's platform-tools")
    return found


# Pattern in what adb says, whether it means that the device is not there, message, hint. Words: adb 1.0.41 (29 and 36), transport.cpp,
# adb.cpp, client/commandline.cpp.
_FAULTS = (
    (r"unauthorized", True, "it does not know this machine's key", "confirm the key on its screen; adb kill-server asks anew"),
    (r"device (?:'[^']*' )?not found|no devices/emulators found", True, "adb does not know it", "adb devices lists what it knows; is the cable in?"),
    (
        r"device offline|device still (?:connecting|authorizing)",
        True,
        "it is offline: {found}",
        "adb reconnect offline, or pull the cable and put it back",
    ),
    (
        r"no permissions",
        True,
        "this user may not use its USB port: {found}",
        "apt-get install android-sdk-platform-tools-common, then adb kill-server",
    ),
    (
        r"cannot connect to daemon|failed to start daemon|could not read ok from ADB",
        True,
        "adb's server does not start here: {found}",
        "adb kill-server; adb start-server",
    ),
    (
        r"edgekit: needs Python[^\n]*",
        False,
        "{found}",
        'install a newer Python there, and name it: python = "/path" in devices.toml; or name benchmark_model there',
    ),
    (
        r"edgekit: no Python",
        False,
        "there is no Python 3 on it, and telephones have none",
        'name one that was put there: python = "/data/local/tmp/python/bin/python3" in devices.toml',
    ),
    (r"No space left on device", False, "its disk is full", "make room there: adb shell df"),
)

"""A device that is reached through a command of this machine, such as OpenSSH's or Android's client.

One connection carries everything: a script on its standard input (:mod:`edgekit.run.attendant`) answers until it is closed, so there
is nothing to multiplex, exit statuses come in-band (255 of ``ssh`` is ambiguous), and the lease ends with its process.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from edgekit.device import transfer
from edgekit.device.connection import Answer, Connection, LostError
from edgekit.device.contract import DeviceFacts, Ran
from edgekit.device.travel import ATTENDANT, script_of
from edgekit.errors import DeviceError, UnreachableError

CONNECT_S = 10
ANSWER_S = 30.0
OVERTIME_S = 30.0  # a command that takes too long is ended there; only where nobody does, here
LEASE_WAIT_S = 120.0
LEASE_LOOK_S = 1.0
VENV = ".local/share/edgekit/venv"  # below the user's home there; where it is, it has the runtimes
RETURN_S = 5  # … where it answered a moment ago
RETURNS = 20  # connections that one transfer may use up
NO_PYTHON = "edgekit: no Python"

# For any login shell: no exclamation marks (csh), no line breaks.
_START = (
    'for p in "$2" "$HOME/' + VENV + '/bin/python" python3; do'
    ' if command -v "$p" >/dev/null 2>&1; then exec "$p" -c "$0" "$1" "$p"; fi; done; echo "' + NO_PYTHON + '" >&2; exit 127'
)
_READ = (
    'import sys; sys.version_info < (3, 8) and sys.exit("edgekit: needs Python 3.8 or newer, this is " + sys.version.split()[0]);'
    ' exec(compile(open(0, "rb", closefd=False).read(int(sys.argv[1])), "edgekit", "exec"))'
)

T = TypeVar("T")


class Route(Protocol):
    """How a device is reached, and what the words mean of the command that reaches it."""

    @property
    def url(self) -> str:
        """As it is written in files and reports."""

    @property
    def by_hand(self) -> str:
        """What a user types to try."""

    def command(self, remote: str, *, patience_s: int) -> list[str]:
        """What runs a command line of a POSIX shell there, standard input and output as they are.

        Raises:
            UnreachableError: there is no such client here, or nothing to be reached.
        """

    def fault_of(self, status: int, said: str) -> DeviceError:
        """The error that a connection stands for which never came about, from the command's exit status and what it printed."""


class NoPythonError(DeviceError):
    """A device that is reached has no Python.

    Args:
        route: to it.
    """

    def __init__(self, message: str, *, hint: str, route: Route) -> None:
        super().__init__(message, hint=hint)
        self.route = route


class AttendedDevice:
    """A device behind a route. From its first workspace on it is leased: another run waits, and then says who has it.

    Args:
        route: to it.
        python: the interpreter there; if empty, edgekit's own environment there, else ``python3``.
        lease_wait_s: how long to wait for another run to end.

    Raises:
        UnreachableError: it does not answer, or who answers is not known.
        NoPythonError: it has none.
        DeviceError: its Python will not do.
    """

    def __init__(self, route: Route, *, python: str = "", lease_wait_s: float = LEASE_WAIT_S) -> None:
        self._route = route
        self._python = python
        self._lease_wait_s = lease_wait_s
        self._token = secrets.token_hex(8)
        self._is_leased = False
        self._connection, told = self._connect()
        self.facts = DeviceFacts(
            url=self._route.url,
            name=told["name"],
            arch=told["arch"],
            cpu=told["cpu"],
            features=tuple(told["features"]),
            emulated=told["emulated"],
            python=told["called"],
            packages={**told["packages"], "python": told["python"]},
        )

    def push(self, local: Path, remote: PurePosixPath) -> None:
        """Copy a file or folder; over a connection that breaks, it goes on where it stopped as long as it gets on.

        Raises:
            DeviceError: it cannot be read or written.
        """
        try:
            parcel = transfer.parcel_of(local, remote)
        except OSError as error:
            raise self._refused(f"{local.name} cannot be copied", error.strerror or str(error), "is it still there?") from error
        self._steadily(lambda connection: transfer.send(connection, parcel, self._asked(f"{local.name} cannot be copied")))

    def pull(self, remote: PurePosixPath, local: Path) -> None:
        """Copy a file back.

        Raises:
            DeviceError: it is not there, or cannot be written here.
        """
        doing = f"{remote.name} cannot be fetched"
        try:
            self._steadily(lambda connection: transfer.fetch(connection, remote, local, self._asked(doing)))
        except OSError as error:
            raise self._refused(doing, f"{local.parent}: {error.strerror or error}", "is there room on this machine?") from error

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Ran:
        """Run a command to its end; it and its children are killed when time is up, this process is interrupted or the connection breaks.

        Raises:
            DeviceError: it cannot be started, or ran longer than ``timeout_s``.
            UnreachableError: the connection broke; the command was not run again.
        """
        self._steadily(lambda connection: self._asked("it does not answer")(connection, {"op": "ping"}, ANSWER_S))
        asked = {"op": "run", "argv": list(argv), "timeout_s": timeout_s}
        told, both = self._connection.ask(asked, stdin, timeout_s=timeout_s + OVERTIME_S)
        if "error" in told:
            raise self._refused(f"{argv[0]} cannot be run", told["error"]["reason"], "is it installed there?")
        if told["late"]:
            raise DeviceError(f"{self.facts.name}: {argv[0]} ran longer than {timeout_s:g} s", hint="is the machine busy, or the engine very slow?")
        return Ran(status=told["status"], stdout=both[: told["stdout_bytes"]], stderr=both[told["stdout_bytes"] :])

    def workspace(self) -> PurePosixPath:
        """A fresh folder in the user's cache folder there; the first one leases the device.

        Raises:
            DeviceError: it cannot be made, or another run has the device.
        """
        self._lease()
        ask = self._asked("no folder can be made")
        return PurePosixPath(self._steadily(lambda connection: ask(connection, {"op": "workspace"}, ANSWER_S)[0]["path"]))

    def close(self) -> None:
        """Remove what was put there, and give the device back."""
        self._connection.close()

    def _lease(self) -> None:
        holder = holder_here()
        ask, end = self._asked("it cannot be leased"), time.monotonic() + self._lease_wait_s
        while not self._is_leased:
            found = self._steadily(lambda connection: ask(connection, {"op": "lease", "holder": holder}, ANSWER_S)[0]["holder"])
            self._is_leased = found is None
            if found is not None and time.monotonic() > end:
                raise in_use(self.facts.name, found)
            if found is not None:
                time.sleep(LEASE_LOOK_S)

    def _connect(self, patience_s: int = CONNECT_S) -> tuple[Connection, dict[str, Any]]:
        script = script_of(ATTENDANT, "attendant.main")
        start = shlex.join(["exec", "sh", "-c", _START, _READ, str(len(script)), self._python])
        connection = Connection(
            self._route.command(start, patience_s=patience_s),
            script,
            called=self._route.url,
            fault=self._fault_of,
        )
        try:
            told, _ = self._asked("its facts cannot be read")(connection, {"op": "hello", "token": self._token}, ANSWER_S)
        except BaseException:
            connection.close()
            raise
        return connection, {**told["facts"], "called": told["called"]}

    def _fault_of(self, status: int, said: str) -> DeviceError:
        fault = self._route.fault_of(status, said)
        return NoPythonError(fault.message, hint=fault.hint, route=self._route) if NO_PYTHON in said else fault

    def _again(self) -> None:
        """A new connection of the same visit: its workspaces are still there, its lease is taken anew."""
        self._connection.close()
        self._connection = self._reconnected()
        if self._is_leased:
            self._is_leased = False
            self._lease()

    def _reconnected(self) -> Connection:
        """A network that is just coming back refuses at once: it is asked again until time is up."""
        end = time.monotonic() + RETURN_S
        while True:
            left = end - time.monotonic()
            try:
                return self._connect(max(1, round(left)))[0]
            except UnreachableError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def _steadily(self, work: Callable[[Connection], T]) -> T:
        """Do what may be done twice, over a new connection where one breaks."""
        for left in reversed(range(RETURNS)):
            if self._connection.is_lost:
                self._again()
            try:
                return work(self._connection)
            except LostError:
                if not left:
                    raise
        raise AssertionError  # not reached: the last turn returns or raises

    def _asked(self, doing: str) -> transfer.Ask:
        """Asks, and makes an error of an answer that is one."""

        def ask(connection: Connection, header: dict[str, Any], timeout_s: float) -> Answer:
            told, payload = connection.ask(header, timeout_s=timeout_s)
            error = told.get("error")
            if error is None:
                return told, payload
            where = f"{error['file']}: " if error["file"] else ""
            raise self._refused(doing, f"{where}{error['reason']}", HINTS.get(error["errno"], "try it there by hand: " + self._route.by_hand))

        return ask

    def _refused(self, doing: str, reason: str, hint: str) -> DeviceError:
        facts = getattr(self, "facts", None)
        return DeviceError(f"{facts.name if facts else self._route.url}: {doing}: {reason}", hint=hint)


def holder_here() -> str:
    """Who leases a device, in words."""
    return f"{getpass.getuser()}@{os.uname().nodename}, process {os.getpid()}"


def in_use(name: str, found: Mapping[str, Any]) -> DeviceError:
    """The error that another run has a device; ``found`` is what :meth:`edgekit.run.lease.Lease.take` tells of it."""
    silent = f", silent for {found['silent_s']:.0f} s" if found["silent_s"] > 2 * LEASE_LOOK_S + 2 else ""
    return DeviceError(
        f"{name} is in use by {found['holder']}, for {found['held_s']:.0f} s{silent}",
        hint="wait for that run" + (f", or end process {found['pid']} on the device" if found["pid"] > 1 else ""),
    )


HINTS = {
    "ENOSPC": "its disk is full: make room there, or set EDGEKIT_DEPOT there to a folder on another disk",
    "EDQUOT": "that user's quota is used up: make room there",
    "EROFS": "its disk cannot be written: set EDGEKIT_DEPOT there to a folder that can",
    "EACCES": "may that user write there? Else set EDGEKIT_DEPOT there to a folder of theirs",
    "ENOENT": "is it still there?",
    "ENOMEM": "its memory is used up: end what else runs there",
    "EAGAIN": "too many processes run there: end some",
}

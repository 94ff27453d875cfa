"""A device that has a shell and no Python: telephones, and boards with BusyBox. What is asked of it are scripts for its own shell.

Every verb has a connection of its own, so bytes go as they are; one more (:mod:`edgekit.device.hold`) is the lease. No runtime has an
interface that a shell could call: engines run there through ``benchmark_model``, where that is.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from edgekit.device import shell_scripts, transfer
from edgekit.device.attended import ANSWER_S, CONNECT_S, HINTS, LEASE_LOOK_S, LEASE_WAIT_S, RETURN_S, RETURNS, Route, holder_here, in_use
from edgekit.device.call import Call, Said
from edgekit.device.connection import LostError
from edgekit.device.contract import DeviceFacts, Ran
from edgekit.device.hold import Held, Hold
from edgekit.device.shell_facts import BENCHMARK_MODEL, parsed
from edgekit.errors import DeviceError
from edgekit.numerics.portions import in_portions
from edgekit.run.depot import sha256_of

T = TypeVar("T")
W = TypeVar("W", bound=tuple[object, ...])
LOT_BYTES = 16 * 1024  # of names in one command line; a request of adb's may have 64 KB, and the script stands in it, too


class ShellDevice:
    """A device behind a route, driven by its shell. From its first workspace on it is leased: another run waits, and then says who has it.

    Args:
        route: to it.
        benchmark_model: path of that program there; if empty, that on its path or in ``/data/local/tmp``.
        lease_wait_s: how long to wait for another run to end.

    Raises:
        UnreachableError: it does not answer, or who answers is not known.
        DeviceError: its shell will not do.
    """

    def __init__(self, route: Route, *, benchmark_model: str = "", lease_wait_s: float = LEASE_WAIT_S) -> None:
        self._route, self._lease_wait_s = route, lease_wait_s
        self._token = secrets.token_hex(8)
        self._mark = f"edgekit-{self._token}"
        self._hold: Hold | None = None
        self._call = Call(route, self._mark, lambda: self._hold is None or not self._hold.is_lost)
        told = parsed(self._call(shell_scripts.INSPECT, benchmark_model, "hash", timeout_s=ANSWER_S, is_first=True).stdout, self._mark)
        if told is None:
            raise DeviceError(f"{route.url}: its shell does not answer", hint=f"does `{route.by_hand}` end well and print nothing?")
        self.facts = DeviceFacts(
            url=route.url,
            name=told.name or route.url.partition("://")[2],
            arch=told.arch,
            cpu=told.cpu,
            features=told.features,
            emulated=told.emulated,
            python="",
            packages={BENCHMARK_MODEL: told.digest} if told.benchmark_model else {},
            benchmark_model=told.benchmark_model or benchmark_model,
            is_python_sought=not benchmark_model,
        )

    def push(self, local: Path, remote: PurePosixPath) -> None:
        """Copy a file or folder; over a connection that breaks, it goes on where it stopped.

        Raises:
            DeviceError: it cannot be read or written.
        """
        doing = f"{local.name} cannot be copied"
        try:
            parcel = transfer.parcel_of(local, remote)
        except OSError as error:
            raise self._refused(doing, error.strerror or str(error), "is it still there?") from error
        self._steadily(lambda hold: self._send(hold, parcel, doing))

    def pull(self, remote: PurePosixPath, local: Path) -> None:
        """Copy a file back.

        Raises:
            DeviceError: it is not there, or cannot be written here.
        """
        doing = f"{remote.name} cannot be fetched"
        part = local.with_name(f".{local.name}.{self._token}.part")
        try:
            part.unlink(missing_ok=True)
            said = self._steadily(lambda _: self._fetched(remote, part, doing))
            size, _, sha = said.partition(" ")
            if part.stat().st_size != int(size) or (sha and not sha.startswith(sha256_of(str(part)))):
                raise self._refused(doing, "it was written to meanwhile", "does another program use that file?")
            os.replace(part, local)
        except OSError as error:
            raise self._refused(doing, f"{local.parent}: {error.strerror or error}", "is there room on this machine?") from error
        finally:
            part.unlink(missing_ok=True)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Ran:
        """Run a command to its end; it and its children are killed when time is up, this process is interrupted or the connection breaks.

        Returns:
            As the shell there tells: a status of 128 and a signal's number where that ended it.

        Raises:
            DeviceError: it cannot be started, or ran longer than ``timeout_s``.
            UnreachableError: the connection broke; the command was not run again.
        """
        visit = self._leased().folder if self._hold is not None or stdin else ""
        given = self._given(stdin) if stdin else ""
        said = self._call(shell_scripts.RUN, visit, given, *argv, timeout_s=timeout_s)
        if said.word is None:
            raise DeviceError(f"{self.facts.name}: {argv[0]} ran longer than {timeout_s:g} s", hint="is the machine busy, or the engine very slow?")
        if said.word == "absent":
            raise self._refused(f"{argv[0]} cannot be run", "no such program", "is it installed there?")
        return Ran(status=int(said.word), stdout=said.stdout, stderr=said.stderr)

    def workspace(self) -> PurePosixPath:
        """A fresh folder in the user's cache folder there, or in Android's for its shell; the first one leases the device.

        Raises:
            DeviceError: it cannot be made, or another run has the device.
        """
        return self._steadily(
            lambda hold: PurePosixPath(self._answer(self._call(shell_scripts.FOLDER, hold.folder, timeout_s=ANSWER_S), "no folder can be made"))
        )

    def close(self) -> None:
        """Remove what was put there, and give the device back."""
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def _given(self, stdin: bytes) -> str:
        """A file there with what a command is to read."""
        path = self.workspace() / "stdin"
        with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
            Path(stage, "stdin").write_bytes(stdin)
            self.push(Path(stage, "stdin"), path)
        return str(path)

    def _send(self, hold: Hold, parcel: transfer.Parcel, doing: str) -> None:
        """Send what the device lacks, and put all of it in place."""
        root = str(PurePosixPath(hold.folder).parent.parent)
        for _ in range(2):  # again if a piece that was begun earlier is not what its hash says
            have, free_bytes = self._offered(root, parcel, doing)
            missing = sum(size - have[sha] for sha, size in parcel.pieces.items())
            if free_bytes is not None and missing > free_bytes:
                raise self._full(doing, f"No space left on device ({missing / 1e6:.1f} MB to come, {free_bytes / 1e6:.1f} MB free)")
            wrong = [sha for sha, size in parcel.pieces.items() if not self._is_whole(root, sha, size, have[sha], parcel.sources[sha], doing)]
            if not wrong:
                break
        else:
            names = ", ".join(parcel.sources[sha].name for sha in wrong)
            raise DeviceError(
                f"{names} arrived as something else, twice", hint="was it written to meanwhile? Else the device's disk or memory is failing"
            )
        words = [(folder, "", "") for folder in parcel.folders]
        words += [(file["path"], file["sha"], f"{file['mode']:o}") for file in parcel.files]
        for lot in _lots(words):
            self._answer(self._call(shell_scripts.PLACE, root, *itertools.chain(*lot), timeout_s=transfer.HASH_S), doing)

    def _offered(self, root: str, parcel: transfer.Parcel, doing: str) -> tuple[dict[str, int], int | None]:
        """Bytes that are there of each piece, and that its disk has room for; None if it does not say."""
        have: dict[str, int] = {}
        free_bytes = None
        for lot in _lots(list(parcel.pieces.items())):
            words = [word for sha, size in lot for word in (sha, str(size))]
            numbers = self._answer(self._call(shell_scripts.OFFER, root, *words, timeout_s=transfer.HASH_S), doing).split()
            have |= {sha: int(number) for (sha, _), number in zip(lot, numbers, strict=False)}
            free_bytes = int(numbers[-1]) * 1024 if len(numbers) > len(lot) else None
        return have, free_bytes

    def _is_whole(self, root: str, sha: str, size: int, have: int, source: Path, doing: str) -> bool:
        """Send the rest of a piece; whether it is now what its hash says."""
        if have == size and size:
            return True
        with source.open("rb") as stream:
            stream.seek(have)
            arguments = f"{root}/pieces/{sha}", sha, str(size)
            word = self._answer(self._call(shell_scripts.RECEIVE, *arguments, timeout_s=transfer.SEND_S, source=stream), doing)
        return word == "whole"

    def _fetched(self, remote: PurePosixPath, part: Path, doing: str) -> str:
        with part.open("ab") as sink:
            return self._answer(self._call(shell_scripts.SEND, str(remote), str(sink.tell()), timeout_s=transfer.SEND_S, sink=sink), doing)

    def _answer(self, said: Said, doing: str) -> str:
        """What a script said, unless it failed."""
        if said.word is None:
            raise self._refused(doing, "no answer", "is the machine busy, or its disk very slow?")
        if not said.word.startswith("failed"):
            return said.word.strip()
        failed = said.word.removeprefix("failed").strip()
        reason = failed.splitlines()[0].rpartition(": ")[2] if failed else "it failed and does not say why"
        if "No space left" in failed or "quota" in failed:
            raise self._full(doing, reason)
        raise self._refused(doing, reason, f"try it there by hand: {self._route.by_hand}")

    def _leased(self) -> Hold:
        """The lease, taken anew where its connection broke."""
        now = time.monotonic()
        give_up, back_by = now + self._lease_wait_s, now + (RETURN_S if self._hold is not None else 0)
        while self._hold is None or self._hold.is_lost:
            patience_s = CONNECT_S
            if self._hold is not None:
                self._hold.close()
                patience_s = max(1, round(back_by - time.monotonic()))
            try:
                self._hold = Hold(self._route, self._mark, self._token, holder_here(), patience_s=patience_s)
            except Held as held:
                if time.monotonic() > give_up:
                    raise in_use(self.facts.name, held.holder) from held
                time.sleep(LEASE_LOOK_S)
            except LostError:
                if time.monotonic() > back_by:
                    raise
                time.sleep(0.5)
            except OSError as error:
                raise self._not_leased(str(error)) from error
        return self._hold

    def _not_leased(self, said: str) -> DeviceError:
        reason = (said.splitlines() or ["it does not say why"])[0]
        variable = ("EDGEKIT_LOCK", "file") if reason.endswith(shell_scripts.LOCK_FAULT) else ("EDGEKIT_DEPOT", "folder")
        return self._refused("it cannot be leased", reason, "set {} there to a {} that can be written".format(*variable))

    def _steadily(self, work: Callable[[Hold], T]) -> T:
        """Do what may be done twice, over a new connection where one breaks."""
        for left in reversed(range(RETURNS)):
            hold = self._leased()
            try:
                return work(hold)
            except LostError:
                if not left:
                    raise
        raise AssertionError  # not reached: the last turn returns or raises

    def _full(self, doing: str, reason: str) -> DeviceError:
        return self._refused(doing, reason, HINTS["ENOSPC"])

    def _refused(self, doing: str, reason: str, hint: str) -> DeviceError:
        return DeviceError(f"{self.facts.name}: {doing}: {reason}", hint=hint)


def _lots(items: Sequence[W]) -> Iterator[list[W]]:
    """Portions that fit a command line, as it is quoted."""
    return in_portions(items, lambda item: sum(len(os.fsencode(shlex.quote(str(word)))) + 1 for word in item), LOT_BYTES)

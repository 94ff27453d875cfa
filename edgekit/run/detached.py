"""Commands that outlive their connection: building an engine takes minutes, and a cable that is pulled must not cost them.

``$DEPOT/jobs/KEY/`` holds one: ``work/`` (what it works on), ``output`` (what it says), ``status`` (how it ended), ``held``
(locked while its keeper lives). The keeper is a process of its own session; where nobody has the device leased, it takes the
lease, so that nobody measures meanwhile. What came of it stays until it is forgotten, or for a week.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Dict, List, Optional

from .depot import depot_root
from .lease import Lease, lock_path, locked

KEPT_S = 7 * 24 * 3600.0
LOOK_S = 0.2
LEASE_LOOK_S = 1.0
SAID_BYTES = 4096


class Job:
    """A command by a key that says all that decides what comes of it.

    Args:
        key: letters and digits.
        root: of all jobs.
    """

    def __init__(self, key: str, root: str) -> None:
        self._root = root
        self.folder = os.path.join(root, "jobs", key)
        self.work = os.path.join(self.folder, "work")

    def look(self) -> Dict[str, Any]:
        """How it stands.

        Returns:
            ``state`` (``absent``, ``running``, ``ended``), ``work``, ``said`` (its last line), and of one that ended ``status``
            (None if it was killed).
        """
        if not os.path.isdir(self.folder):
            return {"state": "absent"}
        lock = self._locked()
        if lock is None:
            return {"state": "running", "work": self.work, "said": self._said()}
        os.close(lock)
        return {"state": "ended", "status": self._status(), "work": self.work, "said": self._said()}

    def start(self, source: str, argv: List[str], visit: str) -> Dict[str, Any]:
        """Begin, unless it runs or has ended well already.

        Args:
            source: folder whose files come into ``work``; what an earlier attempt left there stays beside them.
            argv: the command; it runs in ``work``. ``{depot}`` in it is the folder of all that edgekit keeps here.
            visit: token of the visit that begins it; while that has the lease, so has this.
        """
        os.makedirs(self.work, mode=0o700, exist_ok=True)
        lock = self._locked()
        if lock is None or self._status() == 0:
            if lock is not None:
                os.close(lock)
            return self.look()
        _forget(os.path.join(self.folder, "status"))
        for name in os.listdir(source):
            target = os.path.join(self.work, name)
            _forget(target)
            os.rename(os.path.join(source, name), target)
        self._keep([one.replace("{depot}", self._root) for one in argv], visit, lock)
        os.close(lock)  # the keeper has it
        return self.look()

    def wait(self, most_s: float) -> Dict[str, Any]:
        """:meth:`look`, once it has ended or time is up."""
        end = time.monotonic() + most_s
        while True:
            found = self.look()
            if found["state"] != "running" or time.monotonic() > end:
                return found
            time.sleep(LOOK_S)

    def stop(self) -> Dict[str, Any]:
        """Kill it, if it runs."""
        with suppress(OSError, ValueError), open(os.path.join(self.folder, "held"), encoding="ascii") as stream:
            keeper = int(stream.read())
            if self.look()["state"] == "running":
                os.killpg(keeper, signal.SIGKILL)
        return self.wait(5.0)

    def forget(self) -> Dict[str, Any]:
        """Remove all of it, if it does not run."""
        if self.look()["state"] == "ended":
            shutil.rmtree(self.folder, ignore_errors=True)
        return self.look()

    def _keep(self, argv: List[str], visit: str, lock: int) -> None:
        """Fork the keeper: it begins the command, and writes down how it ends."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.setsid()  # a group of its own, whose number is that of the keeper
            self._run(argv, visit, lock)
        finally:
            os._exit(0)

    def _run(self, argv: List[str], visit: str, lock: int) -> None:
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        threading.Thread(target=_hold_lease, args=(visit,), daemon=True).start()
        with open(os.path.join(self.folder, "output"), "ab") as output:
            try:
                status = subprocess.call(argv, cwd=self.work, stdin=nothing, stdout=output, stderr=subprocess.STDOUT, pass_fds=(lock,))
            except OSError as refused:
                output.write(("%s: %s\n" % (argv[0], refused.strerror or refused)).encode())
                status = 127
        path = os.path.join(self.folder, "status")
        with open(path + ".part", "w", encoding="ascii") as stream:
            stream.write(str(status))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(path + ".part", path)

    def _status(self) -> Optional[int]:
        try:
            with open(os.path.join(self.folder, "status"), encoding="ascii") as stream:
                return int(stream.read())
        except (OSError, ValueError):
            return None

    def _said(self) -> str:
        try:
            with open(os.path.join(self.folder, "output"), "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - SAID_BYTES))
                lines = stream.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _locked(self) -> Optional[int]:
        lock = os.open(os.path.join(self.folder, "held"), os.O_RDWR | os.O_CREAT, 0o600)
        os.set_inheritable(lock, False)
        if locked(lock):
            return lock
        os.close(lock)
        return None


def _hold_lease(visit: str) -> None:
    """Take the device's lease as soon as nobody has it, and say that it is in use as long as this process lives."""
    lease = Lease(lock_path())
    while True:
        with suppress(OSError):
            lease.take("a build that goes on after its connection broke", visit=visit)
            lease.touch()
        time.sleep(LEASE_LOOK_S)


def sweep(root: str) -> None:
    """Remove jobs that ended a week ago and nobody asked for."""
    folder = os.path.join(root, "jobs")
    for key in os.listdir(folder) if os.path.isdir(folder) else ():
        if time.time() - os.stat(os.path.join(folder, key)).st_mtime > KEPT_S:
            Job(key, root).forget()


def _forget(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def main(action: str, key: str, arguments: List[Any]) -> None:
    """Do one of a job's verbs and print what it returns as JSON."""
    root = depot_root()
    sweep(root)
    print(json.dumps(getattr(Job(key, root), action)(*arguments)))

"""Who may measure: one lock for the whole machine, whoever logs in, so that two runs do not measure over each other.

The lock is the kernel's (``flock``), so it is free as soon as its holder's process is gone. A holder that hangs is told by the
time when it last heard of its client, which is that of the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from typing import Any, Dict, List, Optional

FREED_S = 2.0  # after which a process that was killed holds nothing
FOLDERS = ("/run/lock", "/tmp", "/data/local/tmp")
STALE_S = 30.0


def lock_path() -> str:
    """``$EDGEKIT_LOCK``, else a file in the first folder that every user of the machine may write to."""
    named = os.environ.get("EDGEKIT_LOCK")
    if named:
        return named
    for folder in FOLDERS:
        if os.access(folder, os.W_OK):
            return os.path.join(folder, "edgekit.lock")
    return os.path.join(os.path.expanduser("~"), ".edgekit.lock")


class Lease:
    """The right to measure on this machine.

    Args:
        path: of the lock.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: Optional[int] = None

    def take(self, holder: str, *, visit: str = "") -> Optional[Dict[str, Any]]:
        """Take it, away from a holder of this user's that hangs.

        Args:
            holder: who takes it, in words.
            visit: token of the visit it is taken for.

        Returns:
            None if it is ours now, else what is known of its holder: ``holder``, ``visit``, ``pid``, ``held_s``, ``silent_s``.

        Raises:
            OSError: the lock cannot be opened.
        """
        if self._held is not None:
            return None
        lock = self._opened()
        if not locked(lock):
            found = self._holder(lock)
            if not (found["silent_s"] > STALE_S and end_holder(found["pid"], self._path) and _soon_locked(lock)):
                os.close(lock)
                return found
        self._held = lock
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"holder": holder, "visit": visit, "pid": os.getpid(), "since": time.time()}).encode(), 0)
        return None

    def touch(self) -> None:
        """Say that the client was heard just now."""
        if self._held is not None:
            os.utime(self._held)

    def release(self) -> None:
        """Give it back, if it is held."""
        if self._held is not None:
            os.ftruncate(self._held, 0)
            os.close(self._held)
            self._held = None

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:  # without O_CREAT: in folders of everybody's the kernel refuses that for another user's file (fs.protected_regular)
            return os.open(self._path, flags)
        except FileNotFoundError:
            lock = os.open(self._path, flags | os.O_CREAT, 0o666)
            os.fchmod(lock, 0o666)
            return lock

    def _holder(self, lock: int) -> Dict[str, Any]:
        now = time.time()
        found = read_holder(os.pread(lock, 4096, 0).decode(errors="replace"), now=now)
        told = {name: found[name] for name in ("holder", "visit", "pid")}
        return {**told, "held_s": max(0.0, now - found["since"]), "silent_s": now - os.fstat(lock).st_mtime}


def read_holder(text: str, *, now: float) -> Dict[str, Any]:
    """What a lock holds of its holder: ``holder``, ``visit``, ``pid``, ``since``; "another run" where that is not what a holder writes.

    Args:
        text: of the lock, which everybody may write to, and which may be half written.
        now: seconds since the epoch there.
    """
    unknown: Dict[str, Any] = {"holder": "another run", "visit": "", "pid": 0, "since": now}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return unknown
    kinds: Dict[str, Any] = {"holder": str, "visit": str, "pid": int, "since": (int, float)}
    if not isinstance(told, dict):
        return unknown
    told = {"visit": "", **told}
    if any(isinstance(told.get(key), bool) or not isinstance(told.get(key), kind) for key, kind in kinds.items()):
        return unknown
    if not (0 < told["pid"] < 2**31 and 0 <= told["since"] < 2**53):  # JSON in Python knows NaN and Infinity
        return unknown
    holder = "".join(letter if letter.isprintable() else " " for letter in told["holder"])
    return {"holder": holder[:200], "visit": told["visit"], "pid": told["pid"], "since": told["since"]}


def end_holder(pid: int, path: str) -> bool:
    """Kill the process that holds a lock; only one that has that file open, as the number may have been written by anybody.

    Returns:
        Whether it is gone.
    """
    try:
        if not any(os.path.samefile(descriptor, path) for descriptor in _descriptors(pid)):
            return False
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    end = time.monotonic() + 2
    while time.monotonic() < end and os.path.exists("/proc/%d/fd/0" % pid):
        time.sleep(0.02)
    return True


def locked(lock: int) -> bool:
    """Whether an open file could be locked just now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _soon_locked(lock: int) -> bool:
    """Whether an open file could be locked as soon as a process is gone that was killed: its files are closed a moment after it has none."""
    end = time.monotonic() + FREED_S
    while not locked(lock):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _descriptors(pid: int) -> List[str]:
    folder = "/proc/%d/fd" % pid
    paths = [os.path.join(folder, name) for name in os.listdir(folder)]
    return [path for path in paths if os.path.exists(path)]

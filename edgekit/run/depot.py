"""Where files from afar lie on the device: pieces by their hash until they are whole, then at their place.

The root is ``$EDGEKIT_DEPOT``, else ``edgekit/device`` in the user's cache folder, or in Android's folder for what its shell
puts there::

    pieces/SHA256.part     what has arrived of a file; the next connection goes on behind it
    pieces/SHA256          whole; other names of it are links, so that the same file is sent once
    visits/TOKEN/held      locked (flock) while the process that serves this visit lives
    visits/TOKEN/N/        workspaces

A visit that ended without a goodbye leaves its folder, so that who was cut off can come back; the next visit sweeps it away
once it is old.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from contextlib import suppress
from typing import Any, Dict, List, Optional

from .home import ANDROID, is_homeless
from .lease import end_holder, locked

FOLLOWS_S = 600.0  # how long a visit that was cut off keeps its workspaces
PART_S = 7 * 24 * 3600.0  # … and a piece what has arrived of it
READ_BYTES = 1024 * 1024


def depot_root() -> str:
    """Where files from afar lie."""
    named = os.environ.get("EDGEKIT_DEPOT")
    if named:
        return named
    if is_homeless():
        return os.path.join(ANDROID, "edgekit", "device")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "edgekit", "device")


def sha256_of(path: str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(READ_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


class Depot:
    """The files of one visit.

    Args:
        root: folder of all visits.
        token: of this visit; the same one comes back to the same workspaces.
    """

    def __init__(self, root: str, token: str) -> None:
        self._pieces = os.path.join(root, "pieces")
        self._visits = os.path.join(root, "visits")
        self._visit = os.path.join(self._visits, token)
        self._held: Optional[int] = None
        self._whole: List[str] = []
        self._failure: Optional[OSError] = None

    def come_back(self) -> None:
        """Take over what an earlier connection of this visit left; its process, which may not know yet that it was cut off, ends."""
        if os.path.isdir(self._visit):
            path = os.path.join(self._visit, "held")
            with suppress(OSError, ValueError), open(path, encoding="ascii") as stream:  # it is gone
                end_holder(int(stream.read()), path)
            self._begin()

    def workspace(self) -> str:
        """A fresh folder that nobody else uses."""
        self._begin()
        numbers = [int(name) for name in os.listdir(self._visit) if name.isdigit()]
        folder = os.path.join(self._visit, str(max(numbers or [0]) + 1))
        os.mkdir(folder)
        return folder

    def offer(self, pieces: Dict[str, int]) -> Dict[str, int]:
        """How much of each piece is here already; a whole one was hashed anew.

        Args:
            pieces: sizes in bytes by SHA-256.

        Raises:
            OSError: the disk has no room for the rest (ENOSPC), or refuses.
        """
        self._begin()
        self._failure = None
        have = {}
        for sha, size in pieces.items():
            path = os.path.join(self._pieces, sha)
            if os.path.exists(path) and sha256_of(path) != sha:
                os.remove(path)  # somebody wrote into a link of it
            have[sha] = size if os.path.exists(path) else min(size, _size(path + ".part"))
        need = sum(size - have[sha] for sha, size in pieces.items())
        told = os.statvfs(self._pieces)
        if need > told.f_bavail * told.f_frsize:
            raise OSError(errno.ENOSPC, "%.1f MB to come, %.1f MB free" % (need / 1e6, told.f_bavail * told.f_frsize / 1e6), self._pieces)
        return have

    def add(self, sha: str, offset: int, content: bytes) -> None:
        """A chunk of a piece; what goes wrong is said by :meth:`place`, as nobody waits for an answer here."""
        if self._failure is not None:
            return
        try:
            self._write(os.path.join(self._pieces, sha), sha, offset, content)
        except OSError as refused:
            self._failure = refused

    def _write(self, path: str, sha: str, offset: int, content: bytes) -> None:
        with open(path + ".part", "r+b" if offset else "wb") as stream:
            stream.truncate(offset)
            stream.seek(offset)
            stream.write(content)

    def place(self, folders: List[str], files: List[Dict[str, Any]]) -> List[str]:
        """Put whole pieces where they belong.

        Args:
            folders: to be made.
            files: ``path``, ``sha``, ``mode`` of each.

        Returns:
            Pieces that are not what their hash says, and must come again from the beginning.

        Raises:
            OSError: the disk is full or refuses.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        wrong = [sha for sha in sorted({file["sha"] for file in files}) if not self._is_whole(sha)]
        if wrong:
            return wrong
        for folder in folders:
            os.makedirs(folder, exist_ok=True)
        for file in files:
            self._place(os.path.join(self._pieces, file["sha"]), file["path"], file["mode"])
        return []

    def _is_whole(self, sha: str) -> bool:
        path = os.path.join(self._pieces, sha)
        if os.path.exists(path):
            return True
        if not os.path.exists(path + ".part") or sha256_of(path + ".part") != sha:
            _forget(path + ".part")
            return False
        os.rename(path + ".part", path)
        self._whole.append(path)
        return True

    def _place(self, piece: str, path: str, mode: int) -> None:
        """At its place whole or not at all; a copy where another file system or another mode forbids a link."""
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        part = path + ".part"
        _forget(part)
        told = os.stat(piece)
        if not ((told.st_nlink == 1 or told.st_mode & 0o777 == mode) and _linked(piece, part)):
            shutil.copyfile(piece, part)
        os.chmod(part, mode)
        os.replace(part, path)

    def leave(self) -> None:
        """Remove what this visit put here."""
        for path in self._whole:
            _forget(path)
        shutil.rmtree(self._visit, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _begin(self) -> None:
        if self._held is not None:
            return
        for folder in (self._pieces, self._visit):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        self._sweep()
        self._held = _locked(os.path.join(self._visit, "held"))
        if self._held is None:
            raise OSError(errno.EBUSY, "an earlier connection of this run still holds it", self._visit)
        os.ftruncate(self._held, 0)
        os.pwrite(self._held, str(os.getpid()).encode(), 0)

    def _sweep(self) -> None:
        """Remove visits that were cut off and never came back, and pieces that stayed incomplete or belong to none."""
        now = time.time()
        others = [os.path.join(self._visits, name) for name in os.listdir(self._visits)]
        in_use = False
        for visit in others:
            lock = _locked(os.path.join(visit, "held")) if visit != self._visit else None
            if lock is None:
                in_use = in_use or visit != self._visit
                continue
            is_old = now - os.fstat(lock).st_mtime > FOLLOWS_S
            if is_old:
                shutil.rmtree(visit, ignore_errors=True)
            os.close(lock)
            in_use = in_use or not is_old
        for name in os.listdir(self._pieces):
            path = os.path.join(self._pieces, name)
            if now - os.stat(path).st_mtime > PART_S or not (in_use or name.endswith(".part")):
                _forget(path)

    def touch(self) -> None:
        """Say that this visit goes on."""
        if self._held is not None:
            os.utime(self._held)


def _locked(path: str) -> Optional[int]:
    """The file, opened and locked; None if another process has it locked, or its folder is going away."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    if locked(lock):
        return lock
    os.close(lock)
    return None


def _linked(piece: str, path: str) -> bool:
    try:
        os.link(piece, path)
    except OSError:
        return False
    return True


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _forget(path: str) -> None:
    if os.path.lexists(path):
        os.remove(path)

"""The store: every step's result under the hash of all that decided it.

A result is written into a temporary folder and appears under its name by one rename, so a name that exists is whole.
Two processes that want the same result wait for one another on a file lock, which the kernel drops when its holder
dies; nothing has to be repaired after a kill.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from edgekit.errors import StoreError


def default_root() -> Path:
    """``$EDGEKIT_STORE``, else ``edgekit`` in the user's cache folder."""
    named = os.environ.get("EDGEKIT_STORE")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "edgekit"


def key_of(kind: str, decided_by: Mapping[str, Any]) -> str:
    """Content key: SHA-256 over the kind of step and everything that decides its result (plain data)."""
    plain = msgspec.json.encode(decided_by, order="deterministic")
    return hashlib.sha256(kind.encode() + b"\0" + plain).hexdigest()[:40]


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Turn the system's refusals to write into a StoreError that says what to do.

    Raises:
        StoreError: no space, no permission, or whatever else the file system says of it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "make room (`edgekit clean` empties the store), or set EDGEKIT_STORE to a disk with space"
            raise StoreError(f"{where}: no space left on the device", hint=hint) from error
        is_here = isinstance(error.filename, str) and Path(error.filename).absolute().is_relative_to(where.absolute())
        if is_here and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "choose another folder with -o, or another store with EDGEKIT_STORE"
            raise StoreError(f"{where}: not writable", hint=hint) from error
        if is_here:
            raise StoreError(f"{error.filename}: {error.strerror}", hint="choose another path (-o, EDGEKIT_STORE); is a file in its way?") from error
        raise


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Store:
    """Results by content key, below one folder.

    Args:
        root: the folder; made when first written to.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    @classmethod
    def around(cls, folder: Path) -> Store | None:
        """The store that a result's folder lies in; None if it lies in none."""
        root = folder.absolute().parent.parent.parent
        store = cls(root)
        return store if store.path(folder.name) == folder.absolute() else None

    def path(self, key: str) -> Path:
        """Where the result of ``key`` lies or would lie."""
        return self.root / "steps" / key[:2] / key

    def unfinished(self, key: str) -> Path:
        """Where whoever makes the result of ``key`` leaves, in files that are always whole, how far it is; perhaps not there yet."""
        return self.root / "unfinished" / key

    def has(self, key: str) -> bool:
        """Whether the result of ``key`` is there, whole."""
        return self.path(key).is_dir()

    def keep(self, key: str, make: Callable[[Path], None]) -> Path:
        """The folder of ``key``; if it is not there, ``make`` fills it first.

        Args:
            key: from :func:`key_of`.
            make: writes the result into the empty folder it is given. If it raises, nothing is kept.

        Raises:
            StoreError: the store cannot be written.
        """
        final = self.path(key)
        if final.is_dir():
            with suppress(OSError):
                os.utime(final)
            return final
        with writing(self.root):
            final.parent.mkdir(parents=True, exist_ok=True)
            with self._lock(key):
                if not final.is_dir():
                    self._fill(final, make)
        return final

    def _fill(self, final: Path, make: Callable[[Path], None]) -> None:
        temporary_root = self.root / "tmp"
        temporary_root.mkdir(exist_ok=True)
        self._sweep(temporary_root)
        temporary = Path(tempfile.mkdtemp(dir=temporary_root, prefix=f"{os.getpid()}-"))
        try:
            make(temporary)
            for path in sorted(temporary.rglob("*")):
                if path.is_file():
                    _fsync(path)
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @staticmethod
    def _sweep(temporary_root: Path) -> None:
        """Remove what processes left that were killed while they wrote."""
        for left in temporary_root.iterdir():
            owner = left.name.partition("-")[0]
            if owner.isdigit() and not is_alive(int(owner)):
                shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        locks = self.root / "locks"
        locks.mkdir(exist_ok=True)
        with (locks / key[:12]).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def clean(self, *, older_than_s: float = 0.0, keep_bytes: int = 0) -> tuple[int, int]:
        """Remove results, and what interrupted steps left, least recently used first.

        Args:
            older_than_s: keep what was used within so many seconds.
            keep_bytes: stop as soon as the store is no larger than this.

        Returns:
            How many results were removed, and how many bytes.
        """
        results = sorted(self._results(), key=lambda item: item[1])
        total = sum(size for _, _, size in results)
        removed, freed = 0, 0
        for folder, used, size in results:
            if total - freed <= keep_bytes and keep_bytes:
                break
            if time.time() - used < older_than_s:
                break
            self._remove(folder)
            removed, freed = removed + 1, freed + size
        return removed, freed

    def _remove(self, folder: Path) -> None:
        """Rename, then remove: a name that exists is whole, also when this is killed."""
        with suppress(OSError):
            (self.root / "tmp").mkdir(exist_ok=True)
            doomed = Path(tempfile.mkdtemp(dir=self.root / "tmp", prefix=f"{os.getpid()}-"))
            folder.rename(doomed / "removed")
            shutil.rmtree(doomed, ignore_errors=True)

    def _results(self) -> Iterator[tuple[Path, float, int]]:
        for folder in itertools.chain(self.root.glob("steps/*/*"), self.root.glob("unfinished/*")):
            with suppress(OSError):
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                yield folder, folder.stat().st_mtime, size


def _fsync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())

"""Loaded by every Python of the device under trial: ends the process, or fills the disk, at one step of its work on files.

``$EDGEKIT_FAULTS`` is a folder. ``plan`` there says ``before N`` or ``after N`` (the process is killed then), or ``full N`` (from
then on nothing can be written any more); ``steps`` has a line for each step that was taken. Steps are what changes a file system:
making, opening for writing, syncing, renaming, linking, removing.
"""

import builtins
import errno
import functools
import os
import signal

FOLDER = os.environ.get("EDGEKIT_FAULTS", "")
STEPS = ("mkdir", "rename", "replace", "link", "symlink", "remove", "unlink", "rmdir", "fsync", "chmod", "ftruncate", "pwrite", "utime")
NEEDS_ROOM = {"mkdir", "rename", "replace", "link", "symlink", "fsync", "open", "pwrite"}  # what a disk that is full refuses

_open = os.open


def _plan():
    try:
        lock = _open(os.path.join(FOLDER, "plan"), os.O_RDONLY)
    except OSError:
        return "", 0
    try:
        how, _, at = os.read(lock, 100).decode().partition(" ")
    finally:
        os.close(lock)
    return (how, int(at)) if at else ("", 0)


def _step(name):
    """The number of this step, over all processes."""
    log = _open(os.path.join(FOLDER, "steps"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(log, name.encode().ljust(15)[:15] + b"\n")
        return os.lseek(log, 0, os.SEEK_CUR) // 16
    finally:
        os.close(log)


def _wrapped(function, name, changes=lambda *_, **__: True):
    @functools.wraps(function)
    def step(*arguments, **named):
        how, at = _plan()
        if not how or not changes(*arguments, **named):
            return function(*arguments, **named)
        number = _step(name)
        if how == "before" and number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "full" and number >= at and name in NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0] if isinstance(arguments[0], str) else None)
        result = function(*arguments, **named)
        if how == "after" and number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return step


if FOLDER:
    for name in STEPS:
        setattr(os, name, _wrapped(getattr(os, name), name))
    os.open = _wrapped(_open, "open", lambda path, flags, *_, **__: flags & (os.O_WRONLY | os.O_RDWR))
    builtins.open = _wrapped(open, "open", lambda path, mode="r", *_, **__: (isinstance(path, str) and mode[0] in "wxa+") or "+" in mode)

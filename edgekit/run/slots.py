"""Applications on a device: each has slots, one for every bundle that is installed, and a link to the one that runs.

The root is ``$EDGEKIT_APPS``, else ``.local/share/edgekit/apps`` in the user's home, or in Android's folder for what its shell puts
there::

    trust                    whose bundles are installed (edgekit_run.trust)
    lock                     locked (flock) by whoever changes anything here
    agent                    link to .agent/SHA256: this code, for what must go on when nobody is connected
    NAME/current             link to slots/ID: what runs. One rename changes it, so there is the old or the new one, never none
    NAME/state.json          what is known of each slot; the oldest version and the earliest time that are still believed
    NAME/slots/ID/           a bundle's files; ID is the beginning of its manifest's SHA-256
    NAME/slots/.new-ID/      on its way; whoever comes next sweeps it away

What is renamed was synced before, and its folder is synced after: a power cut leaves the one or the other, and whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, List, Optional

from .bundle_file import RefusedError
from .home import ANDROID, is_homeless

SCHEMA = 1
TRIAL, GOOD, BAD = "trial", "good", "bad"
LOCK_WAIT_S = 15.0


def apps_root() -> str:
    """Where applications lie."""
    named = os.environ.get("EDGEKIT_APPS")
    if named:
        return named
    if is_homeless():
        return os.path.join(ANDROID, "edgekit", "apps")
    return os.path.join(os.path.expanduser("~"), ".local", "share", "edgekit", "apps")


def main() -> None:
    """Print the root, as JSON."""
    sys.stdout.write(json.dumps({"root": os.path.abspath(apps_root())}))


def sync(path: str) -> None:
    """Have a file or folder on the disk, not only in memory."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_whole(path: str, content: bytes) -> None:
    """Write a file that is there whole or as it was."""
    part = path + ".part"
    with open(part, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, path)
    sync(os.path.dirname(path))


def link_whole(target: str, path: str) -> None:
    """Make a link that points to the new place or to the one before."""
    part = path + ".part"
    with suppress(FileNotFoundError):
        os.remove(part)
    os.symlink(target, part)
    os.replace(part, path)
    sync(os.path.dirname(path))


def make_folder(path: str) -> None:
    """Make a folder and those above it, and have them on the disk."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_folder(above)
    with suppress(FileExistsError):
        os.mkdir(path, 0o755)
    sync(above)


@contextmanager
def locked(root: str, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Nobody else changes anything below the root meanwhile.

    Args:
        root: of all applications.
        wait_s: how long somebody else may take.

    Raises:
        RefusedError: somebody else does, and does not end.
    """
    make_folder(root)
    lock = os.open(os.path.join(root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RefusedError("busy", "another deploy is under way on it") from None
                time.sleep(0.1)
        yield
    finally:
        os.close(lock)


def app_names(root: str) -> List[str]:
    """Applications that are installed."""
    if not os.path.isdir(root):
        return []
    return sorted(name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name, "slots")) and not name.startswith("."))


class App:
    """One application.

    Args:
        root: of all applications.
        name: of this one.
    """

    def __init__(self, root: str, name: str) -> None:
        self.name = name
        self.folder = os.path.join(root, name)
        self.slots = os.path.join(self.folder, "slots")
        self._link = os.path.join(self.folder, "current")
        self._state = os.path.join(self.folder, "state.json")

    def slot(self, name: str) -> str:
        """Folder of a slot."""
        return os.path.join(self.slots, name)

    def current(self) -> Optional[str]:
        """The slot that runs; None if there is none."""
        try:
            return os.path.basename(os.readlink(self._link))
        except OSError:
            return None

    def state(self) -> Dict[str, Any]:
        """What is known of the slots.

        Raises:
            RefusedError: the file is damaged.
        """
        try:
            with open(self._state, encoding="utf-8") as stream:
                told = json.load(stream)
        except FileNotFoundError:
            return {"schema": SCHEMA, "floor": {"version": 0, "time": 0}, "slots": {}}
        except ValueError as wrong:
            raise RefusedError("state", "%s cannot be read: %s" % (self._state, wrong)) from wrong
        if not isinstance(told, dict) or told.get("schema") != SCHEMA:
            raise RefusedError("state", "%s is not of the form that this agent knows" % self._state)
        return told

    def save(self, state: Dict[str, Any]) -> None:
        """Keep what is known."""
        write_whole(self._state, json.dumps(state, indent=1, sort_keys=True).encode())

    def sweep(self) -> None:
        """Remove what a deploy that was cut off left: folders on their way, slots that nobody knows of."""
        known = set(self.state()["slots"])
        if not os.path.isdir(self.slots):
            return
        for name in os.listdir(self.slots):
            if name not in known and name != self.current():
                shutil.rmtree(self.slot(name))
        for name in os.listdir(self.folder):
            if name.endswith(".part"):
                os.remove(os.path.join(self.folder, name))

    def adopt(self, folder: str, name: str, known: Dict[str, Any]) -> None:
        """Make a slot of a folder that was synced, and switch to it.

        Args:
            folder: on its way.
            name: of the slot.
            known: what is to be known of it, ``status`` and ``version`` among it. A good one's version is from then on the oldest
                that is installed.
        """
        before = self.current()
        self.forget(name)
        os.rename(folder, self.slot(name))
        sync(self.slots)
        state = self.state()
        state["slots"][name] = dict(known, since=time.time(), before=before, reason="")
        self.save(state)
        self.switch(name)
        if known["status"] == GOOD:
            self.mark(name, GOOD)

    def switch(self, name: str) -> None:
        """Have another slot run."""
        link_whole(os.path.join("slots", name), self._link)

    def mark(self, name: str, status: str, reason: str = "") -> None:
        """Say what became of a slot. A good one's version is from then on the oldest that is installed.

        Raises:
            RefusedError: there is no such slot.
        """
        state = self.state()
        if name not in state["slots"]:
            raise RefusedError("state", "%s has no slot %s" % (self.name, name))
        one = state["slots"][name]
        if status == TRIAL or one["status"] != status:
            one.update(status=status, reason=reason, since=time.time())
        if status == GOOD:
            state["floor"]["version"] = max(state["floor"]["version"], one["version"])
        self.save(state)

    def before(self) -> Optional[str]:
        """The slot to go back to: the last that ran well before this one, else the newest of the good ones; None if there is none."""
        slots, current = self.state()["slots"], self.current()
        is_fit = {name for name, one in slots.items() if one["status"] == GOOD and name != current and os.path.isdir(self.slot(name))}
        seen, name = set(), current
        while name in slots and name not in seen:
            seen.add(name)
            name = slots[name]["before"]
            if name in is_fit:
                return str(name)
        return max(is_fit, key=lambda one: slots[one]["version"], default=None)

    def back(self, reason: str, *, is_bad: bool) -> str:
        """Return to the slot before; the one that ran is marked bad, or stays as it was. Where there is none, what runs goes on running.

        Returns:
            The slot that runs now.

        Raises:
            RefusedError: there is nothing to go back to; the mark is made all the same.
        """
        current, target = self.current(), self.before()
        if target is not None:
            self.switch(target)
        if current is not None and is_bad:
            self.mark(current, BAD, reason)
        if target is None:
            goes_on = "it is marked bad and goes on running, since " if current is not None and is_bad else ""
            raise RefusedError("alone", "%s: %sthere is no earlier slot to go back to" % (self.name, goes_on))
        return target

    def prune(self, keep: int) -> None:
        """Remove all but what runs, what it would go back to, and the newest up to ``keep`` slots."""
        state = self.state()
        held = {name for name in (self.current(), self.before()) if name}
        newest = sorted(state["slots"], key=lambda name: -state["slots"][name]["since"])
        for name in newest:
            if len(held) < keep:
                held.add(name)
        for name in [name for name in newest if name not in held]:
            self.forget(name)

    def forget(self, name: str) -> None:
        """Remove a slot that does not run: first what is known of it, so that half of it is never taken for all."""
        state = self.state()
        if state["slots"].pop(name, None) is not None:
            self.save(state)
        if os.path.isdir(self.slot(name)):
            shutil.rmtree(self.slot(name))

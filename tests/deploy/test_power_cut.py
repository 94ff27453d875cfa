"""The power goes at any moment of an install: what is on the disk then must be the old engine or the new one, whole.

A disk is modelled as POSIX allows the worst: a file's content is there only once it was synced, a name only once its folder was.
Two disks are looked at after each step: one that has nothing but what was synced, and one that has all names already, and of
contents that were not synced nothing.
"""

import hashlib
import json
import os
import stat

import pytest

from edgekit.run.slots import App

STEPS = ("mkdir", "rename", "replace", "symlink", "remove", "unlink", "rmdir", "fsync")


class Disk:
    """What lies below a folder, as a power cut would leave it. Inodes are those of the real file system.

    Args:
        root: the folder; all that is in it now is on the disk.
    """

    def __init__(self, root):
        self.root = os.stat(root).st_ino
        self.names, self.contents = {}, {}
        for folder, _, files in os.walk(root):
            self.names[os.stat(folder).st_ino] = entries(folder)
            for name in files:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    with open(path, "rb") as stream:
                        self.contents[os.stat(path).st_ino] = stream.read()

    def sync(self, descriptor):
        told, path = os.fstat(descriptor), os.readlink(f"/proc/self/fd/{descriptor}")
        if stat.S_ISDIR(told.st_mode):
            self.names[told.st_ino] = entries(path)
        else:
            with open(path, "rb") as stream:
                self.contents[told.st_ino] = stream.read()

    def is_new(self, path):
        """Inodes come again: what lay in this one before is gone."""
        inode = os.lstat(path).st_ino
        self.names.pop(inode, None)
        self.contents.pop(inode, None)
        if os.path.isdir(path):
            self.names[inode] = {}

    def read(self, *path):
        """What lies under a path, a link's target, or None."""
        inode, link = self.root, None
        for name in path:
            found = self.names.get(inode, {}).get(name)
            if found is None:
                return None
            inode, link = found
        return link if link is not None else self.contents.get(inode, b"")


class Names(Disk):
    """The other disk: all names are there as soon as they are made."""

    def __init__(self, root, contents):
        self.root, self.contents = os.stat(root).st_ino, contents
        self.names = {os.stat(folder).st_ino: entries(folder) for folder, _, _ in os.walk(root)}


def entries(folder):
    return {one.name: (one.inode(), os.readlink(one.path) if one.is_symlink() else None) for one in os.scandir(folder)}


def version_on(disk):
    """The version of the slot that ``current`` leads to, each of its files held against its manifest."""
    slot = disk.read("toy", "current").split("/")
    manifest = json.loads(disk.read("toy", *slot, "manifest.json"))
    for member in manifest["members"]:
        content = disk.read("toy", *slot, *member["path"].split("/"))
        assert content is not None, member["path"]
        assert hashlib.sha256(content).hexdigest() == member["sha256"], member["path"]
    return manifest["version"]


class Watch:
    """Calls ``look`` for both disks after each step, from now on; looking takes steps of its own, which do not count."""

    def __init__(self, root, look):
        self.root, self.look = root, look
        self.disk = Disk(root)
        self.is_looking = False

    def wrapped(self, function, name):
        def step(*arguments, **named):
            result = function(*arguments, **named)
            if not self.is_looking:
                if name in ("mkdir", "symlink"):
                    self.disk.is_new(arguments[name == "symlink"])
                if name == "fsync":
                    self.disk.sync(arguments[0])
                self.is_looking = True
                self.look(self.disk)
                self.look(Names(self.root, self.disk.contents))
                self.is_looking = False
            return result

        return step

    def opening(self, function):
        def opened(path, *arguments, **named):
            was_there = os.path.lexists(path)
            result = function(path, *arguments, **named)
            if not was_there and not self.is_looking:
                self.disk.is_new(path)
            return result

        return opened


@pytest.fixture
def watched(monkeypatch):
    """``watched(root, look)``, until the test ends."""

    def begin(root, look):
        watch = Watch(root, look)
        for name in STEPS:
            monkeypatch.setattr(os, name, watch.wrapped(getattr(os, name), name))
        monkeypatch.setattr(os, "open", watch.opening(os.open))
        for module in ("slots", "installing", "health"):
            monkeypatch.setattr(f"edgekit.run.{module}.open", watch.opening(open), raising=False)

    return begin


def test_whenever_the_power_goes_the_old_or_the_new_engine_is_there(bundles, signer, install, watched, tmp_path):
    apps = tmp_path / "device" / "apps"
    for version in (1, 2):
        assert install(bundles.Toy(version).write(tmp_path / str(version), signer))["error"] is None
    new = bundles.Toy(3).write(tmp_path / "3", signer)
    seen = []

    def look(disk):
        state = json.loads(disk.read("toy", "state.json"))
        assert state["schema"] == 1
        seen.append(version_on(disk))

    watched(str(apps), look)
    told = install(new, keep=2)  # the first one goes

    assert told["error"] is None
    assert len(told["installed"]["slots"]) == 2
    assert len(seen) > 100
    assert sorted(set(seen)) == [2, 3]
    for disk in (seen[0::2], seen[1::2]):
        assert disk == sorted(disk)  # once the new one is there, it stays


def test_the_model_notices_what_is_not_synced(bundles, signer, install, watched, tmp_path, monkeypatch):
    """Without the syncs the same look fails: it does look."""
    apps = tmp_path / "device" / "apps"
    install(bundles.Toy(1).write(tmp_path / "1", signer))
    new = bundles.Toy(2).write(tmp_path / "2", signer)
    monkeypatch.setattr("edgekit.run.installing._sync_all", lambda folder: None)
    broken = []

    def look(disk):
        try:
            version_on(disk)
        except (AssertionError, ValueError):
            broken.append(1)

    watched(str(apps), look)
    install(new)

    assert broken
    assert App(str(apps), "toy").current() is not None


def test_whenever_the_power_goes_while_it_returns_one_of_them_is_there(bundles, signer, install, watched, tmp_path):
    apps = tmp_path / "device" / "apps"
    for version in (1, 2):
        install(bundles.Toy(version).write(tmp_path / str(version), signer))
    seen = []
    watched(str(apps), lambda disk: seen.append(version_on(disk)))

    App(str(apps), "toy").back("it fails", is_bad=True)

    assert sorted(set(seen)) == [1, 2]

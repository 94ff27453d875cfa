"""A bundle becomes what runs on this device, or is refused with the reason while what ran goes on running.

In this order: whose it is (signature, revocation, expiry), what it is for (architecture, version), whether there is room, whether
each byte is what the manifest says; only then is anything unpacked, into a folder that is nobody's slot yet. There it is built
where that is called for, and must do what it did where it was bundled. Then it becomes a slot, and one rename switches to it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import suppress
from typing import IO, Any, Callable, Dict, List, NamedTuple, Optional

from . import health, trust
from .bundle_file import MANIFEST, SIGNATURES, BundleFile, Member, RefusedError, members_of, read_manifest, size_of
from .slots import BAD, GOOD, TRIAL, App, app_names, link_whole, locked, make_folder, sync, write_whole

RESERVE_BYTES = 4 * 1024 * 1024  # what else the device may need to write meanwhile
AGENTS = ".agent"
AGENTS_KEPT = 2
AGAIN = "-again"  # the slot of a bundle whose first one was damaged


class Wish(NamedTuple):
    """What is asked for.

    Attributes:
        bundle: path of the file.
        keys: text of a file of keys to trust from now on, of a device that trusts none yet; empty if none.
        rotations: texts by which keys gave way to others.
        keep: slots that stay.
        most_bytes: a larger bundle is refused.
        trial_s: how long it is watched before it is known to be good; 0 if it is good at once.
    """

    bundle: str
    keys: str
    rotations: List[str]
    keep: int
    most_bytes: int
    trial_s: float


class Checked(NamedTuple):
    """A bundle against which nothing stands."""

    manifest: Dict[str, Any]
    members: List[Member]
    signer: trust.Key
    told: trust.Statement
    slot: str


def install(root: str, wish: Wish, clock: Callable[[], float] = time.time) -> Dict[str, Any]:
    """Install a bundle and switch to it.

    Args:
        root: of all applications.
        wish: what is asked for.
        clock: seconds since 1970.

    Returns:
        ``app``, ``slot``, ``version``, ``trial_s``, ``before`` (the slot that ran, or None), ``was_installed`` (it ran already), ``signer``,
        ``health`` (see :func:`edgekit_run.health.check`).

    Raises:
        RefusedError: it is not installed.
        OSError: the disk is full or refuses; what ran goes on running.
    """
    with locked(root):
        trusted = enrolled(root, wish.keys, [text.encode() for text in wish.rotations])
        with BundleFile(wish.bundle) as bundle:
            checked = check(root, bundle, trusted, wish.most_bytes, clock())
            app = App(root, checked.manifest["name"])
            app.sweep()
            make_folder(app.slots)
            _remember_time(app, checked.told, clock())
            keep_agent(root)
            before = app.current()
            found = _put(app, bundle, checked, wish.trial_s)
        with suppress(OSError):  # the new one runs already; a disk too full to say what goes is asked again next time
            app.prune(wish.keep)
    told = {"app": app.name, "version": checked.manifest["version"], "signer": checked.signer.name}
    return dict(found, before=before, trial_s=wish.trial_s, **told)


def enrolled(root: str, keys: str, rotations: List[bytes]) -> trust.Trust:
    """The keys that this device trusts: those it was given once, and those they gave way to.

    Raises:
        RefusedError: it trusts none, or others than it is now told to.
    """
    path = os.path.join(root, "trust")
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            known = trust.read_trust(stream.read())
        is_new = False
    except FileNotFoundError:
        known, is_new = trust.Trust({}, set()), True
    if keys and is_new:
        known = trust.read_trust(keys)
    if not known.keys:
        raise RefusedError("trust", "this device trusts no key yet")
    now = trust.rotated(known, rotations)
    if keys and not set(trust.read_trust(keys).keys) <= set(now.keys):
        raise RefusedError("trust", "this device trusts other keys already: %s" % now.named())
    if is_new or now != known:
        write_whole(path, now.text().encode())
    return now


def check(root: str, bundle: BundleFile, trusted: trust.Trust, most_bytes: int, now: float) -> Checked:
    """Everything that can stand against a bundle before it is unpacked.

    Raises:
        RefusedError: something does.
    """
    if bundle.bytes > most_bytes:
        raise RefusedError("too-large", "%.1f MB, more than the %.1f MB that are allowed" % (bundle.bytes / 1e6, most_bytes / 1e6))
    told = trust.read_statement(bundle.signatures)
    if hashlib.sha256(bundle.manifest).hexdigest() != told.sha256:
        raise RefusedError("tampered", "its manifest is not the one that was signed")
    key = trust.signer(told, trusted)
    manifest = read_manifest(bundle.manifest)
    members = members_of(manifest)
    app = App(root, manifest["name"])
    floor = app.state()["floor"]
    _must_be_current(told, manifest, floor, now)
    _must_be_ours(manifest, members)
    if size_of(len(bundle.signatures), len(bundle.manifest), members) != bundle.bytes:
        raise RefusedError("tampered", "it has %d bytes, and its members make another number" % bundle.bytes)
    _must_have_room(root, members)
    bundle.contents(members)
    return Checked(manifest, members, key, told, told.sha256[:16])


def _must_be_current(told: trust.Statement, manifest: Dict[str, Any], floor: Dict[str, Any], now: float) -> None:
    """A clock that was set back is noticed by what was signed, and installed, since."""
    latest = max(now, floor["time"])
    if told.expires is not None and latest > told.expires:
        seen = "" if now >= floor["time"] else ", though the clock here says %s" % trust.time_text(int(now))
        raise RefusedError("expired", "it expired at %s%s" % (trust.time_text(told.expires), seen))
    if manifest["version"] < floor["version"]:
        raise RefusedError("older", "its version is %d; nothing older than %d is installed here" % (manifest["version"], floor["version"]))


def _must_be_ours(manifest: Dict[str, Any], members: List[Member]) -> None:
    arch = os.uname().machine
    if manifest["target"]["arch"] != arch:
        raise RefusedError("arch", "it is for %s, and this device is %s" % (manifest["target"]["arch"], arch))
    try:
        needed = {manifest["engine"]["file"], "health/inputs.json", "health/outputs.json", "runner/edgekit_run/agent.py"}
        limits, _ = manifest["health"], manifest["build"]
        numbers = (limits["max_difference"], limits["timeout_s"], limits["max_latency_ms"] or 0)
        missing = sorted(needed - {member.path for member in members})
    except (KeyError, TypeError) as wrong:
        raise RefusedError("format", "its manifest lacks %s" % wrong) from wrong
    if missing:
        raise RefusedError("format", "it has no %s" % ", ".join(missing))
    if not all(type(one) in (int, float) and one >= 0 for one in numbers):
        raise RefusedError("format", "its manifest allows %r for numbers" % (numbers,))


def _must_have_room(root: str, members: List[Member]) -> None:
    told = os.statvfs(root)
    need = sum(member.size for member in members) + RESERVE_BYTES
    if need > told.f_bavail * told.f_frsize:
        raise RefusedError("disk", "it needs %.1f MB, and %.1f MB are free" % (need / 1e6, told.f_bavail * told.f_frsize / 1e6))


def _put(app: App, bundle: BundleFile, checked: Checked, trial_s: float) -> Dict[str, Any]:
    """Have the bundle run; what runs already is asked once more, and made anew beside itself if its files were damaged since."""
    current = app.current()
    if current not in (checked.slot, checked.slot + AGAIN):
        return _new(app, bundle, checked, checked.slot, trial_s)
    try:
        return _again(app, current, checked, trial_s)
    except (RefusedError, OSError) as damaged:
        other = checked.slot if current != checked.slot else checked.slot + AGAIN
        found = _new(app, bundle, checked, other, trial_s)
        if current in app.state()["slots"]:
            app.mark(current, BAD, getattr(damaged, "reason", str(damaged)))
        return found


def _again(app: App, name: str, checked: Checked, trial_s: float) -> Dict[str, Any]:
    """It goes on trial again if it was not known to be good."""
    found = health.check(app.slot(name), checked.manifest)
    state = app.state()
    known = state["slots"].setdefault(name, dict(_known(checked, trial_s), since=0.0, before=None, reason="", status=BAD))
    if known["status"] != GOOD:
        known["trial_s"] = trial_s
        app.save(state)
        app.mark(name, TRIAL if trial_s else GOOD)
    return {"was_installed": True, "slot": name, "health": found}


def _new(app: App, bundle: BundleFile, checked: Checked, name: str, trial_s: float) -> Dict[str, Any]:
    folder = app.slot(".new-" + name)
    try:
        _unpack(folder, bundle, checked)
        found = health.check(folder, checked.manifest, is_new=True)
        _sync_all(folder)
        app.adopt(folder, name, _known(checked, trial_s))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return {"was_installed": False, "slot": name, "health": found}


def _known(checked: Checked, trial_s: float) -> Dict[str, Any]:
    manifest = checked.manifest
    status = TRIAL if trial_s else GOOD
    return {"version": manifest["version"], "signer": checked.signer.id, "title": manifest["title"], "status": status, "trial_s": trial_s}


def _unpack(folder: str, bundle: BundleFile, checked: Checked) -> None:
    """Write the members; each is hashed once more on its way, for what was checked may have been written to since."""
    os.mkdir(folder, 0o755)
    writer = _Writer(folder)
    try:
        bundle.contents(checked.members, writer.take)
    finally:
        writer.close()
    for name, content in ((SIGNATURES, bundle.signatures), (MANIFEST, bundle.manifest)):
        writer.take(Member(name, len(content), ""), content)
        writer.close()


class _Writer:
    """Writes members below a folder, one after the other; none that is there already, and through no link."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = ""
        self._stream: Optional[IO[bytes]] = None

    def take(self, member: Member, content: bytes) -> None:
        """The next piece of a member."""
        if member.path != self._path or self._stream is None:
            self.close()
            path = os.path.join(self._folder, member.path)
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            self._path, self._stream = member.path, os.fdopen(opened, "wb")
        self._stream.write(content)

    def close(self) -> None:
        """The member is whole."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()


def _sync_all(folder: str) -> None:
    """Have all of it on the disk, what was built there, too; folders after what is in them."""
    for here, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(os.path.join(here, name))
        sync(here)


def _remember_time(app: App, told: trust.Statement, now: float) -> None:
    """The latest time that is known to have been: when the bundle was signed, or this clock, as far as the bundle lets it be believed."""
    state = app.state()
    seen = told.signed or 0
    if told.expires is not None:
        seen = max(seen, min(int(now), told.expires))
    if seen > state["floor"]["time"]:
        state["floor"]["time"] = seen
        app.save(state)


def keep_agent(root: str) -> str:
    """Keep this very code on the device, for what goes on when nobody is connected; its folder.

    Raises:
        OSError: the disk is full or refuses.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    names = sorted(name for name in os.listdir(here) if name.endswith(".py"))
    contents = {}
    for name in names:
        with open(os.path.join(here, name), "rb") as stream:
            contents[name] = stream.read()
    digest = hashlib.sha256(b"".join(name.encode() + b"\0" + contents[name] + b"\0" for name in names)).hexdigest()[:16]
    agents = os.path.join(root, AGENTS)
    final = os.path.join(agents, digest)
    make_folder(agents)
    for name in os.listdir(agents):
        if name.startswith(".new"):
            shutil.rmtree(os.path.join(agents, name))
    if not os.path.isdir(final):
        new = os.path.join(agents, ".new-" + digest)
        os.makedirs(os.path.join(new, "edgekit_run"))
        for name, content in contents.items():
            with open(os.path.join(new, "edgekit_run", name), "wb") as stream:
                stream.write(content)
        _sync_all(new)
        os.rename(new, final)
        sync(agents)
    link = os.path.join(root, "agent")
    if not os.path.islink(link) or os.readlink(link) != os.path.join(AGENTS, digest):
        link_whole(os.path.join(AGENTS, digest), link)
    kept = sorted(os.listdir(agents), key=lambda name: os.stat(os.path.join(agents, name)).st_mtime, reverse=True)
    for name in kept:
        if name != digest and name not in kept[:AGENTS_KEPT]:
            shutil.rmtree(os.path.join(agents, name))
    return final


def told_of(root: str, name: str) -> Dict[str, Any]:
    """What is installed of an application: its slots, the newest first, which one runs, and what is still installed."""
    app = App(root, name)
    state = app.state()
    current = app.current()
    slots = [dict(one, slot=slot, runs=slot == current) for slot, one in state["slots"].items() if os.path.isdir(app.slot(slot))]
    return {"app": name, "current": current, "floor": state["floor"], "slots": sorted(slots, key=lambda one: -one["since"])}


def all_told(root: str) -> List[Dict[str, Any]]:
    """The same of all applications."""
    return [told_of(root, name) for name in app_names(root)]

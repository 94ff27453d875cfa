"""A device as somewhere to install: what lies there is asked, and changed, by a script of the room that travels (:mod:`edgekit.run.apps`)."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

import edgekit.run
from edgekit.bundle import HINTS
from edgekit.device import Device, open_device
from edgekit.device.travel import answer_of, python_of, script_of
from edgekit.errors import BundleError, DeviceError, EdgekitError

ASK_S = 120.0
ROOM = (
    "__init__",
    "apps",
    "bundle_file",
    "ed25519",
    "errors",
    "health",
    "home",
    "installing",
    "slots",
    "tensors",
    "trial",
    "trust",
)
"""Modules that install, and watch what was installed."""
_WHERE = ("bundle_file", "home", "slots")
_INSTALLED = (
    '[ -d "$1/agent" ] || exit 3; cd "$1/agent" && export EDGEKIT_APPS="$1" EDGEKIT_PYTHON="$0" && shift && exec "$0" -B -m edgekit_run.apps "$@"'
)
_PUT = 'cd "$1" && shift && EDGEKIT_PYTHON="$0" exec "$0" -B -m edgekit_run.apps "$@"'
NOTHING = 3
_HINTS = {
    "disk": "make room there: df -h; `edgekit deploy --keep 1` keeps fewer slots",
    "busy": "wait for it to end",
    "build": "the builder's log lies on the device no more; try it by hand in the engine's folder: python3 build_engine.py",
    "alone": "edgekit deploy BUNDLE --device NAME puts another one in its place",
    "health": "is this the device that it was built and measured for? `edgekit bundle --tolerance`, `--max-latency-ms` say what is allowed",
    "state": "edgekit status --device NAME",
    "memory": "end what else runs there",
    "file": "may that user write there? Else set EDGEKIT_APPS there to a folder of theirs",
}


class Slot(msgspec.Struct, frozen=True):
    """A bundle that is installed.

    Attributes:
        slot: its folder, named by its manifest's SHA-256.
        version: of the bundle.
        title: what it is.
        status: ``trial`` in its first minutes, then ``good`` or ``bad``.
        since: when it became so, seconds since 1970.
        runs: whether it is the one that runs.
        reason: why it is bad.
        signer: ID of the key that signed it.
        before: the slot that ran before it.
        trial_s: how long its trial is.
    """

    slot: str
    version: int
    title: str
    status: str
    since: float
    runs: bool
    reason: str = ""
    signer: str = ""
    before: str | None = None
    trial_s: float = 0.0


class Installed(msgspec.Struct, frozen=True):
    """An application and its slots, the newest first; ``floor`` is the oldest version and the earliest time that are still believed there."""

    app: str
    current: str | None
    floor: dict[str, int]
    slots: tuple[Slot, ...]

    @property
    def running(self) -> Slot | None:
        """What runs."""
        return next((slot for slot in self.slots if slot.runs), None)


class Health(msgspec.Struct, frozen=True):
    """What the known inputs told; see :func:`edgekit.run.health.check`."""

    difference: float
    p50_ms: float | None
    is_timed: bool


@contextmanager
def site_of(asked: str) -> Iterator[Site]:
    """Open a device to install on it; it is called what the user called it, not what it calls itself.

    Args:
        asked: URL or name of the device.

    Raises:
        DeviceError: it has no Python.
        UsageError: there is no such device.
        UnreachableError: it does not answer.
    """
    device = open_device(asked, as_it_is=True)
    try:
        device.facts = msgspec.structs.replace(device.facts, name=asked)
        python_of(device)
        yield Site(device)
    finally:
        device.close()


class Site:
    """Applications on a device.

    Args:
        device: that is reached; not closed here.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._root: PurePosixPath | None = None

    def status(self, name: str = "") -> tuple[Installed, ...]:
        """What is installed; of one application only, if it is named.

        Raises:
            DeviceError: it does not answer.
        """
        told = self._asked("status")
        every = msgspec.convert(told["apps"], tuple[Installed, ...]) if told is not None else ()
        return tuple(one for one in every if name in ("", one.app))

    def back(self, name: str) -> Installed:
        """Return to the slot before.

        Raises:
            DeviceError: there is none.
        """
        return self._changed("back", name)

    def mark(self, name: str, status: str) -> Installed:
        """Say what became of the slot that runs: ``good`` or ``bad``; a bad one gives way.

        Raises:
            DeviceError: nothing runs, or there is nothing to go back to.
        """
        return self._changed("mark", name, status)

    def install(self, bundle: Path, wish: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Put a bundle there and have it installed.

        Args:
            bundle: the file.
            wish: ``keys``, ``rotations``, ``keep``, ``most_bytes``, ``trial_s``; see :class:`edgekit.run.installing.Wish`.
            timeout_s: for checking, building and trying it there.

        Returns:
            The answer; see :func:`edgekit.run.installing.install`.

        Raises:
            BundleError: it is refused.
            DeviceError: the device cannot.
        """
        desk = self.device.workspace() / "deploy"
        with tempfile.TemporaryDirectory(prefix="edgekit-") as temporary:
            stage = Path(temporary, "deploy")
            (stage / "edgekit_run").mkdir(parents=True)
            for name in ROOM:
                shutil.copyfile(Path(edgekit.run.__file__).parent / f"{name}.py", stage / "edgekit_run" / f"{name}.py")
            (stage / "wish.json").write_text(json.dumps({**wish, "bundle": "../bundle.edgekit"}), encoding="utf-8")
            self.device.push(stage, desk)
        self.device.push(bundle, desk.parent / "bundle.edgekit")
        return self._answered(["sh", "-c", _PUT, python_of(self.device), str(desk), "install", "wish.json"], timeout_s, bundle.name)

    def write_unit(self, name: str, text: str) -> PurePosixPath:
        """Put a service's file beside an application.

        Raises:
            DeviceError: it cannot be written.
        """
        folder = self.root() / name
        with tempfile.TemporaryDirectory(prefix="edgekit-") as temporary:
            local = Path(temporary, f"edgekit-{name}.service")
            local.write_text(text, encoding="utf-8")
            self.device.push(local, folder / local.name)
        return folder / f"edgekit-{name}.service"

    def root(self) -> PurePosixPath:
        """Where applications lie there.

        Raises:
            DeviceError: it does not answer.
        """
        if self._root is None:
            told = answer_of(self.device, script_of(_WHERE, "slots.main"), dict[str, str], timeout_s=ASK_S)
            self._root = PurePosixPath(told["root"])
        return self._root

    def _changed(self, verb: str, *arguments: str) -> Installed:
        told = self._asked(verb, *arguments)
        if told is None:
            raise DeviceError(f"{self.device.facts.name}: nothing is installed", hint="edgekit deploy BUNDLE --device NAME --trust-keys KEY.pub")
        return msgspec.convert(told["installed"], Installed)

    def _asked(self, verb: str, *arguments: str) -> dict[str, Any] | None:
        """An answer of the agent that lies there; None if there is none."""
        ran = self.device.run(["sh", "-c", _INSTALLED, python_of(self.device), str(self.root()), verb, *arguments], timeout_s=ASK_S)
        return None if ran.status == NOTHING else self._read(ran.stdout, ran.stderr, ran.status, "")

    def _answered(self, argv: list[str], timeout_s: float, what: str) -> dict[str, Any]:
        ran = self.device.run(argv, timeout_s=timeout_s)
        return self._read(ran.stdout, ran.stderr, ran.status, what)

    def _read(self, stdout: bytes, stderr: bytes, status: int, what: str) -> dict[str, Any]:
        name = self.device.facts.name
        try:
            told: dict[str, Any] = msgspec.json.decode(stdout)
            error = told["error"]
        except (msgspec.DecodeError, KeyError, TypeError) as wrong:
            last = stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise DeviceError(
                f"{name}: the agent ended with status {status}{': ' if last else ''}{''.join(last)}",
                hint=f"does {self.device.facts.python} run there, with enough memory and room on the disk?",
            ) from wrong
        if error is not None:
            raise self._refused(error["kind"], error["reason"], what)
        return told

    def _refused(self, kind: str, reason: str, what: str) -> EdgekitError:
        message = f"{self.device.facts.name}: {f'{what} is refused: ' if what else ''}{reason}"
        if kind == "trust" and "trusts no key" in reason:
            return BundleError(message, hint="say whose bundles it takes, once: --trust-keys NAME.pub (`edgekit keys list`)")
        if kind in HINTS:
            return BundleError(message, hint=HINTS[kind])
        return DeviceError(message, hint=_HINTS.get(kind, "edgekit devices check NAME"))

"""A bundle goes to a device, and is what runs there once it has proved itself; else what ran goes on running."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from edgekit.bundle import looked_at, read_keys, rotations
from edgekit.bundle.manifest import Manifest
from edgekit.deploy.site import Health, Installed, Site, Slot
from edgekit.deploy.unit import unit_of
from edgekit.device import open_device
from edgekit.device.travel import python_of
from edgekit.errors import BundleError, DeviceError, EdgekitError, UnreachableError, UsageError
from edgekit.watch import SILENT, Watcher

TRIAL_S = 120.0
KEEP = 3
MOST_MB = 4096
CHECK_S = 600.0  # hashing and unpacking gigabytes on a slow card
LOOK_S = 2.0
OVERTIME_S = 120.0  # what a trial may take longer than it is: its last question, a busy device


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a bundle is deployed.

    Attributes:
        trust_keys: file of keys that a device which trusts none yet is to trust from now on.
        keep: slots that stay on the device.
        trial_s: how long what was installed is watched before it counts as good; 0 if it is good at once.
        wait: whether to wait for the end of the trial; the device goes on with it either way.
        most_mb: a larger bundle is refused, in MB (10^6 bytes).
        unit: whether a systemd unit is written beside the application.
    """

    trust_keys: Path | None = None
    keep: int = KEEP
    trial_s: float = TRIAL_S
    wait: bool = True
    most_mb: int = MOST_MB
    unit: bool = False


class Deployed(msgspec.Struct, frozen=True):
    """What runs on a device now.

    Attributes:
        device: its name.
        app: the application.
        slot: what was installed.
        before: the slot that ran before; None if there was none.
        was_installed: whether it ran already.
        signer: name of the key whose signature the device trusts.
        health: what the known inputs told.
        installed: all slots.
        unit: path of the systemd unit there; "" if none was asked for.
    """

    device: str
    app: str
    slot: str
    before: str | None
    was_installed: bool
    signer: str
    health: Health
    installed: Installed
    unit: str = ""

    @property
    def running(self) -> Slot | None:
        """What runs."""
        return self.installed.running

    @property
    def gave_way(self) -> bool:
        """Whether what was installed proved bad."""
        return any(one.slot == self.slot and one.status == "bad" for one in self.installed.slots)


def deploy(bundle: Path, asked: str, terms: Terms, *, watcher: Watcher = SILENT, sleep: Callable[[float], None] = time.sleep) -> Deployed:
    """Install a bundle on a device.

    Args:
        bundle: the file.
        asked: URL or name of the device.
        terms: how.
        watcher: told about progress.
        sleep: between two looks at a trial.

    Raises:
        BundleError: it is refused; the device says why, and what ran goes on running.
        DeviceError: the device cannot, or what was installed does not do there what it did here.
        UsageError: there is no such file or device.
    """
    told = looked_at(bundle)
    if not told.signers:
        raise BundleError(f"{bundle}: it is not signed, and no device takes it", hint=f"edgekit sign {bundle} --key NAME")
    keys = read_keys(terms.trust_keys).text() if terms.trust_keys is not None else ""
    device = open_device(asked, as_it_is=True)
    try:
        if not device.facts.url.startswith(("ssh:", "local")):
            raise UsageError(f"{asked}: nothing is installed on such a device", hint="deploy to one behind SSH, or to local")
        python_of(device)
        _refuse_foreign(told.manifest, device.facts.arch, device.facts.name, bundle)
        site = Site(device)
        watcher.begin(f"deploy {told.manifest.name} {told.manifest.version} to {device.facts.name}")
        wish = {"keys": keys, "rotations": rotations(), "keep": terms.keep, "most_bytes": terms.most_mb * 1_000_000, "trial_s": terms.trial_s}
        answer = _installed(site, bundle, wish, told.manifest)
        watcher.end(f"slot {answer['slot']}")
        found = Deployed(
            device=device.facts.name,
            app=answer["app"],
            slot=answer["slot"],
            before=answer["before"],
            was_installed=answer["was_installed"],
            signer=answer["signer"],
            health=msgspec.convert(answer["health"], Health),
            installed=msgspec.convert(answer["installed"], Installed),
        )
        if terms.unit:
            path = site.write_unit(found.app, unit_of(found.app, str(site.root()), device.facts.python))
            found = msgspec.structs.replace(found, unit=str(path))
        return _tried(site, found, terms, watcher, sleep) if terms.wait else found
    finally:
        device.close()


def _refuse_foreign(manifest: Manifest, arch: str, name: str, bundle: Path) -> None:
    """Before it is sent; the device looks again."""
    if manifest.target.arch != arch:
        raise BundleError(
            f"{name}: {bundle.name} is refused: it is for {manifest.target.arch}, and this device is {arch}", hint="build for this device: --target"
        )


def _installed(site: Site, bundle: Path, wish: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """The device's answer; an error says what runs there. A connection that breaks is made anew once: to install twice does no harm."""
    timeout_s = CHECK_S + manifest.health.timeout_s + (manifest.build.timeout_s if manifest.build else 0.0)
    try:
        with suppress(UnreachableError):
            return site.install(bundle, wish, timeout_s)
        return site.install(bundle, wish, timeout_s)
    except (BundleError, DeviceError) as error:
        raise type(error)(
            f"{error.message}{_what_runs(site, manifest.name, is_refused=not isinstance(error, UnreachableError))}", hint=error.hint
        ) from error


def _what_runs(site: Site, name: str, *, is_refused: bool) -> str:
    try:
        running = [one.running for one in site.status(name) if one.running is not None]
    except EdgekitError:
        return ""  # what is said already matters more
    return f"; version {running[0].version} {'goes on running' if is_refused else 'runs there'}" if running else ""


def _tried(site: Site, found: Deployed, terms: Terms, watcher: Watcher, sleep: Callable[[float], None]) -> Deployed:
    """Wait for the end of the trial."""
    watcher.begin(f"first {terms.trial_s:g} s on {found.device}")
    end = time.monotonic() + terms.trial_s + OVERTIME_S
    while True:
        installed = next((one for one in site.status(found.app)), found.installed)
        mine = next((one for one in installed.slots if one.slot == found.slot), None)
        if mine is None or mine.status != "trial" or time.monotonic() > end:
            break
        sleep(min(LOOK_S, max(0.1, terms.trial_s)))
    watcher.end(mine.status if mine else "another deploy came in between")
    return msgspec.structs.replace(found, installed=installed)

"""From a device's URL, or its name in ``devices.toml``, to the device."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgekit import plugins
from edgekit.device.attended import NoPythonError
from edgekit.device.contract import Device
from edgekit.device.inventory import ADDRESSED, Entry, entry_of, is_fleet, is_name
from edgekit.device.power import PoweredDevice
from edgekit.device.shell import ShellDevice
from edgekit.errors import UsageError
from edgekit.strict import nearest


def open_device(asked: str, *, as_it_is: bool = False) -> Device:
    """The device that a URL or a name stands for; the URL's scheme chooses the plugin.

    Args:
        asked: ``local``, ``emulated:NAME``, ``SCHEME://…``, or a name of ``devices.toml``.
        as_it_is: leave its power mode alone, whatever ``devices.toml`` says: that is for measuring.

    Raises:
        UsageError: no plugin knows the scheme, or nobody the name.
        UnreachableError: the device does not answer.
    """
    if is_name(asked):
        return _opened(entry_of(asked), as_it_is=as_it_is)
    return _reached(_kind_of(asked), asked)


def check_device_exists(asked: str) -> None:
    """Whether there is such a kind of device, or such a name; nothing is reached.

    Raises:
        UsageError: there is not.
    """
    if is_name(asked):
        entry_of(asked)
    else:
        _kind_of(asked)


def _kind_of(url: str) -> Callable[..., Device]:
    scheme = url.partition(":")[0]
    if is_fleet(url):
        raise UsageError(f"--device {url}: one device at a time here", hint="name one: edgekit devices list")
    known = plugins.names("edgekit.devices")
    if scheme not in known:
        raise UsageError(f"--device {url}: no such kind of device{nearest(scheme, known)}", hint=f"known are {', '.join(known)}")
    kind: Callable[..., Device] = plugins.load("edgekit.devices", scheme)
    return kind


def _opened(entry: Entry, *, as_it_is: bool) -> Device:
    kind = _kind_of(entry.url)
    device: Device
    if entry.python:
        device = kind(entry.url, python=entry.python)
    elif entry.benchmark_model:
        device = ShellDevice(ADDRESSED[entry.url.partition(":")[0]](entry.url), benchmark_model=entry.benchmark_model)
    else:
        device = _reached(kind, entry.url)
    device.facts = msgspec.structs.replace(device.facts, name=entry.name)
    return PoweredDevice(device, entry.power_mode) if entry.power_mode and not as_it_is else device


def _reached(kind: Callable[..., Device], url: str) -> Device:
    """The device; where it turns out to have no Python, driven by its shell."""
    try:
        return kind(url)
    except NoPythonError as error:
        return ShellDevice(error.route)

"""From a device's URL to the device."""

from __future__ import annotations

from edgekit import plugins
from edgekit.device.contract import Device
from edgekit.errors import UsageError
from edgekit.strict import nearest


def open_device(url: str) -> Device:
    """The device that a URL names; its scheme chooses the plugin.

    Args:
        url: ``local``, ``emulated:NAME``, or ``SCHEME://…``.

    Raises:
        UsageError: no plugin knows the scheme.
        UnreachableError: the device does not answer.
    """
    scheme = url.partition(":")[0]
    known = plugins.names("edgekit.devices")
    if scheme not in known:
        raise UsageError(f"--device {url}: no such kind of device{nearest(scheme, known)}", hint=f"known are {', '.join(known)}")
    device: Device = plugins.load("edgekit.devices", scheme)(url)
    return device

"""Devices: what can be reached, by URL. ``local`` is this machine; other schemes come by entry point."""

from edgekit.device.contract import Device, DeviceFacts, Ran
from edgekit.device.reach import open_device

__all__ = ["Device", "DeviceFacts", "Ran", "open_device"]

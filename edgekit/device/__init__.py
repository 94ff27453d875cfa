"""Devices: what can be reached, by URL or by its name in ``devices.toml``. ``local`` is this machine; other schemes come by entry point."""

from edgekit.device.contract import Device, DeviceFacts, Ran
from edgekit.device.inventory import Entry, Inventory
from edgekit.device.reach import open_device

__all__ = ["Device", "DeviceFacts", "Entry", "Inventory", "Ran", "open_device"]

"""What a device tells of itself, whatever reaches it."""

from __future__ import annotations

import msgspec

from edgekit.device.contract import Device
from edgekit.device.travel import PROBE, answer_of, script_of

PROBE_S = 120.0


class Probe(msgspec.Struct, frozen=True):
    """Facts and state of a device; see :func:`edgekit.run.probe.read_probe`."""

    name: str
    arch: str
    cpu: str
    model: str
    kernel: str
    os: str
    cpus: int | None
    cpus_allowed: int | None
    cpu_quota: float | None
    memory_mib: float | None
    memory_available_mib: float | None
    disk_free_mib: float
    python: str
    executable: str
    is_root: bool
    emulated: bool
    l4t: str
    features: tuple[str, ...]
    packages: dict[str, str]
    governors: tuple[str, ...]
    temperatures_c: dict[str, float]
    throttled_now: dict[str, bool]
    load_average: tuple[float, ...]


def probe(device: Device) -> Probe:
    """Ask a device what it is; nothing is written there.

    Raises:
        DeviceError: it has no Python that will do.
    """
    return answer_of(device, script_of(PROBE, "probe.main", "[]"), Probe, timeout_s=PROBE_S)

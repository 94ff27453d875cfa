"""What a device tells of itself, whatever reaches it."""

from __future__ import annotations

import msgspec

from edgekit.device.contract import Device
from edgekit.device.shell_facts import BENCHMARK_MODEL, parsed
from edgekit.device.shell_scripts import INSPECT
from edgekit.device.travel import PROBE, answer_of, script_of
from edgekit.errors import DeviceError

PROBE_S = 120.0


class Probe(msgspec.Struct, frozen=True):
    """Facts and state of a device; see :func:`edgekit.run.probe.read_probe`. Without Python: what :class:`edgekit.device.shell_facts.Seen` has."""

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
    benchmark_model: str = ""
    not_executable: str = ""


def probe(device: Device) -> Probe:
    """Ask a device what it is; nothing is written there.

    Raises:
        DeviceError: what runs there will not do.
    """
    if not device.facts.python:
        return _by_shell(device)
    return answer_of(device, script_of(PROBE, "probe.main", "[]"), Probe, timeout_s=PROBE_S)


def _by_shell(device: Device) -> Probe:
    """What its shell tells where there is no Python."""
    mark = "edgekit-look"
    ran = device.run(["sh", "-c", INSPECT, "edgekit", mark, device.facts.benchmark_model], timeout_s=PROBE_S)
    seen = parsed(ran.stdout, mark)
    if seen is None:
        raise DeviceError(f"{device.facts.name}: its shell does not tell what it is", hint="does it end well: edgekit devices shell, then uname -a")
    facts, state = seen.facts, seen.state
    return Probe(
        **{key: facts[key] for key in ("name", "arch", "cpu", "model", "kernel", "os", "cpus", "cpus_allowed", "cpu_quota", "memory_mib")},
        memory_available_mib=state["memory_available_mib"],
        disk_free_mib=seen.disk_free_mib or 0.0,
        python="",
        executable="",
        is_root=seen.is_root,
        emulated=seen.emulated,
        l4t=seen.l4t,
        features=seen.features,
        packages={BENCHMARK_MODEL: ""} if seen.benchmark_model else {},
        governors=tuple(state["governors"]),
        temperatures_c=state["temperatures_c"],
        throttled_now=state["throttled_now"],
        load_average=tuple(state["load_average"]),
        benchmark_model=seen.benchmark_model,
        not_executable=seen.not_executable,
    )

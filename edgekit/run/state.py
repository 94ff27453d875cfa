"""What Linux tells about the machine in /proc and /sys: clocks, heat, throttling, load, memory, power.

Nothing here is worked out: these are readings. What cannot be read is empty or None, and the host says so.
"""

from __future__ import annotations

import glob
import os
import platform
import time
from typing import Any, Dict, List, Optional, Tuple

MIB = 1024 * 1024
DIGITS = 20  # of 2^64; what is longer the kernel does not write

# Parts of the processors met on boards: (implementer, part) as in /proc/cpuinfo. Source: Arm Technical Reference Manuals
# (MIDR_EL1), and util-linux sys-utils/lscpu-arm.c for the other implementers.
ARM_PARTS = {
    ("0x41", "0xc07"): "Cortex-A7",
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x4e", "0x004"): "Carmel",
}


def read_facts(root: str = "/") -> Dict[str, Any]:
    """What does not change while the machine is on.

    Returns:
        ``name``, ``arch``, ``cpu``, ``model`` (of the board, if the firmware says), ``kernel``, ``os``, ``cpus`` (in the machine),
        ``cpus_allowed`` (this process may use), ``cpu_quota`` (cores the control group grants; None if no limit is seen),
        ``memory_mib``, ``python``.
    """
    names = os.uname()
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "name": names.nodename,
        "arch": names.machine,
        "kernel": names.release,
        "cpus": os.cpu_count(),
        "cpus_allowed": affinity,
        "python": platform.python_version(),
        **read_system(root),
    }


def read_system(root: str = "/") -> Dict[str, Any]:
    """What the files below ``root`` say that does not change: ``cpu``, ``model``, ``os``, ``cpu_quota``, ``memory_mib`` of :func:`read_facts`."""
    return {
        "cpu": cpu_model(root),
        "model": _text(root, "proc/device-tree/model").rstrip("\0"),
        "os": _os_name(root),
        "cpu_quota": _cpu_quota(root),
        "memory_mib": _kib_to_mib(_fields(root, "proc/meminfo").get("MemTotal")),
    }


def read_state(root: str = "/") -> Dict[str, Any]:
    """What may change from one moment to the next; read it before and after a run.

    Returns:
        ``monotonic_s``; ``clocks_mhz`` by processor; ``governors``, the distinct ones; ``temperatures_c`` by zone;
        ``throttle_counts`` by counter, cumulative since boot; ``throttled_now`` by source, true while it lasts;
        ``load_average`` (1, 5, 15 min); ``busy_s`` and ``steal_s``, processor seconds of the whole machine since boot;
        ``involuntary_switches`` of this process; ``memory_available_mib``; ``power_mw`` by rail; ``energy_uj`` by meter.
    """
    return {
        "monotonic_s": time.monotonic(),
        "load_average": list(os.getloadavg()),
        "involuntary_switches": _integer(_fields(root, "proc/self/status").get("nonvoluntary_ctxt_switches")),
        **read_sensors(root),
    }


def read_sensors(root: str = "/") -> Dict[str, Any]:
    """Of :func:`read_state`, what the files below ``root`` say: all but ``monotonic_s``, ``load_average`` and ``involuntary_switches``."""
    busy_s, steal_s = _processor_seconds(root)
    counts, now = _throttling(root)
    return {
        "clocks_mhz": _clocks(root),
        "governors": sorted({_read(path) for path in _cpufreq(root, "scaling_governor")} - {""}),
        "temperatures_c": _temperatures(root),
        "throttle_counts": counts,
        "throttled_now": now,
        "busy_s": busy_s,
        "steal_s": steal_s,
        "memory_available_mib": _kib_to_mib(_fields(root, "proc/meminfo").get("MemAvailable")),
        "power_mw": _power(root),
        "energy_uj": _energy(root),
    }


def read_memory(root: str = "/") -> Dict[str, Optional[float]]:
    """Memory of this process: ``peak_mib`` (VmHWM) and ``resident_mib`` (VmRSS).

    ``getrusage`` will not do for the peak: on Linux it survives exec, so a child of a large parent shows the parent's.
    """
    fields = _fields(root, "proc/self/status")
    return {"peak_mib": _kib_to_mib(fields.get("VmHWM")), "resident_mib": _kib_to_mib(fields.get("VmRSS"))}


def cpu_model(root: str = "/") -> str:
    """Model name of the processor; on Arm, the names of its kinds of core."""
    parts: List[str] = []
    implementer = ""
    for line in _text(root, "proc/cpuinfo").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name" and value:
            return value
        if key == "CPU implementer":
            implementer = value.lower()
        if key == "CPU part":
            name = ARM_PARTS.get((implementer, value.lower()), "Arm %s/%s" % (implementer, value))
            if name not in parts:
                parts.append(name)
    return " + ".join(parts)


def read_features(root: str = "/") -> List[str]:
    """Features of the processor as ``/proc/cpuinfo`` names them, sorted; empty where it names none."""
    for line in _text(root, "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return sorted(set(value.split()))
    return []


def _read(path: str) -> str:
    """A file's text without surrounding blanks; "" if it cannot be read, which is common in /sys (no driver, not root)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def _text(root: str, path: str) -> str:
    return _read(os.path.join(root, path))


def _integer(text: Optional[str], base: int = 10) -> Optional[int]:
    try:
        return int(text or "", base) if len(text or "") <= DIGITS else None
    except ValueError:
        return None


def _clock(text: str) -> Optional[float]:
    try:
        return float(text) if len(text) <= DIGITS else None
    except ValueError:
        return None


def _fields(root: str, path: str) -> Dict[str, str]:
    """``Key:  value`` lines."""
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in _text(root, path).splitlines())}


def _kib_to_mib(value: Optional[str]) -> Optional[float]:
    number = _integer((value or "").partition(" ")[0])
    return None if number is None else number / 1024


def _os_name(root: str) -> str:
    for line in _text(root, "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return ""


def _cpufreq(root: str, name: str) -> List[str]:
    return sorted(glob.glob(os.path.join(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq", name)))


def _clocks(root: str) -> Dict[str, float]:
    """Current clock of each processor, from cpufreq, else from /proc/cpuinfo (a constant in many virtual machines)."""
    found = {}
    for path in _cpufreq(root, "scaling_cur_freq"):
        khz = _integer(_read(path))
        if khz is not None:
            found[path.split("/")[-3]] = khz / 1000
    if found:
        return found
    lines = [line.partition(":") for line in _text(root, "proc/cpuinfo").splitlines()]
    told = [_clock(value.strip()) for key, _, value in lines if key.strip() == "cpu MHz"]
    return {"cpu%d" % number: mhz for number, mhz in enumerate(told) if mhz is not None}


def _temperatures(root: str) -> Dict[str, float]:
    found = {}
    for zone in sorted(glob.glob(os.path.join(root, "sys/class/thermal/thermal_zone*"))):
        value = _integer(_read(os.path.join(zone, "temp")))
        if value is not None:
            found["%s:%s" % (os.path.basename(zone), _read(os.path.join(zone, "type")))] = value / 1000
    return found


def _throttling(root: str) -> Tuple[Dict[str, int], Dict[str, bool]]:
    """Counters that rise, and flags that are up, while the processor is held back."""
    counts = {}
    for path in glob.glob(os.path.join(root, "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")):
        counts["/".join(path.split("/")[-3::2])] = _integer(_read(path)) or 0
    for line in _text(root, "sys/fs/cgroup/cpu.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == "nr_throttled":
            counts["cgroup quota"] = _integer(value) or 0
    now = {}
    # Raspberry Pi: bit 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft temperature limit; the same from bit 16 on for
    # "has happened since boot". Source: Raspberry Pi documentation, vcgencmd get_throttled.
    flags = _integer(_text(root, "sys/devices/platform/soc/soc:firmware/get_throttled"), 16)
    if flags is not None:
        names = ("under-voltage", "frequency capped", "throttled", "temperature limit")
        now = {"firmware: %s" % name: bool(flags >> bit & 1) for bit, name in enumerate(names)}
    for device in sorted(glob.glob(os.path.join(root, "sys/class/thermal/cooling_device*"))):
        kind, level = _read(os.path.join(device, "type")), _integer(_read(os.path.join(device, "cur_state")))
        if level is not None and "fan" not in kind.lower() and ("cpu" in kind.lower() or kind == "Processor"):
            now["%s: %s" % (os.path.basename(device), kind)] = level > 0
    return counts, now


def _processor_seconds(root: str) -> Tuple[Optional[float], Optional[float]]:
    """Busy and stolen processor seconds of the whole machine since boot, from the first line of /proc/stat."""
    fields = _text(root, "proc/stat").partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None, None
    told = [_integer(field) for field in fields[1:9]]
    ticks = [count for count in told if count is not None]
    if len(ticks) < len(told):
        return None, None
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, steal / tick


def _cpu_quota(root: str) -> Optional[float]:
    """Cores the control group grants; a limit set in a parent group is not seen."""
    quota, _, period = _text(root, "sys/fs/cgroup/cpu.max").partition(" ")
    granted, every = _integer(quota), _integer(period)
    return granted / every if granted and every else None


def _power(root: str) -> Dict[str, float]:
    """Power by rail: hwmon's own power readings, or voltage times current (INA3221, as on Jetson boards)."""
    found = {}
    for folder in sorted(glob.glob(os.path.join(root, "sys/class/hwmon/hwmon*"))):
        chip = _read(os.path.join(folder, "name"))
        for path in sorted(glob.glob(os.path.join(folder, "power*_input"))):
            microwatts = _integer(_read(path))
            if microwatts is not None:
                found["%s %s" % (chip, _label(folder, path, "power"))] = microwatts / 1000
        for path in sorted(glob.glob(os.path.join(folder, "curr*_input"))):
            milliamperes = _integer(_read(path))
            millivolts = _integer(_read(path.replace("curr", "in")))
            if milliamperes is not None and millivolts is not None:
                found["%s %s" % (chip, _label(folder, path.replace("curr", "in"), "in"))] = milliamperes * millivolts / 1000
    return found


def _label(folder: str, path: str, kind: str) -> str:
    name = os.path.basename(path).replace("_input", "")
    return _read(os.path.join(folder, name + "_label")) or name.replace(kind, "rail")


def _energy(root: str) -> Dict[str, int]:
    """Energy meters (RAPL), microjoules, wrapping; most systems let only root read them."""
    found = {}
    for path in sorted(glob.glob(os.path.join(root, "sys/class/powercap/*/energy_uj"))):
        value = _integer(_read(path))
        if value is not None:
            found[_read(os.path.join(os.path.dirname(path), "name")) or path.split("/")[-2]] = value
    return found

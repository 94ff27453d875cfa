"""What a Jetson's own tools say of it: power mode, clocks, heat, power, memory.

Parsers take text and give plain data, so that they can be tried without a board; what a tool does not say is left out.
tegrastats has changed its form with most releases: names in either case, one, two or three figures a rail, with and without
units, engines by load, by clocks or by both. Every form met is accepted, whatever else stands in a line is passed over.

Sources: "Tegrastats Utility" in the Jetson Linux Developer Guides of r32.7, r35.6 and r36.5; what changed since, in
github.com/rbonghi/jetson_stats issues 187, 292, 362 and pull request 894. A sensor that is off reports -256 degrees.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from typing import Any, Dict, List, Optional

SENSOR_OFF_C = -256.0
_COUNT_MB = {"kB": 1.0 / 1024.0, "MB": 1.0, "GB": 1024.0}
_TEMPERATURE = re.compile(r"(?:^|\s)([A-Za-z][\w.-]*)@(-?\d+(?:\.\d+)?)C(?:/-?\d+(?:\.\d+)?C)?(?=\s|$)")
_RAIL = re.compile(r"(?:^|\s)([A-Z][A-Z0-9_]*[A-Z0-9]) (\d+)(?:mW(?:/(\d+)mW(?:/\d+mW)?)?|/(\d+)(?:/\d+)?)(?=\s|$)")
_NOT_RAILS = frozenset({"RAM", "SWAP", "IRAM", "NC"})
_MEMORY = re.compile(r"(RAM|SWAP|IRAM) (\d+)/(\d+)([kMG]B)")
_LARGEST_FREE = re.compile(r"RAM \d+/\d+[kMG]B \(lfb (\d+)x(\d+)([kMG]B)\)")
_PROCESSORS = re.compile(r"CPU \[([^\]]*)\](?:@(\d+))?")
_ENGINE = re.compile(r"(?:^|\s)(GR3D|EMC)_FREQ (?:(\d+)%)?(?:@(?:\[([\d,\s]*)\]|(\d+)))?")


def parse_tegrastats(line: str) -> Dict[str, Any]:
    """One line of tegrastats.

    Returns:
        Of what the line holds: ``ram_mib`` and ``swap_mib`` (used, total), ``largest_free_mib``, ``cpus`` (each ``percent`` and
        ``mhz``, None where it is not told; None for a processor that is off), ``gpu`` and ``memory_bus`` (``percent``, ``mhz``),
        ``temperatures_c`` by sensor, those that are off left out, ``power_mw`` by rail at that moment, ``power_mean_mw`` since
        tegrastats began.
    """
    found: Dict[str, Any] = {}
    for name, used, total, unit in _MEMORY.findall(line):
        if name != "IRAM":
            found[name.lower() + "_mib"] = {"used": int(used) * _COUNT_MB[unit], "total": int(total) * _COUNT_MB[unit]}
    free = _LARGEST_FREE.search(line)
    if free:
        found["largest_free_mib"] = int(free.group(2)) * _COUNT_MB[free.group(3)]
    processors = _PROCESSORS.search(line)
    if processors:
        found["cpus"] = [_processor(one, processors.group(2)) for one in processors.group(1).split(",")]
    for name, percent, clocks, clock in _ENGINE.findall(line):
        mhz = [int(one) for one in clocks.split(",") if one.strip()] or ([int(clock)] if clock else [])
        found[{"GR3D": "gpu", "EMC": "memory_bus"}[name]] = {"percent": int(percent) if percent else None, "mhz": max(mhz) if mhz else None}
    heat = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    found["temperatures_c"] = {name: value for name, value in heat.items() if value != SENSOR_OFF_C}
    rails = [rail for rail in _RAIL.findall(line) if rail[0] not in _NOT_RAILS]
    found["power_mw"] = {name: int(now) for name, now, _, _ in rails}
    found["power_mean_mw"] = {name: int(mean or bare) for name, _, mean, bare in rails if mean or bare}
    return found


def _processor(text: str, shared_mhz: str) -> Optional[Dict[str, Optional[int]]]:
    """``12%@729``, ``12%``, or ``off``; some releases write one clock behind all of them."""
    told = re.match(r"\s*(\d+)%(?:@(\d+))?\s*$", text)
    if told is None:
        return None
    mhz = told.group(2) or shared_mhz
    return {"percent": int(told.group(1)), "mhz": int(mhz) if mhz else None}


def parse_power_mode(text: str) -> Dict[str, Any]:
    """``nvpmodel -q``: ``name`` and ``id``; their meaning differs by board and JetPack, so both are kept as told."""
    name = re.search(r"NV Power Mode:\s*(\S+)", text)
    number = re.search(r"^\s*(\d+)\s*$", text, re.MULTILINE)
    found: Dict[str, Any] = {}
    if name:
        found["name"] = name.group(1)
    if number:
        found["id"] = int(number.group(1))
    return found


def parse_power_modes(text: str) -> List[Dict[str, Any]]:
    """``nvpmodel -p --verbose``, or nvpmodel's configuration file: every mode that the board has."""
    return [{"id": int(number), "name": name} for number, name in re.findall(r"POWER_MODEL:?\s+ID=(\d+)\s+NAME=(\S+)", text)]


def parse_clocks(text: str) -> Dict[str, Any]:
    """``jetson_clocks --show``.

    Returns:
        ``soc`` and ``machine``, ``cpus`` by name, ``gpu``, ``memory_bus``, ``dla`` by name (each ``min_mhz``, ``max_mhz``,
        ``mhz``), ``fan`` (as told), ``is_pinned``: whether the clocks of CPU and GPU cannot move.
    """
    found: Dict[str, Any] = {"cpus": {}, "dla": {}}
    head = re.search(r"SOC family:(\S+)\s+Machine:(.*)", text)
    if head:
        found["soc"], found["machine"] = head.group(1), head.group(2).strip()
    for line in text.splitlines():
        clocks = re.search(r"MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", line)
        if clocks is None:
            continue
        name = line.split()[0].rstrip(":")
        in_khz = name.startswith("cpu")
        low, high, now = (int(one) / (1e3 if in_khz else 1e6) for one in clocks.groups())
        entry = {"min_mhz": low, "max_mhz": high, "mhz": now}
        if in_khz:
            entry["is_online"] = "Online=0" not in line
            found["cpus"][name] = entry
        elif name in ("GPU", "EMC"):
            found["gpu" if name == "GPU" else "memory_bus"] = entry
        elif re.match(r"DLA\d+_CORE", name):
            found["dla"][name] = entry
    fan = re.search(r"FAN Dynamic Speed Control=(\S+)", text)
    if fan:
        found["fan"] = fan.group(1)
    moving = [one for one in [*found["cpus"].values(), found.get("gpu")] if one and one.get("is_online", True)]
    found["is_pinned"] = bool(moving) and all(one["min_mhz"] == one["max_mhz"] for one in moving)
    return found


def parse_l4t(text: str) -> str:
    """First line of ``/etc/nv_tegra_release`` as a version: ``# R36 (release), REVISION: 4.3, …`` is 36.4.3; "" if it is none."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return "%s.%s" % found.groups() if found else ""


def ask(argv: List[str], timeout_s: float = 10.0) -> str:
    """What one of the board's tools prints; "" where there is no such tool, or it fails (some want root)."""
    if shutil.which(argv[0]) is None:
        return ""
    try:
        ran = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.decode(errors="replace") if ran.returncode == 0 else ""


def read_power_and_clocks() -> Dict[str, Any]:
    """Power mode, the modes that there are, and clocks; empty parts where a tool is missing or wants root."""
    clocks = ask(["jetson_clocks", "--show"])
    return {
        "power_mode": parse_power_mode(ask(["nvpmodel", "-q"])),
        "power_modes": parse_power_modes(ask(["nvpmodel", "-p", "--verbose"])),
        "clocks": parse_clocks(clocks) if clocks else {},
    }


class Stats:
    """tegrastats beside a build or a run: ``with Stats() as stats: …``, then ``stats.samples``.

    Where there is no tegrastats, there are no samples.
    """

    def __init__(self, interval_ms: int = 500) -> None:
        self._argv = ["tegrastats", "--interval", str(interval_ms)]
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._reader: Optional[threading.Thread] = None
        self.samples: List[Dict[str, Any]] = []

    def __enter__(self) -> "Stats":
        if shutil.which(self._argv[0]) is not None:
            self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._reader is not None:
            self._process.terminate()
            self._process.wait()
            self._reader.join()

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None, "entered"
        with self._process.stdout as stream:
            for line in stream:
                self.samples.append(parse_tegrastats(line.decode(errors="replace")))


def summarize(samples: List[Dict[str, Any]]) -> Dict[str, Any]:
    """The most and the mean of what tegrastats saw: ``samples`` (how many), ``ram_most_mib``, ``temperatures_most_c`` by sensor,
    ``power_mean_mw`` and ``power_most_mw`` by rail, ``gpu_mean_percent``; what was never told is left out."""
    found: Dict[str, Any] = {"samples": len(samples)}
    ram = [one["ram_mib"]["used"] for one in samples if "ram_mib" in one]
    if ram:
        found["ram_most_mib"] = max(ram)
    loads = [one["gpu"]["percent"] for one in samples if one.get("gpu", {}).get("percent") is not None]
    if loads:
        found["gpu_mean_percent"] = sum(loads) / len(loads)
    heat, power = _by_name(samples, "temperatures_c"), _by_name(samples, "power_mw")
    found["temperatures_most_c"] = {name: max(values) for name, values in heat.items()}
    found["power_mean_mw"] = {name: sum(values) / len(values) for name, values in power.items()}
    found["power_most_mw"] = {name: max(values) for name, values in power.items()}
    return found


def _by_name(samples: List[Dict[str, Any]], key: str) -> Dict[str, List[float]]:
    found: Dict[str, List[float]] = {}
    for one in samples:
        for name, value in one.get(key, {}).items():
            found.setdefault(name, []).append(value)
    return found

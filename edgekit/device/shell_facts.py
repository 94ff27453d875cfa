"""What a device's shell tells of it: the files of /proc and /sys are read there, and understood here by what reads them on a board."""

from __future__ import annotations

import itertools
import re
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from edgekit.device.shell_scripts import FILES
from edgekit.run.state import read_features, read_sensors, read_system

BENCHMARK_MODEL = "benchmark_model"

# grep's `path:line`, of paths that were asked for alone: what a device says is written to no other. Some have colons of their own.
_PATHS = "|".join(path.replace(".", r"\.").replace("*", r"[\w.:-]{0,80}?") for path in (*FILES, "/proc/stat"))
_LINE = re.compile(rf"({_PATHS}):(.*)", re.ASCII)
_NEEDED = {"name", "arch", "kernel", "uid", "emulated", "board", "disk", "files", "end"}


class Seen(msgspec.Struct, frozen=True):
    """Facts and state of a device at one moment; see :mod:`edgekit.run.state`.

    Attributes:
        facts: as :func:`edgekit.run.state.read_facts` tells them, Python's version apart.
        state: as :func:`edgekit.run.state.read_state` tells it.
        features: of the processor.
        benchmark_model: path of that program; empty if there is none.
        digest: what it is, which tells no version: the first twelve digits of its SHA-256, or its CRC where nothing there hashes.
        not_executable: a file where that program is looked for, which nobody may run.
        disk_free_mib: where workspaces lie; None if it does not say.
        l4t: the first line of NVIDIA's release file.
    """

    facts: dict[str, Any]
    state: dict[str, Any]
    features: tuple[str, ...]
    benchmark_model: str
    digest: str
    not_executable: str
    disk_free_mib: float | None
    l4t: str
    is_root: bool
    emulated: bool

    @property
    def name(self) -> str:
        """What it calls itself; empty if that says nothing."""
        return str(self.facts["name"])

    @property
    def arch(self) -> str:
        """As ``uname -m`` says."""
        return str(self.facts["arch"])

    @property
    def cpu(self) -> str:
        """Model name of the processor."""
        return str(self.facts["cpu"])


def parsed(said: bytes, mark: str) -> Seen | None:
    """What :data:`edgekit.device.shell_scripts.INSPECT` printed; None if it did not come to its end, or
    its clock cannot be read.

    Args:
        said: its standard output, and perhaps what a login script printed before.
        mark: its first argument.
    """
    _, found, text = said.decode(errors="replace").partition(f"\036{mark}\036")
    words = text.split("\036")[1:]
    told = dict(zip(words[::2], words[1::2], strict=False))
    if not found or not told.keys() >= _NEEDED:
        return None
    with tempfile.TemporaryDirectory(prefix="edgekit-") as root:
        files = _laid_out(told["files"], Path(root))
        system, sensors, features = read_system(root), read_sensors(root), read_features(root)
    android = told.get("android", "").strip()
    model = " ".join(dict.fromkeys(f"{told.get('maker', '')} {told.get('product', '')}".split()))
    uptime_s = _numbers(files.get("/proc/uptime", "0"))[:1]
    if not uptime_s:
        return None
    status = files.get("/proc/self/status", "")
    cpus = _cpus(files.get("/sys/devices/system/cpu/present", "")) or files.get("/proc/cpuinfo", "").count("processor\t") or None
    name = told["name"].strip()
    facts = {
        **system,
        "name": model.replace(" ", "-") if android and name in ("", "localhost") else name,
        "arch": told["arch"].strip(),
        "kernel": told["kernel"].strip(),
        "model": model if android else told["board"].strip(),
        "os": f"Android {android}" if android else system["os"],
        "cpus": cpus,
        "cpus_allowed": _cpus("".join(re.findall(r"Cpus_allowed_list:\s*(\S+)", status))) or cpus,
    }
    state = {
        **sensors,
        "monotonic_s": uptime_s[0],
        "load_average": _numbers(files.get("/proc/loadavg", ""))[:3],
        "involuntary_switches": None,
    }
    free = _numbers(" ".join(told["disk"].split()[3:4]))
    return Seen(
        facts=facts,
        state=state,
        features=tuple(features),
        benchmark_model=told.get("benchmark_model", ""),
        digest=told.get("digest", "").partition(" ")[0][:12],
        not_executable=told.get("not_executable", ""),
        disk_free_mib=free[0] / 1024 if free else None,
        l4t=files.get("/etc/nv_tegra_release", "").partition("\n")[0],
        is_root=told["uid"].strip() == "0",
        emulated=bool(told["emulated"].strip()),
    )


def _laid_out(text: str, root: Path) -> dict[str, str]:
    """Files as ``grep -H`` prints them, written below a folder; their text by path."""
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            lines.setdefault(found[1], []).append(found[2])
    files = {path: "\n".join(content) + "\n" for path, content in lines.items() if not {"", ".", ".."} & {*path.split("/")[1:]}}
    for path, content in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")
    return files


def _cpus(listed: str) -> int | None:
    """How many processors a list such as ``0-3,6`` names."""
    spans = [re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", span) for span in listed.strip().split(",")]
    return sum(max(0, int(span[2] or span[1]) - int(span[1]) + 1) for span in spans if span) or None


def _numbers(text: str) -> list[float]:
    """Numbers at the beginning of a line, as the kernel writes them, up to the first word that is none."""
    words = itertools.takewhile(lambda word: re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", word), text.split())
    return [float(word) for word in words]

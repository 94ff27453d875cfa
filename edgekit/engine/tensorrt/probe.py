"""The target file of a board, from what the builder script found on it (``build_engine.py --check``).

What the board says itself stands in place of what the nearest target that ships says; the rest is taken over with its
sources, and every fact that was read names the reading as its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edgekit.engine.tensorrt.rules import jetpack_of, version_of
from edgekit.errors import UsageError
from edgekit.target import Target

_READ = "read from the board by build_engine.py --check"
_BY_RELEASE = "https://developer.nvidia.com/embedded/jetpack-archive: by the release of Jetson Linux"
_SHARED_MIB = 1024
"""Firmware keeps part of the memory: what the driver counts is rounded up to the next GiB, and to what is sold from there."""
_SOLD_GIB = (4, 8, 16, 32, 64, 128)


def probed(machine: Mapping[str, Any], shipped: Iterable[Target], *, name: str = "", read: str = _READ) -> Target:
    """The target of a machine.

    Args:
        machine: of ``build-result.json``.
        shipped: targets to take over from.
        name: of the new target; from board and L4T if empty.
        read: how the reading came about, for the sources.

    Raises:
        UsageError: the reading says no TensorRT or GPU, or no target that ships has such a GPU.
    """
    missing = [key for key in ("tensorrt", "compute_capability") if not machine.get(key)]
    if missing:
        raise UsageError(f"the reading says no {' and no '.join(missing)}", hint="run python3 build_engine.py --check on the board itself")
    base = nearest(machine, shipped)
    release = ".".join(str(machine["tensorrt"]).split(".")[:3])
    facts = {**base.facts, "tensorrt": release, "compute_capability": str(machine["compute_capability"])}
    told_here = {"tensorrt", "compute_capability"}
    told = {"l4t": machine.get("l4t"), "cuda": machine.get("cuda_driver"), "python": ".".join(str(machine.get("python", "")).split(".")[:2])}
    told |= {
        "power_modes": [one["name"] for one in machine.get("power_modes", ())],
        "dla_cores": len(machine.get("clocks", {}).get("dla", ())) or None,
    }
    for key, value in told.items():
        if value:
            facts[key] = value
            told_here.add(key)
    jetpack = jetpack_of(str(facts.get("l4t", "")))
    facts.pop("jetpack", None)
    if jetpack:
        facts = {"jetpack": jetpack, **facts}
    runtime = msgspec.structs.replace(base.runtime("tensorrt"), version=release)
    ram = ram_mib(machine.get("memory_mib")) or base.ram_mib
    kept = {key: value for key, value in base.sources.items() if key in {*facts, "arch", "cpu", "features", "ram_mib", "builds_on"} or "." in key}
    sources = {**kept, **dict.fromkeys(told_here, read), "tensorrt.version": read}
    sources |= {"ram_mib": read} if machine.get("memory_mib") else {}
    sources |= {"jetpack": _BY_RELEASE} if jetpack else {}
    return msgspec.structs.replace(
        base,
        name=name or named(machine),
        title=f"{machine.get('board') or base.title}, L4T {machine.get('l4t') or 'unknown'}",
        ram_mib=ram,
        facts=facts,
        runtimes=(runtime,),
        sources=sources,
        aliases=(),
    )


def nearest(machine: Mapping[str, Any], shipped: Iterable[Target]) -> Target:
    """The target with the same GPU, if possible of the same board, whose TensorRT is the nearest that is not newer.

    Raises:
        UsageError: there is none with that GPU.
    """
    capability, board = str(machine["compute_capability"]), str(machine.get("board", "")).lower()
    alike = [one for one in shipped if str(one.facts.get("compute_capability")) == capability and one.name.startswith("jetson-")]
    if not alike:
        raise UsageError(f"no target has compute capability {capability}", hint="write its file by hand: edgekit targets show jetson is an example")
    here = version_of(".".join(str(machine["tensorrt"]).split(".")[:3]))

    def distance(one: Target) -> tuple[bool, bool, tuple[int, ...]]:
        words = one.name.removeprefix("jetson-").rpartition("-")[0].split("-")
        release = version_of(one.runtime("tensorrt").version)
        return (not all(word in board for word in words), release > here, tuple(-part for part in release))

    return min(alike, key=distance)


def named(machine: Mapping[str, Any]) -> str:
    """A name from board and L4T, such as ``nvidia-jetson-orin-nano-developer-kit-l4t-36.4.3``."""
    board = re.sub(r"[^a-z0-9]+", "-", str(machine.get("board") or machine.get("gpu") or "board").lower()).strip("-")
    return f"{board}-l4t-{machine['l4t']}" if machine.get("l4t") else board


def ram_mib(told: int | None) -> int | None:
    """What is sold, from what the driver counts."""
    return next((gib * _SHARED_MIB for gib in _SOLD_GIB if told and told <= gib * _SHARED_MIB), None)

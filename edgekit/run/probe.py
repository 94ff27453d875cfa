"""What a device is, in one answer: ``python -m edgekit_run.probe`` prints it as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Dict, List

from .state import read_facts, read_features, read_state
from .trtexec_path import find_trtexec

PACKAGES = ("ai-edge-litert", "tflite-runtime", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "numpy")
L4T = "etc/nv_tegra_release"


def read_probe(root: str = "/") -> Dict[str, Any]:
    """Facts and state, and what runs engines here.

    Returns:
        All of :func:`edgekit_run.state.read_facts`, and ``features`` of the processor, ``governors``, ``temperatures_c``,
        ``throttled_now``, ``load_average``, ``memory_available_mib``, ``packages`` by name, ``executable`` of this Python,
        ``disk_free_mib`` where workspaces lie, ``l4t`` (the first line of NVIDIA's release
        file), ``is_root``, and ``emulated``: whether QEMU's user mode runs this.
    """
    state = read_state(root)
    told = dict(read_facts(root))
    told.update({name: state[name] for name in ("governors", "temperatures_c", "throttled_now", "load_average", "memory_available_mib")})
    told.update(
        features=read_features(root),
        packages=_packages(),
        executable=sys.executable,
        disk_free_mib=_free_mib(os.path.expanduser("~")),
        l4t=_first_line(os.path.join(root, L4T)),
        is_root=os.geteuid() == 0,
        emulated="QEMU_LD_PREFIX" in os.environ,  # by its looks a program cannot tell: uname and /proc are those of the guest
    )
    return told


def _packages() -> Dict[str, str]:
    """Versions of the runtimes' packages that this Python finds, none of which is imported; and ``trtexec``, where that is."""
    from importlib import metadata

    found = {"trtexec": trtexec} if (trtexec := find_trtexec()) else {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _free_mib(folder: str) -> float:
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize / (1024 * 1024)


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip()
    except OSError:
        return ""


def main(arguments: List[str]) -> int:
    """Print what the device is."""
    json.dump(read_probe(*arguments), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What decides a TensorRT engine on a machine: its TensorRT, its GPU, its board, its power mode.

This lies in the package beside the builder script, too, where modules are found without a package's name.
"""

from __future__ import annotations

import glob
import json
import os
import platform
from importlib import metadata
from typing import Any, Dict

try:
    from . import cuda_memory, jetson, trtexec_output, trtexec_path
except ImportError:
    import cuda_memory  # type: ignore[import-not-found,no-redef]
    import jetson  # type: ignore[import-not-found,no-redef]
    import trtexec_output  # type: ignore[import-not-found,no-redef]
    import trtexec_path  # type: ignore[import-not-found,no-redef]

LIBRARIES = ("/usr/lib/*-linux-gnu/libnvinfer.so.*", "/usr/local/tensorrt/lib/libnvinfer.so.*", "/usr/lib64/libnvinfer.so.*")
DECIDING = ("tensorrt", "made_by", "arch", "board", "l4t", "power_mode", "gpu", "compute_capability", "memory_mib", "cuda_driver")
"""What an engine depends on, of all that :func:`describe_machine` tells."""


def first_line(path: str) -> str:
    """The first line of a text file; empty if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip("\0\n ")
    except OSError:
        return ""


def installed_tensorrt() -> str:
    """The version of TensorRT's Python package or, without one, of its library, or what trtexec says; "" if there is none of them."""
    try:
        return metadata.version("tensorrt")
    except metadata.PackageNotFoundError:
        pass
    named = [os.path.basename(path).split(".so.")[1] for pattern in LIBRARIES for path in glob.glob(pattern)]
    library = max(named, key=len, default="")  # libnvinfer.so.10 is a link to libnvinfer.so.10.3.0
    trtexec = trtexec_path.find_trtexec()
    return library or (trtexec_output.parse_banner(jetson.ask([trtexec, "--help"], 60.0)) if trtexec else "")


def describe_machine(version: str, made_by: str = "TensorRT") -> Dict[str, Any]:
    """What decides an engine, and what a reader of the result wants to know.

    Args:
        version: of TensorRT.
        made_by: whose version that is.
    """
    l4t = first_line("/etc/nv_tegra_release")
    power = jetson.read_power_and_clocks()
    return {
        "tensorrt": version,
        "made_by": made_by,
        "python": platform.python_version(),
        "arch": platform.machine(),
        "board": first_line("/proc/device-tree/model"),
        "l4t": jetson.parse_l4t(l4t) or l4t,
        "power_mode": power["power_mode"].get("name", ""),
        "power_modes": power["power_modes"],
        "clocks": power["clocks"],
        **cuda_memory.read_device(),
    }


def main() -> None:
    """Print what this machine is as JSON."""
    print(json.dumps(describe_machine(installed_tensorrt())))

"""What trtexec and TensorRT's builder print, as plain data.

Sources: samples/common/sampleReporting.cpp of github.com/NVIDIA/TensorRT for the performance summary and the exported
profile; recorded builds with a DLA in github.com/NVIDIA-AI-IOT/jetson_dla_tutorial.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List

_NAMED = re.compile(r"(min|max|mean|median|percentile\((\d+(?:\.\d+)?)%\)) = ([\d.eE+-]+) ms")
_MEMORY = re.compile(
    r"(Total Activation Memory|Total Weights Memory|Max Scratch Memory|Total Scratch Memory|Peak memory)\D*(\d+) bytes", re.IGNORECASE
)
_FALLBACK = re.compile(r"Layer '([^']*)' \((\w+)\): Unsupported on DLA\. Switching this layer's device type to GPU")
_OUT_OF_MEMORY = (
    "out of memory",
    "OutOfMemory",
    "cudaErrorMemoryAllocation",
    "Requested amount of GPU memory",
)


def parse_summary(text: str) -> Dict[str, Any]:
    """The performance summary.

    Returns:
        ``tensorrt`` (version), ``passed``, ``throughput_qps``, and milliseconds (``min``, ``max``, ``mean``, ``median``, ``p99``, …)
        under ``latency``, ``enqueue_time``, ``h2d_latency``, ``gpu_compute_time``, ``d2h_latency``; what is not there is left out.
    """
    found: Dict[str, Any] = {"passed": "&&&& PASSED" in text}
    version = re.search(r"TensorRT version: ([\d.]+)", text)
    if version:
        found["tensorrt"] = version.group(1)
    throughput = re.search(r"Throughput: ([\d.eE+-]+) qps", text)
    if throughput:
        found["throughput_qps"] = float(throughput.group(1))
    for line in text.splitlines():
        told = re.search(r"(End-to-End Host Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency|Latency): (min = .*)$", line)
        if told:
            figures = {("p" + percent if percent else name): float(value) for name, percent, value in _NAMED.findall(told.group(2))}
            found[told.group(1).lower().replace("-", "_").replace(" ", "_")] = figures
    return found


def parse_banner(text: str) -> str:
    """The version that trtexec begins with: ``[TensorRT v100300]`` is 10.3.0, ``v8502`` is 8.5.2; "" if there is none."""
    found = re.search(r"\[TensorRT v(\d+)\]", text)
    if found is None:
        return ""
    number = int(found.group(1))
    major, rest = (number // 1000, number % 1000) if number < 10_000 else (number // 10_000, number % 10_000)
    return "%d.%d.%d" % (major, rest // 100, rest % 100)


def last_error(text: str) -> str:
    """The last error that trtexec printed, without one the last line."""
    lines = text.splitlines()
    said = [line for line in lines if "[E]" in line] or lines[-1:]
    return said[-1] if said else "it said nothing"


def parse_memory(text: str) -> Dict[str, int]:
    """Bytes by what they are for, from a build log; the last word on each."""
    return {what.lower().replace(" ", "_") + "_bytes": int(count) for what, count in _MEMORY.findall(text)}


def parse_placement(text: str) -> Dict[str, List[str]]:
    """Where a build log says that layers run: ``dla``, ``gpu``, and ``fell_back`` (layers that the DLA did not take)."""
    found: Dict[str, List[str]] = {"dla": [], "gpu": [], "fell_back": []}
    for line in text.splitlines():
        placed = re.search(r"\[(Dla|Gpu)Layer\] (.*)$", line)
        if placed:
            found[placed.group(1).lower()].append(placed.group(2).strip())
    found["fell_back"] = ["%s (%s)" % one for one in _FALLBACK.findall(text)]
    return found


def parse_profile(rows: List[Dict[str, Any]]) -> Dict[str, float]:
    """``--exportProfile``: mean milliseconds by layer; the first row counts the runs."""
    return {row["name"]: float(row["averageMs"]) for row in rows if "name" in row}


def placement_cost(placement: Dict[str, List[str]], profile: List[Dict[str, Any]]) -> Dict[str, float]:
    """What the pieces of an engine with a DLA cost, mean milliseconds: ``dla``, ``gpu``, and ``copies`` between the two.

    A layer of the log that the profile does not name, because it was fused further, counts for nothing; what the log does not
    name is on the GPU.
    """
    on_dla = set(placement["dla"])
    cost = {"dla": 0.0, "gpu": 0.0, "copies": 0.0}
    for name, ms in parse_profile(profile).items():
        is_copy = name.startswith("Reformatting CopyNode") or name.endswith((" copy", " to nvm", " from nvm", " finish"))
        cost["dla" if name in on_dla else "copies" if is_copy else "gpu"] += ms
    return cost


def is_out_of_memory(text: str) -> bool:
    """Whether a build failed for want of memory: a smaller workspace or a lower optimization level may do."""
    return any(words in text for words in _OUT_OF_MEMORY)

#!/usr/bin/env python3
"""Build the TensorRT engine of this folder, on the machine that will run it.

    python3 build_engine.py --check     compare this machine with build-plan.json, build nothing
    python3 build_engine.py             build; writes model.plan, build-result.json, build.log, layers.json

One file, Python 3.8 to 3.12, TensorRT 8.5 to 11, no other package. It reads build-plan.json and the graph beside it.
Exit status: 0 built or fitting, 1 TensorRT could not build, 2 this machine or this folder is not what the plan is for.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from typing import Any

PLAN_FILE = "build-plan.json"
RESULT_FILE = "build-result.json"
LOG_FILE = "build.log"
LAYERS_FILE = "layers.json"
MEMORY_LINE = re.compile(
    r"(Total Activation Memory|Total Weights Memory|Max Scratch Memory|Total Scratch Memory|Peak memory)\D*(\d+) bytes", re.IGNORECASE
)


class WrongPlaceError(Exception):
    """This machine or this folder is not what the plan is for."""


class BuildError(Exception):
    """TensorRT could not build; ``nodes`` says which nodes its parser refused."""

    def __init__(self, message: str, nodes: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.nodes = nodes or []


def say(text: str) -> None:
    """One line to whoever started this."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def sha256(path: str) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_plan(folder: str) -> dict[str, Any]:
    """The plan of a folder, its graph compared with the digest in it."""
    try:
        with open(os.path.join(folder, PLAN_FILE), encoding="utf-8") as stream:
            plan: dict[str, Any] = json.load(stream)
    except (OSError, ValueError) as error:
        raise WrongPlaceError(f"{PLAN_FILE}: {error}") from error
    model = os.path.join(folder, plan["model"])
    if not os.path.exists(model):
        raise WrongPlaceError(f"{model}: not there; copy the whole folder")
    if sha256(model) != plan["model_sha256"]:
        raise WrongPlaceError(f"{model}: not the graph this plan was made for; copy the whole folder again")
    return plan


def load_tensorrt(module: str) -> Any:
    """TensorRT's Python package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = "it comes with JetPack (apt install python3-libnvinfer); a virtual environment needs --system-site-packages"
        raise WrongPlaceError(f"import {module}: {error}; {hint}") from error


def cuda_device() -> dict[str, Any]:
    """Name, compute capability and memory of the first GPU, from the driver; empty without one."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {}
    device, major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return {}
    cuda.cuDeviceGetName(name, 256, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)  # … _MINOR
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return {
        "gpu": name.value.decode(errors="replace"),
        "compute_capability": f"{major.value}.{minor.value}",
        "memory_mib": memory.value >> 20,
        "cuda_driver": f"{version.value // 1000}.{version.value % 1000 // 10}",
    }


def first_line(path: str) -> str:
    """The first line of a text file; empty if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip("\0\n ")
    except OSError:
        return ""


def power_mode() -> str:
    """What nvpmodel calls the present mode; empty where there is no nvpmodel."""
    if shutil.which("nvpmodel") is None:
        return ""
    try:
        ran = subprocess.run(["nvpmodel", "-q"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"NV Power Mode:\s*(\S+)", ran.stdout.decode(errors="replace"))
    return found.group(1) if found else ""


def describe_machine(trt: Any) -> dict[str, Any]:
    """What decides an engine, and what a reader of the result wants to know."""
    return {
        "tensorrt": str(trt.__version__),
        "python": platform.python_version(),
        "arch": platform.machine(),
        "board": first_line("/proc/device-tree/model"),
        "l4t": first_line("/etc/nv_tegra_release"),
        "power_mode": power_mode(),
        **cuda_device(),
    }


def mismatches(plan: dict[str, Any], machine: dict[str, Any]) -> list[str]:
    """In what this machine differs from the one the graph was checked for."""
    found = []
    have, want = machine["tensorrt"].split(".")[:2], plan["tensorrt"].split(".")[:2]
    if have != want:
        found.append(f"TensorRT here is {machine['tensorrt']}, the plan ({plan['target']}) is for {plan['tensorrt']}")
    capability = machine.get("compute_capability", "")
    if capability and plan["compute_capability"] and capability != plan["compute_capability"]:
        found.append(f"this GPU's compute capability is {capability}, the plan ({plan['target']}) is for {plan['compute_capability']}")
    return found


def insist(differing: list[str]) -> None:
    """Refuse a machine that differs."""
    if differing:
        raise WrongPlaceError("; ".join(differing) + "; build edgekit's package for this machine's target, or pass --anyway")


def make_logger(trt: Any, path: str, verbose: bool) -> Any:
    """A TensorRT logger that keeps warnings and errors, and writes all from INFO on into a file."""

    class Collector(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.complaints: list[str] = []
            self.memory: dict[str, int] = {}
            open(path, "w", encoding="utf-8").close()

        def log(self, severity: Any, msg: str) -> None:
            if severity.name == "VERBOSE" and not verbose:
                return
            with open(path, "a", encoding="utf-8") as stream:
                stream.write(f"[{severity.name}] {msg}\n")
            if severity.name in ("INTERNAL_ERROR", "ERROR", "WARNING"):
                self.complaints.append(f"{severity.name}: {msg}")
            for what, count in MEMORY_LINE.findall(msg):
                self.memory[what.lower().replace(" ", "_") + "_bytes"] = int(count)

    return Collector()


def creation_flags(trt: Any, plan: dict[str, Any]) -> int:
    """Flags of the network: explicit batch where it must be said, strong typing where the plan wants it."""
    flags = 0
    for name, wanted in (("EXPLICIT_BATCH", True), ("STRONGLY_TYPED", plan["typing"] == "strong")):
        flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
        if wanted and flag is not None:
            flags |= 1 << int(flag)
        elif wanted and name == "STRONGLY_TYPED":
            raise BuildError(f"the plan wants strong typing, which TensorRT {trt.__version__} does not have")
    return flags


def parse(trt: Any, network: Any, logger: Any, path: str) -> None:
    """Read the graph into the network."""
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(path):
        return
    nodes = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node_name, node_operator = getattr(error, "node_name", None), getattr(error, "node_operator", None)
        nodes.append(
            {
                "index": error.node(),
                "name": node_name() if node_name else "",
                "op": node_operator() if node_operator else "",
                "code": str(error.code()),
                "reason": error.desc(),
            }
        )
    raise BuildError("TensorRT's parser refuses the graph", nodes)


def set_flags(trt: Any, config: Any, plan: dict[str, Any]) -> None:
    """Precision flags of the plan; a release that has them no more takes the precision from the graph."""
    for name in plan["flags"]:
        flag = getattr(trt.BuilderFlag, name, None)
        if flag is not None:
            config.set_flag(flag)
        elif int(trt.__version__.split(".")[0]) < 11:
            raise BuildError(f"TensorRT {trt.__version__} has no flag {name}")


def configure(trt: Any, builder: Any, plan: dict[str, Any]) -> Any:
    """The builder's configuration as the plan has it."""
    config = builder.create_builder_config()
    set_flags(trt, config, plan)
    if plan["workspace_mib"]:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan["workspace_mib"] << 20)
    if hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = plan["optimization_level"]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if plan["profiles"]:
        profile = builder.create_optimization_profile()
        for sizes in plan["profiles"]:
            profile.set_shape(sizes["input"], tuple(sizes["min"]), tuple(sizes["opt"]), tuple(sizes["max"]))
        config.add_optimization_profile(profile)
    return config


def cache_file(machine: dict[str, Any]) -> str:
    """A timing cache is good for one TensorRT, one GPU and one power mode."""
    parts = [machine["tensorrt"], machine.get("compute_capability", ""), machine.get("gpu", ""), machine["power_mode"]]
    return "timing-" + re.sub(r"[^A-Za-z0-9.]+", "_", "-".join(part for part in parts if part)) + ".cache"


def use_cache(config: Any, path: str) -> int:
    """Let the builder begin with the times of an earlier build; how many bytes of them there were."""
    held = b""
    if os.path.exists(path):
        with open(path, "rb") as stream:
            held = stream.read()
    cache = config.create_timing_cache(held)
    if not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)
        return 0
    return len(held)


def keep_cache(config: Any, path: str) -> None:
    """Save the times of this build for the next."""
    cache = config.get_timing_cache()
    if cache is not None:
        write_whole(path, bytes(cache.serialize()))


def write_whole(path: str, content: bytes) -> None:
    """A file that is there is whole: write beside it, then rename."""
    with open(path + ".part", "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".part", path)


def inspect(trt: Any, logger: Any, content: bytes, folder: str) -> dict[str, Any]:
    """Open the engine as its user will, and say what is in it."""
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        return {"opened": False}
    size = getattr(engine, "device_memory_size_v2", None) or getattr(engine, "device_memory_size", None)
    ports = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ports.append({"name": name, "input": is_input, "dtype": str(engine.get_tensor_dtype(name)), "shape": list(engine.get_tensor_shape(name))})
    inspector = engine.create_engine_inspector()
    write_whole(os.path.join(folder, LAYERS_FILE), inspector.get_engine_information(trt.LayerInformationFormat.JSON).encode())
    return {"opened": True, "layers": engine.num_layers, "device_memory_bytes": size, "ports": ports}


def build(trt: Any, plan: dict[str, Any], folder: str, machine: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Build the engine; what it became, as plain data."""
    logger = make_logger(trt, os.path.join(folder, LOG_FILE), options.verbose)
    builder = trt.Builder(logger)
    network = builder.create_network(creation_flags(trt, plan))
    parse(trt, network, logger, os.path.join(folder, plan["model"]))
    config = configure(trt, builder, plan)
    timings = os.path.join(folder, cache_file(machine))
    cached = 0 if options.no_timing_cache else use_cache(config, timings)
    began = time.perf_counter()
    serialized = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - began
    if serialized is None:
        raise BuildError(next(iter(reversed(logger.complaints)), "TensorRT built nothing and said nothing"))
    content = bytes(serialized)
    file = os.path.join(folder, plan["engine"])
    write_whole(file, content)
    if not options.no_timing_cache:
        keep_cache(config, timings)
    return {
        "engine": {"file": plan["engine"], "bytes": len(content), "sha256": sha256(file)},
        "build_s": round(seconds, 3),
        "timing_cache": {"file": os.path.basename(timings), "bytes_before": cached},
        "memory": logger.memory,
        "inspected": inspect(trt, logger, content, folder) if not options.no_open else {"opened": False},
        "complaints": logger.complaints,
    }


def run(options: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """Check and build; exit status and result."""
    folder = os.path.abspath(options.folder)
    result: dict[str, Any] = {"schema": 1, "status": "refused"}
    try:
        plan = read_plan(folder)
        result.update(target=plan["target"], plan=plan)
        trt = load_tensorrt(options.module)
        machine = result["machine"] = describe_machine(trt)
        if not options.anyway:
            insist(mismatches(plan, machine))
        result["status"] = "fits" if options.check else "failed"
        if not options.check:
            result.update(build(trt, plan, folder, machine, options), status="built")
    except WrongPlaceError as error:
        result["reason"] = str(error)
        return 2, result
    except (BuildError, TypeError, RuntimeError) as error:  # TensorRT says TypeError where the driver is missing
        result.update(reason=str(error), nodes=getattr(error, "nodes", []))
        return 1, result
    return 0, result


def main() -> int:
    """Parse the command line, build, write the result."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--check", action="store_true", help="compare this machine with the plan, build nothing")
    arguments.add_argument("--anyway", action="store_true", help="build although this machine is not what the plan is for")
    arguments.add_argument("--no-timing-cache", action="store_true", help="time every layer anew")
    arguments.add_argument("--no-open", action="store_true", help="do not open the engine after it is built")
    arguments.add_argument("--verbose", action="store_true", help="write TensorRT's verbose lines into build.log too")
    arguments.add_argument("--module", default="tensorrt", help="Python package to build with (tensorrt, tensorrt_rtx)")
    arguments.add_argument("--folder", default=os.path.dirname(os.path.abspath(__file__)), help="folder of build-plan.json")
    options = arguments.parse_args()
    status, result = run(options)
    folder = os.path.abspath(options.folder)
    if os.path.isdir(folder):
        write_whole(os.path.join(folder, RESULT_FILE), json.dumps(result, indent=1).encode())
    for node in result.get("nodes", []):
        say(f"  {node['name'] or node['index']} ({node['op']}): {node['reason']}")
    say(f"{result['status']}: " + (result.get("reason") or f"{result['target']}, TensorRT {result['machine']['tensorrt']}"))
    if result["status"] == "built":
        say(f"{result['engine']['file']}: {result['engine']['bytes']} bytes in {result['build_s']} s; {RESULT_FILE} has the rest")
    return status


if __name__ == "__main__":
    sys.exit(main())

"""How TensorRT is told what to build: flags, memory, DLA, calibration, profiles, timing cache, from the build plan.

What only some releases have is asked for by name; what all from 8.5 to 11 have is written out.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

LEAST_WORKSPACE_MIB = 64
CALIBRATOR = "int8_calibrator"  # of IBuilderConfig up to TensorRT 10


class WrongPlaceError(Exception):
    """This machine or this folder is not what the plan is for."""


class BuildError(Exception):
    """TensorRT could not build; ``nodes`` says which nodes its parser refused."""

    def __init__(self, message: str, nodes: Optional[List[Dict[str, Any]]] = None) -> None:
        super().__init__(message)
        self.nodes = nodes or []


def creation_flags(trt: Any, plan: Dict[str, Any]) -> int:
    """Flags of the network: explicit batch where it must be said, strong typing where the plan wants it."""
    flags = 0
    for name, wanted in (("EXPLICIT_BATCH", True), ("STRONGLY_TYPED", plan["typing"] == "strong")):
        flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
        if wanted and flag is not None:
            flags |= 1 << int(flag)
        elif wanted and name == "STRONGLY_TYPED":
            raise BuildError(f"the plan wants strong typing, which TensorRT {trt.__version__} does not have")
    return flags


def set_flags(trt: Any, config: Any, plan: Dict[str, Any]) -> None:
    """Precision flags of the plan; a release that has them no more takes the precision from the graph."""
    for name in plan["flags"]:
        flag = getattr(trt.BuilderFlag, name, None)
        if flag is not None:
            config.set_flag(flag)
        elif int(trt.__version__.split(".")[0]) < 11:
            raise BuildError(f"TensorRT {trt.__version__} has no flag {name}")


def attempts(plan: Dict[str, Any]) -> List[Dict[str, int]]:
    """What to try in turn when memory runs out: as planned, then with ever less; at last as little as TensorRT can do with."""
    workspace, level = plan["workspace_mib"], plan["optimization_level"]
    tried = [{"workspace_mib": workspace, "optimization_level": level}]
    for part, most_level in ((2, level), (4, 2), (8, 1), (16, 0)):
        less = max(workspace // part, LEAST_WORKSPACE_MIB) if workspace else 0
        one = {"workspace_mib": less, "optimization_level": min(level, most_level)}
        if one != tried[-1]:
            tried.append(one)
    return tried


def use_calibration(trt: Any, config: Any, path: str) -> None:
    """Scales of int8 tensors from a file, for a graph without Q/DQ; releases from 11 on have no such thing."""
    base: Any = getattr(trt, "IInt8EntropyCalibrator2", None)
    if base is None:
        raise BuildError(f"TensorRT {trt.__version__} takes int8 by Q/DQ alone")

    class Kept(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: Any) -> None:
            return None

        def read_calibration_cache(self) -> bytes:
            with open(path, "rb") as stream:
                return stream.read()

        def write_calibration_cache(self, cache: Any) -> None:
            return None

    setattr(config, CALIBRATOR, Kept())


def use_dla(trt: Any, builder: Any, config: Any, plan: Dict[str, Any]) -> None:
    """Layers on the DLA where it takes them, on the GPU where it does not."""
    core = plan["dla_core"]
    if core >= builder.num_DLA_cores:
        raise WrongPlaceError(f"the plan wants DLA core {core}, and this board has {builder.num_DLA_cores}")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def configure(trt: Any, builder: Any, plan: Dict[str, Any], folder: str, limits: Dict[str, int]) -> Any:
    """The builder's configuration as the plan has it, within the limits of this attempt."""
    config = builder.create_builder_config()
    set_flags(trt, config, plan)
    if plan["calibration"]:
        use_calibration(trt, config, os.path.join(folder, plan["calibration"]))
    if plan["sparsity"]:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if plan["dla_core"] >= 0:
        use_dla(trt, builder, config, plan)
    if limits["workspace_mib"]:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limits["workspace_mib"] << 20)
    if hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = limits["optimization_level"]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if plan["profiles"]:
        profile = builder.create_optimization_profile()
        for sizes in plan["profiles"]:
            profile.set_shape(sizes["input"], tuple(sizes["min"]), tuple(sizes["opt"]), tuple(sizes["max"]))
        config.add_optimization_profile(profile)
    return config


def cache_file(machine: Dict[str, Any]) -> str:
    """A timing cache is good for one TensorRT, one board, one GPU and one power mode."""
    parts = [machine.get(name, "") for name in ("tensorrt", "board", "compute_capability", "gpu", "power_mode")]
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

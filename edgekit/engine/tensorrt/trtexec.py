"""Command lines for trtexec, made only of options that a release has."""

from __future__ import annotations

import shlex

from edgekit.engine.tensorrt.plan import BuildPlan, Profile
from edgekit.engine.tensorrt.rules import Version, has_trtexec_option, knows_trtexec, releases, version_of

_FLAG_OPTIONS = {"FP16": "--fp16", "INT8": "--int8"}


def build_options(plan: BuildPlan) -> list[str]:
    """Options that build the plan's engine and do not run it."""
    release = version_of(plan.tensorrt)
    options = [f"--onnx={plan.model}", f"--saveEngine={plan.engine}", "--timingCacheFile=timing.cache", "--profilingVerbosity=detailed"]
    if plan.workspace_mib:
        options.append(f"--memPoolSize=workspace:{plan.workspace_mib}")
    options.append(f"--builderOptimizationLevel={plan.optimization_level}")
    if plan.typing == "strong":
        options.append("--stronglyTyped")
    options += [_FLAG_OPTIONS[flag] for flag in plan.flags]
    if plan.calibration:
        options.append(f"--calib={plan.calibration}")
    if plan.sparsity:
        options.append("--sparsity=enable")
    if plan.dla_core >= 0:
        options += [f"--useDLACore={plan.dla_core}", "--allowGPUFallback"]
    for name in ("min", "opt", "max"):
        if plan.profiles:
            options.append(f"--{name}Shapes={','.join(_shape(profile, name) for profile in plan.profiles)}")
    options += ["--exportLayerInfo=layers.json", "--skipInference" if _is_known("--skipInference", release) else "--buildOnly"]
    return [option for option in options if _is_known(option, release)]


def time_options(plan: BuildPlan) -> list[str]:
    """Options that run the built engine for ten seconds and keep every time."""
    release = version_of(plan.tensorrt)
    options = [f"--loadEngine={plan.engine}", "--warmUp=1000", "--duration=10", "--useCudaGraph", "--percentile=50,90,99", "--exportTimes=times.json"]
    options += ["--dumpProfile", "--separateProfileRun", "--exportProfile=profile.json"]
    if plan.dla_core >= 0:
        options.append(f"--useDLACore={plan.dla_core}")
    if plan.profiles:
        options.append(f"--shapes={','.join(_shape(profile, 'opt') for profile in plan.profiles)}")
    return [option for option in options if _is_known(option, release)]


def shell_script(plan: BuildPlan) -> str:
    """A POSIX shell script that builds with trtexec alone."""
    lines = " \\\n  ".join(shlex.quote(option) for option in build_options(plan))
    unread = (
        ""
        if knows_trtexec(version_of(plan.tensorrt))
        else f"\n# Options of trtexec after {releases().trtexec_read_up_to} were not read: these are its."
    )
    return f"""#!/bin/sh
# Builds {plan.engine} with trtexec of TensorRT {plan.tensorrt}; build_engine.py does the same and records more.{unread}
set -eu
cd "$(dirname "$0")"
TRTEXEC=${{TRTEXEC:-/usr/src/tensorrt/bin/trtexec}}
exec "$TRTEXEC" \\
  {lines}
"""


def _shape(profile: Profile, which: str) -> str:
    return f"{profile.input}:{'x'.join(str(size) for size in getattr(profile, which))}"


def _is_known(option: str, release: Version) -> bool:
    return has_trtexec_option(option.partition("=")[0], release)

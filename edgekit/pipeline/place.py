"""Where engines are run: the device, and what times taken there say of a target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgekit.device.contract import Device, DeviceFacts
from edgekit.device.shell_facts import BENCHMARK_MODEL
from edgekit.engine.contract import Engine
from edgekit.errors import DeviceError
from edgekit.measure import get_it, why_foreign
from edgekit.plugins import version_of
from edgekit.report import MeasuredOn
from edgekit.target import Target, cpu_features, host_target

RUNTIME_PACKAGES = {
    "onnxruntime": ("onnxruntime",),
    "tflite": ("ai-edge-litert", "tflite-runtime", BENCHMARK_MODEL),
    "tensorrt": ("tensorrt", "trtexec"),
    "tensorrt-rtx": ("tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
}
RTX = "tensorrt-rtx"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where engines are run.

    Attributes:
        device: the machine.
        is_named: whether the user named it; who names a device says what it is.
    """

    device: Device
    is_named: bool

    def foreign(self, target: Target) -> str:
        """Why times taken here say nothing of a target; "" if they do."""
        facts = self.device.facts
        if facts.url == "local" and target.name == host_target(facts.arch, cpu_features()):
            return ""
        return why_foreign(target, facts) or ("" if self.is_named else f"measured on this {facts.arch}, not on a {target.name}")

    def measured_on(self, target: Target | None) -> MeasuredOn:
        """The machine, as a report names it."""
        facts = self.device.facts
        return MeasuredOn(
            device=facts.name,
            arch=facts.arch,
            emulated=facts.emulated,
            cpu=facts.cpu,
            is_local=facts.url == "local",
            is_target=target is not None and not self.foreign(target),
        )


def require_runtimes(runtimes: Iterable[str], bench: Bench) -> None:
    """Whether a device that somebody named has all runtimes that are to run there; an emulated one has what its userland has.

    Raises:
        DeviceError: one is missing; before anything is built, let alone sent.
    """
    facts = bench.device.facts
    if not bench.is_named or facts.emulated or facts.packages is None:
        return
    for runtime in runtimes:
        packages = RUNTIME_PACKAGES.get(runtime, ())
        if packages and not any(package in facts.packages for package in packages):
            raise DeviceError(f"{facts.name}: {lacking(runtime, facts)}", hint=how_to_get(runtime, facts))


def lacking(runtime: str, facts: DeviceFacts) -> str:
    """What a device does not have that runs engines of a runtime."""
    package = RUNTIME_PACKAGES.get(runtime, (runtime,))[0]
    if facts.python:
        return f"{package} is not installed there"
    if not facts.is_python_sought and runtime == "tflite":
        return f"{BENCHMARK_MODEL} = {facts.benchmark_model}: not there, or nobody may run it"
    if not facts.is_python_sought:
        return f"Python was not looked for on it, as {BENCHMARK_MODEL} is named, and so no {package}"
    return f"there is neither Python nor {BENCHMARK_MODEL} on it" if runtime == "tflite" else f"there is no Python on it, and so no {package}"


def how_to_get(runtime: str, facts: DeviceFacts) -> str:
    """What can be done about that, as a hint."""
    if facts.python:
        return f"on the device: {facts.python} -m pip install {RUNTIME_PACKAGES.get(runtime, (runtime,))[0]}"
    if not facts.is_python_sought and runtime != "tflite":
        return f"take {BENCHMARK_MODEL} out of its entry in devices.toml"
    return get_it(facts.url) if runtime == "tflite" else "without Python, tflite engines alone are run, through benchmark_model"


def runs_here(runtime: str) -> bool:
    """Whether this machine's Python has the runtime (it is not imported)."""
    return bool(version_of(*RUNTIME_PACKAGES.get(runtime, (runtime,))))


def why_not_here(engine: Engine, bench: Bench) -> str:
    """Why an engine cannot be run on a device; "" if nothing is known against it."""
    if engine.status != "built":
        return engine.status
    if engine.stand_in is not None:
        return f"no device that edgekit reaches runs {engine.runtime} engines; what their compiler estimates is no latency"
    facts, packages = bench.device.facts, RUNTIME_PACKAGES.get(engine.runs_in, (engine.runs_in,))
    if facts.url == "local" and not runs_here(engine.runs_in):
        return f"{packages[0]} is not installed here"
    if facts.url == "local" and engine.runtime == RTX and (reason := _other_gpu(engine)):
        return reason
    there = facts.packages
    if there is not None and not any(package in there for package in packages):
        return f"{packages[0]} is not installed on {facts.name}" if facts.python else f"{facts.name}: {lacking(engine.runs_in, facts)}"
    return ""


def _other_gpu(engine: Engine) -> str:
    """Why this machine's GPU does not open an engine that was built without one."""
    from edgekit.run.cuda_memory import read_device

    gpu, wanted = read_device(), str(engine.details.get("compute_capability", ""))
    if not gpu:
        return "built, and not opened: there is no NVIDIA GPU here"
    here = gpu["compute_capability"]
    return f"built for compute capability {wanted}, and not opened: the {gpu['gpu']} here has {here}" if here != wanted else ""

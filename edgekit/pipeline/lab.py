"""Devices looked at: whether one can do what builds ask of it, and the target file of its kind."""

from __future__ import annotations

import datetime
import filecmp
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from edgekit import strict
from edgekit.device import Device, open_device
from edgekit.device.inventory import entry_of, is_name
from edgekit.device.probe import Probe, probe
from edgekit.device.shell_facts import BENCHMARK_MODEL
from edgekit.engine.tensorrt.on_board import survey
from edgekit.engine.tensorrt.probe import probed as board_of
from edgekit.errors import DeviceError, StoreError, UsageError
from edgekit.measure import get_it, why_foreign
from edgekit.pipeline.place import RUNTIME_PACKAGES, how_to_get, lacking
from edgekit.run.jetson import parse_l4t
from edgekit.target import Runtime, Target, choose, host_target, read_target, target_files, unsourced

LEAST_DISK_MIB = 200.0  # an engine, its samples in lots of 64 MB, and outputs
LEAST_MEMORY_MIB = 200.0
TRIED_S = 60.0
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        what: in a word or two.
        is_good: False if builds or measurements would fail; None if they would be worse.
        said: what was found.
        hint: what can be done.
    """

    what: str
    is_good: bool | None
    said: str
    hint: str = ""


class Checked(msgspec.Struct, frozen=True):
    """A device and what was found."""

    device: str
    findings: tuple[Finding, ...]

    @property
    def is_good(self) -> bool:
        """Whether nothing stands against it."""
        return all(finding.is_good is not False for finding in self.findings)


def probed(asked: str) -> Probe:
    """What a device tells of itself.

    Args:
        asked: URL or name.

    Raises:
        DeviceError: it does not answer.
    """
    device = open_device(asked)
    try:
        return probe(device)
    finally:
        device.close()


def checked(asked: str) -> Checked:
    """Reach a device, and try all that a measurement asks of it; what fails is a finding.

    Args:
        asked: URL or name; with a name, its target is held against what is there.

    Raises:
        UsageError: there is no such device.
    """
    target = entry_of(asked).target if is_name(asked) else ""
    try:
        device = open_device(asked)
    except DeviceError as error:
        return Checked(asked, (Finding("reached", False, error.message, error.hint),))
    findings = [Finding("reached", True, device.facts.url)]
    try:
        told = probe(device)
        findings += _machine(device, told)
        findings += _kind(device, choose(target).target, told) if target else []
        findings += _three_verbs(device)
    except DeviceError as error:
        findings.append(Finding("works", False, error.message, error.hint))
    finally:
        device.close()
    return Checked(asked, tuple(findings))


def _machine(device: Device, told: Probe) -> Iterator[Finding]:
    if told.python:
        yield Finding("python", True, f"{told.python} ({told.executable})")
    else:
        yield from _benchmark_model(device, told)
    disk = told.disk_free_mib
    yield Finding("disk", disk > LEAST_DISK_MIB, f"{disk:.0f} MiB free", "make room there" if disk <= LEAST_DISK_MIB else "")
    if told.memory_available_mib is not None:
        memory = told.memory_available_mib
        yield Finding("memory", memory > LEAST_MEMORY_MIB, f"{memory:.0f} MiB free", "end what else runs there" if memory <= LEAST_MEMORY_MIB else "")
    if told.governors and told.governors != ("performance",):
        yield Finding("governor", None, ", ".join(told.governors), 'clocks rise and fall: power_mode = "governor:performance" in devices.toml')
    held = [source for source, is_up in told.throttled_now.items() if is_up]
    if held:
        yield Finding("throttled", None, ", ".join(held), "cool it, and give it a power supply that is strong enough")


def _benchmark_model(device: Device, told: Probe) -> Iterator[Finding]:
    """What runs engines where there is no Python."""
    is_sought = device.facts.is_python_sought
    none = "none" if is_sought else f"not looked for, as {BENCHMARK_MODEL} is named"
    yield Finding("python", None, f"{none}: its shell drives it, and TFLite engines alone are run")
    if told.benchmark_model:
        yield Finding(BENCHMARK_MODEL, True, told.benchmark_model)
    elif told.not_executable:
        yield Finding(BENCHMARK_MODEL, False, f"{told.not_executable}: nobody may run it", f"there: chmod +x {told.not_executable}")
    else:
        said = "not there" if is_sought else f"{BENCHMARK_MODEL} = {device.facts.benchmark_model}: not there"
        yield Finding(BENCHMARK_MODEL, False, said, get_it(device.facts.url))


def _kind(device: Device, target: Target, told: Probe) -> Iterator[Finding]:
    foreign = why_foreign(target, msgspec.structs.replace(device.facts, arch=told.arch, features=told.features))
    is_it = None if device.facts.emulated else not foreign
    yield Finding("target", is_it, foreign or target.name, "name another target in devices.toml" if is_it is False else "")
    for runtime in target.runtimes:
        packages = RUNTIME_PACKAGES.get(runtime.name, (runtime.name,))
        found = [f"{package} {told.packages[package]}".strip() for package in packages if package in told.packages]
        is_first = runtime is target.runtimes[0]
        hint = "" if found else how_to_get(runtime.name, device.facts)
        yield Finding(runtime.name, True if found else False if is_first else None, ", ".join(found) or lacking(runtime.name, device.facts), hint)


def _three_verbs(device: Device) -> Iterator[Finding]:
    """Put a file, run a command on it, get it back."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
        one, back = Path(stage, "one"), Path(stage, "back")
        one.write_bytes(os.urandom(100_000))
        there = device.workspace()
        device.push(one, there / "one")
        copied = f"import shutil; shutil.copy({str(there / 'one')!r}, {str(there / 'back')!r})"
        copying = [device.facts.python, "-c", copied] if device.facts.python else ["cp", str(there / "one"), str(there / "back")]
        ran = device.run(copying, timeout_s=TRIED_S)
        if ran.status == 0:
            device.pull(there / "back", back)
        is_same = back.exists() and filecmp.cmp(one, back, shallow=False)
        hint = "" if is_same else "does its disk lose what is written?"
        yield Finding("files", is_same, "go there and come back" if is_same else "do not come back as they went", hint)


def write_target(asked: str, *, name: str = "", like: str = "", out: Path | None = None) -> tuple[Path, Target]:
    """Ask a device what it is, and write the target file of its kind.

    Args:
        asked: URL or name.
        name: of the target; the device's own if empty.
        like: the target to start from; by architecture and features if empty.
        out: the file; ``targets/NAME.toml`` if None.

    Raises:
        DeviceError: it does not answer.
        UsageError: there is no target to start from, or a file of that name stands there.
        StoreError: the file cannot be written.
    """
    told, machine = _told(asked)
    name = name or (out.stem if out else asked if is_name(asked) else re.sub(r"[^\w.-]", "-", told.name).lower())
    file = out or Path("targets", f"{name}.toml")
    if file.exists():
        raise UsageError(f"{file} stands there already", hint="choose another with --out, or remove it")
    text = strict.toml_of(target_of(told, name=name, like=like, asked=asked, machine=machine))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}", hint="choose another with --out") from error
    return file, read_target(file)


def _told(asked: str) -> tuple[Probe, dict[str, Any]]:
    """What a device says of itself and, where it has TensorRT, what decides engines there."""
    device = open_device(asked)
    try:
        told = probe(device)
        has_tensorrt = bool(told.l4t or {"tensorrt", "trtexec"} & told.packages.keys())
        return told, survey(device) if has_tensorrt else {}
    finally:
        device.close()


def target_of(told: Probe, *, name: str, like: str = "", asked: str = "", machine: Mapping[str, Any] = NOTHING) -> Target:
    """The target of a device's kind: what it tells of itself, laid on a target that is known.

    Args:
        told: what it says.
        name: of the target.
        like: the target to start from; by architecture and features if empty.
        asked: how the device was reached, for the sources.
        machine: what decides TensorRT's engines there (:func:`edgekit.run.board.describe_machine`), if it has TensorRT.

    Raises:
        UsageError: there is no target to start from.
    """
    read = f"read on {asked or told.name}, {datetime.datetime.now().astimezone().date().isoformat()}"
    if machine.get("tensorrt") and machine.get("compute_capability"):
        shipped = [choose(like).target] if like else [read_target(path) for path in target_files().values()]
        base = board_of(machine, shipped, name=name, read=f"{read}: TensorRT, the CUDA driver, nvpmodel and jetson_clocks there")
    else:
        base = _base(told, like)
    known = {feature for path in target_files().values() for feature in read_target(path).features}
    is_android = told.os.startswith("Android")
    told_facts = {
        "board": (told.model, "getprop ro.product.model" if is_android else "/proc/device-tree/model"),
        "os": (told.os, "getprop ro.build.version.release" if is_android else "/etc/os-release"),
        "kernel": (told.kernel, "uname -r"),
        "python": (told.python, "sys.version"),
        "governors": (list(told.governors), "cpufreq/scaling_governor"),
        "l4t": (parse_l4t(told.l4t) or told.l4t, "/etc/nv_tegra_release"),
    }
    facts = {key: value for key, (value, _) in told_facts.items() if value}
    sources = {key: f"{read}: {told_facts[key][1]}" for key in facts}
    sources |= {
        "arch": f"{read}: uname -m",
        "cpu": f"{read}: /proc/cpuinfo",
        "features": f"{read}: /proc/cpuinfo",
        "ram_mib": f"{read}: /proc/meminfo",
    }
    runtimes = []
    for runtime, package in _installed(base, told):
        if not told.packages[package]:  # it does not say
            runtimes.append(runtime)
            continue
        runtimes.append(msgspec.structs.replace(runtime, version=told.packages[package]))
        sources[f"{runtime.name}.version"] = f"{read}: package {package}"
    target = msgspec.structs.replace(
        base,
        name=name,
        title=told.model or f"{told.cpu or told.arch}, {told.os}",
        cpu=f"{told.cpus}x {told.cpu}" if told.cpus and told.cpu else told.cpu,
        features=tuple(sorted(known & set(told.features))),
        ram_mib=round(told.memory_mib) if told.memory_mib else None,
        runtimes=tuple(runtimes) or base.runtimes,
        facts={**base.facts, **facts},
        sources={**base.sources, **sources},
        aliases=(),
    )
    idle = {found[1] for fault in unsourced(target) if (found := re.fullmatch(r"sources: (.*) is no fact of .*", fault))}
    return msgspec.structs.replace(target, sources={key: text for key, text in target.sources.items() if key not in idle})


def _base(told: Probe, like: str) -> Target:
    if like:
        base = choose(like).target
        if base.arch != told.arch:
            raise UsageError(
                f"--like {like}: {base.name} is {base.arch}, the device {told.arch}", hint="`edgekit targets list` shows the architectures"
            )
        return base
    if told.l4t:
        raise UsageError(
            f"{told.name} is a Jetson ({told.model or told.l4t}): which kind is not guessed",
            hint="--like jetson-orin-nano-jp62, or another of `edgekit targets list`",
        )
    name = "android-arm64" if told.os.startswith("Android") and told.arch == "aarch64" else host_target(told.arch, frozenset(told.features))
    if name not in target_files() or choose(name).target.arch != told.arch:
        raise UsageError(
            f"{told.name} is {told.arch}, and no target is of that architecture", hint="--like NAME, or write one by hand: CONTRIBUTING.md"
        )
    return choose(name).target


def _installed(base: Target, told: Probe) -> Iterator[tuple[Runtime, str]]:
    """The base's runtimes that are there, each with the package that it came in."""
    for runtime in base.runtimes:
        found = [package for package in RUNTIME_PACKAGES.get(runtime.name, (runtime.name,)) if package in told.packages]
        if found:
            yield runtime, found[0]

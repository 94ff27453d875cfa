"""An environment with the runtimes on a device, from its network or from wheels where it has none."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgekit.device import Device, open_device
from edgekit.device.attended import VENV
from edgekit.device.inventory import ADDRESSED, entry_of, is_name
from edgekit.device.probe import Probe, probe
from edgekit.device.travel import python_of
from edgekit.errors import DeviceError, UsageError
from edgekit.pipeline.place import RUNTIME_PACKAGES
from edgekit.target import choose
from edgekit.watch import SILENT, Watcher

VENV_S = 600.0
INSTALL_S = 1800.0
WHEELS_BY_PIP = ("onnxruntime", "tflite")  # NVIDIA's TensorRT comes with JetPack


class Ready(msgspec.Struct, frozen=True):
    """What is on the device now.

    Attributes:
        device: its name.
        python: the environment's interpreter.
        packages: versions of the runtimes there.
    """

    device: str
    python: str
    packages: dict[str, str]


def set_up(asked: str, *, runtimes: tuple[str, ...] = (), wheels: Path | None = None, watcher: Watcher = SILENT) -> Ready:
    """Make the environment, or bring the one that is there up to date.

    Args:
        asked: URL or name of a device behind SSH.
        runtimes: that are installed; if empty, those of the device's target in ``devices.toml`` that pip has.
        wheels: folder of wheels to install from, for a device without network.
        watcher: told about progress.

    Raises:
        UsageError: no runtime is named, or pip has none of them.
        DeviceError: it does not answer, or the environment cannot be made.
    """
    packages = [RUNTIME_PACKAGES[name][0] for name in _chosen(asked, runtimes)]
    if wheels is not None and not any(wheels.glob("*.whl")):
        raise UsageError(f"{wheels}: no wheels are there", hint="pip download --only-binary=:all: -d DIR PACKAGE, for the device's platform")
    device = open_device(asked)
    try:
        if device.facts.url.partition(":")[0] not in ADDRESSED:
            raise UsageError(f"{asked}: this is for devices behind SSH or adb", hint="here: pip install 'edgekit[tflite]'")
        python_of(device)
        watcher.begin(f"{device.facts.name}: {', '.join(packages)}")
        python = _environment(device)
        _install(device, python, packages, wheels)
        watcher.end()
    finally:
        device.close()
    return _ready(asked, python)


def _environment(device: Device) -> str:
    """Path of the environment's interpreter; an environment that is there stays."""
    home = _ran(device, ["sh", "-c", 'printf %s "$HOME"'], "its home is not known", VENV_S)
    seen = """$(python3 -c 'import importlib.util as u; print("--system-site-packages" if u.find_spec("tensorrt") else "")')"""  # JetPack's
    make = f'[ -x "$1/bin/python" ] || {{ rm -rf "$1"; python3 -m venv {seen} "$1"; }}'
    hint = "on the device: sudo apt-get install python3-venv"
    _ran(device, ["sh", "-c", make, "sh", f"{home}/{VENV}"], "the environment cannot be made", VENV_S, hint=hint)
    return f"{home}/{VENV}/bin/python"


def _install(device: Device, python: str, packages: list[str], wheels: Path | None) -> None:
    source: list[str] = []
    if wheels is not None:
        there = device.workspace() / "wheels"
        device.push(wheels, there)
        source = ["--no-index", "--find-links", str(there)]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", *source, *packages]
    _ran(device, install, f"{', '.join(packages)} cannot be installed", INSTALL_S, hint=_by_hand(probe(device), packages))


def _chosen(asked: str, runtimes: tuple[str, ...]) -> tuple[str, ...]:
    entry = entry_of(asked) if is_name(asked) else None
    if entry is not None and entry.python:
        raise UsageError(f"{asked}: devices.toml names {entry.python}, which would be taken instead", hint="take `python` out there first")
    if not runtimes and entry is not None and (target := entry.target):
        runtimes = tuple(one.name for one in choose(target).target.runtimes if one.name in WHEELS_BY_PIP)
    if not runtimes:
        raise UsageError(f"{asked}: no runtime is named", hint="--runtime tflite, or --runtime onnxruntime")
    for name in runtimes:
        if name not in WHEELS_BY_PIP:
            raise UsageError(f"--runtime {name}: pip has no wheels of it for devices", hint=f"one of {', '.join(WHEELS_BY_PIP)}")
    return runtimes


def _ready(asked: str, python: str) -> Ready:
    """Ask anew: a connection takes the environment's interpreter from now on."""
    device = open_device(asked)
    try:
        told = probe(device)
    finally:
        device.close()
    return Ready(device=device.facts.name, python=python, packages=told.packages)


def _ran(device: Device, argv: list[str], otherwise: str, timeout_s: float, *, hint: str = "edgekit devices check") -> str:
    ran = device.run(argv, timeout_s=timeout_s)
    if ran.status:
        last = (ran.stderr + ran.stdout).decode(errors="replace").strip().splitlines()[-1:]
        raise DeviceError(f"{device.facts.name}: {otherwise}: {''.join(last) or f'status {ran.status}'}", hint=hint)
    return ran.stdout.decode(errors="replace")


def _by_hand(told: Probe, packages: list[str]) -> str:
    """How wheels are got on a machine with network. Source: PEP 600, manylinux_X_Y is glibc X.Y; a wheel for an older one will do."""
    version = ".".join(told.python.split(".")[:2])
    tags = " ".join(f"--platform manylinux_2_{minor}_{told.arch}" for minor in (28, 27, 17))
    download = f"pip download --only-binary=:all: --python-version {version} {tags} -d wheels {' '.join(packages)}"
    return f"without network there: {download}; then --wheels wheels"

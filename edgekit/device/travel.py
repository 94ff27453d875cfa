"""Modules of the room that travels, as one script: what runs on a device without being put there first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

import edgekit.run
from edgekit.device.contract import Device
from edgekit.errors import DeviceError

T = TypeVar("T")

ROOM = Path(edgekit.run.__file__).parent

PROBE = ("errors", "state", "trtexec_path", "probe")
ATTENDANT = (*PROBE, "frames", "lease", "home", "depot", "attendant")

# Python 3.8; the sources stand in the script itself, so that nothing is written on the device.
_SCRIPT = """
import importlib.util, sys
SOURCES = {sources!r}
class Room:
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self, is_package=name == "edgekit_run") if name in SOURCES else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Room())
from edgekit_run.{module} import {function}
{function}({arguments})
"""


def script_of(modules: Sequence[str], call: str, arguments: str = "") -> bytes:
    """A script that has modules of :mod:`edgekit.run` within it and calls a function of one.

    Args:
        modules: all that are imported, without ``edgekit_run.``.
        call: ``MODULE.FUNCTION``.
        arguments: as written in Python.
    """
    sources = {"edgekit_run": "", **{f"edgekit_run.{name}": (ROOM / f"{name}.py").read_text(encoding="utf-8") for name in modules}}
    module, _, function = call.partition(".")
    return _SCRIPT.format(sources=sources, module=module, function=function, arguments=arguments).encode()


def python_of(device: Device) -> str:
    """The interpreter there.

    Raises:
        DeviceError: it has none.
    """
    if not device.facts.python and not device.facts.is_python_sought:
        raise DeviceError(
            f"{device.facts.name}: this needs Python, which was not looked for on it, as benchmark_model is named",
            hint="take benchmark_model out of its entry in devices.toml; engines alone are measured without Python",
        )
    if not device.facts.python:
        raise DeviceError(
            f"{device.facts.name}: there is no Python on it, which this needs",
            hint='install Python 3.8 or newer there, or name one: python = "/path" in devices.toml; engines alone are measured without',
        )
    return device.facts.python


def answer_of(device: Device, script: bytes, kind: type[T], *, timeout_s: float) -> T:
    """What a script prints as JSON that runs under a device's Python; nothing is written there by this.

    Raises:
        DeviceError: the device has no Python that will do, or what it prints is something else.
    """
    name, python = device.facts.name, python_of(device)
    ran = device.run([python, "-"], timeout_s=timeout_s, stdin=script)
    if ran.status:
        last = ran.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DeviceError(f"{name}: {python} ended with status {ran.status}: {''.join(last)}", hint="it takes Python 3.8 or newer")
    try:
        return msgspec.json.decode(ran.stdout, type=kind)
    except msgspec.DecodeError as error:
        raise DeviceError(f"{name}: what it says cannot be read: {error}", hint=f"does {python} print something else?") from error

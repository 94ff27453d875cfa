"""Modules of the room that travels, as one script: what runs on a device without being put there first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import edgekit.run

ROOM = Path(edgekit.run.__file__).parent

PROBE = ("errors", "state", "probe")
ATTENDANT = (*PROBE, "frames", "lease", "depot", "attendant")

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

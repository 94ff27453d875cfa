"""Queries that trtexec runs, one process each: inputs from files, outputs and times as it exports them.

This lies in the package beside the builder script, too, where modules are found without a package's name.

Sources: samples/common/sampleReporting.cpp of github.com/NVIDIA/TensorRT for the exported times and outputs (``exportJSONTrace``,
``exportJSONOutput``); sampleOptions.cpp for ``--loadInputs``.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from typing import Any, Dict, List, Optional, Sequence

try:
    from . import trtexec_output
except ImportError:
    import trtexec_output  # type: ignore[import-not-found,no-redef]

CODES = {"float16": "e", "float32": "f", "float64": "d", "int8": "b", "uint8": "B", "int32": "i", "int64": "q", "bool": "?"}
"""What :mod:`struct` calls the types that an engine's outputs have; it has no word for bfloat16."""

_OPENING = ("--loadEngine", "--shapes", "--useDLACore")  # what of a plan's options for timing says how its engine is opened


class CannotAskError(Exception):
    """trtexec does not answer; says why."""


def run_plan(trtexec: str, plan: Dict[str, Any], folder: str, load: Dict[str, float]) -> Dict[str, Any]:
    """Time the engine of a build plan, and have it answer: ``inputs/SET/PORT.bin`` to ``outputs/SET/PORT.bin``, raw bytes as the plan's ports say.

    Args:
        trtexec: the program.
        plan: ``build-plan.json``.
        folder: of the package.
        load: see :func:`times`.

    Returns:
        ``latencies_ns`` of the first set of inputs, and how many were ``answered``.

    Raises:
        CannotAskError: trtexec fails, or lacks an output.
    """
    argv = [trtexec, *(one for one in plan["trtexec"]["time"] if one.partition("=")[0] in _OPENING)]
    inputs = os.path.join(folder, "inputs")
    sets = sorted(name for name in os.listdir(inputs) if os.path.isdir(os.path.join(inputs, name))) if os.path.isdir(inputs) else []
    feeds = [load_option({port["name"]: "inputs/%s/%s.bin" % (name, port["name"]) for port in plan["inputs"]}) for name in sets]
    rows = times([*argv, *next(iter(feeds), [])], "query-times.json", load, folder)
    for name, feed in zip(sets, feeds):
        told = {one["name"]: one for one in answer([*argv, *feed], "query-outputs.json", folder)}
        os.makedirs(os.path.join(folder, "outputs", name), exist_ok=True)
        for port in plan["outputs"]:
            if port["name"] not in told:
                raise CannotAskError("the engine has no output %s; it has %s" % (port["name"], ", ".join(told)))
            with open(os.path.join(folder, "outputs", name, port["name"] + ".bin"), "wb") as stream:
                stream.write(raw(told[port["name"]], port["dtype"]))
    return {"latencies_ns": [round(row["latencyMs"] * 1e6) for row in rows], "answered": len(sets)}


def load_option(files: Dict[str, str]) -> List[str]:
    """The option by which a query's inputs come from files of raw values, by input name; none where there are no files."""
    named = ",".join("'%s':'%s'" % one for one in files.items())
    return ["--loadInputs=" + named] if named else []


def answer(argv: Sequence[str], out: str, folder: Optional[str] = None) -> List[Dict[str, Any]]:
    """The outputs of one query: ``name``, ``dimensions`` as ``1x4``, ``values`` to six digits.

    Args:
        argv: trtexec, the engine and the inputs.
        out: file that it writes.
        folder: where it runs; paths are relative to it.

    Raises:
        CannotAskError: it fails.
    """
    ask([*argv, "--iterations=1", "--duration=0", "--warmUp=0", "--exportOutput=" + out], folder)
    return exported(os.path.join(folder or "", out))


def times(argv: Sequence[str], out: str, load: Dict[str, float], folder: Optional[str] = None) -> List[Dict[str, Any]]:
    """The times of single queries, copies to and from the GPU within them: milliseconds under ``latencyMs`` and more.

    Args:
        argv: trtexec, the engine and the inputs.
        out: file that it writes.
        load: ``warmup_s``, ``duration_s`` and ``queries`` at least.
        folder: where it runs; paths are relative to it.

    Raises:
        CannotAskError: it fails.
    """
    asked = ["--warmUp=%d" % (load["warmup_s"] * 1000), "--duration=%d" % max(1, load["duration_s"]), "--iterations=%d" % load["queries"]]
    ask([*argv, *asked, "--exposeDMA", "--exportTimes=" + out], folder)  # exposeDMA: no query overlaps another
    return exported(os.path.join(folder or "", out))


def ask(argv: Sequence[str], folder: Optional[str] = None) -> str:
    """Run trtexec to its end; what it printed.

    Raises:
        CannotAskError: it fails, with the last error that it printed.
    """
    ran = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = ran.stdout.decode(errors="replace")
    if ran.returncode:
        raise CannotAskError("trtexec ended with status %d: %s" % (ran.returncode, trtexec_output.last_error(text)))
    return text


def exported(path: str) -> List[Dict[str, Any]]:
    """A file of trtexec's; C++ writes what is not finite as JSON does not.

    Raises:
        CannotAskError: there is none, or it says nothing.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            rows: List[Dict[str, Any]] = json.loads(
                re.sub(r"(?<=[\s,\[-])(nan|inf)\b", lambda one: {"nan": "NaN", "inf": "Infinity"}[one.group(1)], stream.read())
            )
    except (OSError, ValueError) as error:
        raise CannotAskError("trtexec wrote no %s that can be read: %s" % (os.path.basename(path), error)) from error
    if not rows:
        raise CannotAskError("trtexec wrote an empty %s" % os.path.basename(path))
    return rows


def raw(told: Dict[str, Any], dtype: str) -> bytes:
    """The values of an exported output as an engine has them in memory.

    Args:
        told: the output.
        dtype: numpy's name of its element type, which trtexec does not tell.

    Raises:
        CannotAskError: there is no such type here.
    """
    if dtype not in CODES:
        raise CannotAskError("%s is of type %s, and trtexec's numbers cannot be made such" % (told["name"], dtype))
    values = told["values"] if dtype.startswith("float") else [round(value) for value in told["values"]]
    return struct.pack("=%d%s" % (len(values), CODES[dtype]), *values)

"""The first bytes of a TensorRT engine: is it one, is it whole, and which TensorRT made it.

A plan of another release or of another GPU ends the process that opens it, or is refused without a word of what would be
right. What its header says is asked before: magic, size, version; what the builder wrote beside it says the board.

Source: samples/common/sampleEngines.cpp (printPlanVersion) of github.com/NVIDIA/TensorRT reads the magic ``ftrt`` and four
bytes of version from byte 24 on of plans of TensorRT 8.6 and newer. TensorRT-RTX 1.7.1 writes ``vtrt`` in the same place and
the whole size in bytes 16 to 23, read from six engines.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any, Dict, List

MAGIC = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}
HEADER_BYTES = 32
RESULT_FILE = "build-result.json"


class NotAnEngineError(Exception):
    """The file is no TensorRT engine, or not all of one."""


def read_header(path: str) -> Dict[str, Any]:
    """What an engine's file says of itself.

    Returns:
        ``made_by`` (``TensorRT`` or ``TensorRT-RTX``), ``version`` ("" where the file says none), ``bytes`` of the file,
        ``claimed_bytes`` (None where that is not known).

    Raises:
        NotAnEngineError: it is none, or cut off.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        head = stream.read(HEADER_BYTES)
    made_by = MAGIC.get(head[:4])
    if made_by is None:
        raise NotAnEngineError("%s: no TensorRT engine: it begins with %r" % (path, head[:4]))
    if len(head) < HEADER_BYTES:
        raise NotAnEngineError("%s: cut off after %d bytes" % (path, size))
    claimed = struct.unpack("<Q", head[16:24])[0] if made_by == "TensorRT-RTX" else None
    if claimed is not None and claimed != size:
        raise NotAnEngineError("%s: cut off: %d of %d bytes are there" % (path, size, claimed))
    version = head[24:28]
    return {"made_by": made_by, "version": ".".join(str(part) for part in version) if any(version) else "", "bytes": size, "claimed_bytes": claimed}


def why_not_here(path: str, machine: Dict[str, Any]) -> List[str]:
    """Why an engine must not be opened on this machine; empty if nothing is known against it.

    Args:
        path: of the engine; ``build-result.json`` beside it, if there is one, says where it was built.
        machine: ``tensorrt`` (version), ``made_by`` (whose version that is, TensorRT if missing), ``compute_capability``, ``gpu``;
            what is missing or empty is not compared.
    """
    try:
        header = read_header(path)
    except (OSError, NotAnEngineError) as error:
        return [str(error)]
    own = machine.get("made_by", "TensorRT")
    if header["made_by"] != own:
        return ["%s: an engine of %s, and this machine has %s" % (path, header["made_by"], own)]
    found = []
    here, made = str(machine.get("tensorrt", "")), header["version"]
    if here and made and _tells_version(here, own) and not _same_release(here, made):
        found.append("%s: built by %s %s, and this machine has %s" % (path, own, made, here))
    header["told_apart"] = bool(found)
    return found + _built_elsewhere(path, header, machine)


def _tells_version(here: str, own: str) -> bool:
    """Plans tell their version from TensorRT 8.6 on: what 8.5 and older wrote in its place means something else."""
    numbers = [int(part) for part in here.split(".")[:2] if part.isdigit()]
    return own != "TensorRT" or numbers >= [8, 6]


def _same_release(here: str, made: str) -> bool:
    """Only equal versions open each other's plans; a package's version may leave the build number out."""
    one, other = here.split("."), made.split(".")
    known = min(len(one), len(other))
    return one[:known] == other[:known]


def _built_elsewhere(path: str, header: Dict[str, Any], machine: Dict[str, Any]) -> List[str]:
    try:
        with open(os.path.join(os.path.dirname(path) or ".", RESULT_FILE), encoding="utf-8") as stream:
            result = json.load(stream)
    except (OSError, ValueError):
        return []
    if not isinstance(result, dict) or result.get("status") != "built":
        return []
    found, built_on = [], result.get("machine", {})
    here, made = str(machine.get("tensorrt", "")), str(built_on.get("tensorrt", ""))
    if here and made and not _same_release(here, made) and not header["told_apart"]:
        found.append("%s: built with TensorRT %s, and this machine has %s" % (path, made, here))
    size = result.get("engine", {}).get("bytes")
    if size is not None and size != header["bytes"]:
        found.append("%s: has %d bytes, %d were built" % (path, header["bytes"], size))
    for fact, word in (("compute_capability", "compute capability"), ("gpu", "GPU"), ("board", "board")):
        there, here = built_on.get(fact, ""), machine.get(fact, "")
        if there and here and there != here:
            found.append("%s: built on %s %s, and this one is %s" % (path, word, there, here))
    return found

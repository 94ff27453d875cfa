"""Tensors as plain bytes, and files of them: what crosses between host, device and the runtimes' own arrays.

A file of tensors is two: ``STEM.bin`` holds the raw values, each tensor at a multiple of 64 bytes; ``STEM.json`` says where
each one lies and what it is. Neither needs numpy.
"""

from __future__ import annotations

import json
import mmap
import os
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Union

from .errors import RunError

Buffer = Union[bytes, bytearray, memoryview]
ALIGNMENT = 64  # cache line, and the widest vector load of any processor we meet


class Tensor(NamedTuple):
    """One array: name of its port, numpy's name of its element type, shape, values in C order and native byte order."""

    name: str
    dtype: str
    shape: Sequence[int]
    data: Buffer


def write_tensors(stem: str, sets: Iterable[Sequence[Tensor]]) -> int:
    """Write sets of tensors (all inputs, or all outputs, of one query each) to ``STEM.bin`` and ``STEM.json``.

    Returns:
        Bytes of values written.
    """
    index: List[List[Dict[str, Any]]] = []
    position = 0
    with open(stem + ".bin", "wb") as stream:
        for tensors in sets:
            entries = []
            for tensor in tensors:
                size = stream.write(tensor.data)
                entries.append({"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "offset": position, "bytes": size})
                padding = -size % ALIGNMENT
                stream.write(bytes(padding))
                position += size + padding
            index.append(entries)
    with open(stem + ".json", "w", encoding="utf-8") as stream_json:
        json.dump({"sets": index}, stream_json)
    return position


def read_tensors(stem: str) -> List[List[Tensor]]:
    """The sets of tensors of ``STEM.bin``; their values stay on disk, mapped into memory, until they are looked at.

    Raises:
        RunError: a file is missing or cut short.
    """
    try:
        with open(stem + ".json", encoding="utf-8") as stream_json:
            index = json.load(stream_json)["sets"]
        view = _mapped(stem + ".bin")
    except (OSError, ValueError, KeyError) as error:
        raise RunError("file", "%s: cannot be read: %s" % (os.path.basename(stem), error)) from error
    sets = []
    for entries in index:
        tensors = []
        for entry in entries:
            start, size = entry["offset"], entry["bytes"]
            if start + size > len(view):
                raise RunError("file", "%s.bin: cut short: %d bytes" % (os.path.basename(stem), len(view)))
            tensors.append(Tensor(entry["name"], entry["dtype"], tuple(entry["shape"]), view[start : start + size]))
        sets.append(tensors)
    return sets


def _mapped(path: str) -> memoryview:
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:  # an empty file cannot be mapped
            return memoryview(b"")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))

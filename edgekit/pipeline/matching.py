"""Ports of several files that stand for the same tensors: by name, else by position, with channels where each file has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from edgekit.engine.contract import Engine, Port
from edgekit.engine.tflite.file import TfliteFile
from edgekit.errors import UsageError
from edgekit.model import Layout

_CHANNELS = (1, 3, 4)
_ALONE = "leave out --samples, --seed and --latency to compare what is in the files"
_OPPOSITE: dict[Layout, Layout] = {"nchw": "nhwc", "nhwc": "nchw", "": ""}


@dataclass(frozen=True, slots=True)
class File:
    """A file's record, what it holds, and what messages call it."""

    name: str
    engine: Engine
    found: TfliteFile


def matched(files: Sequence[File]) -> tuple[list[Engine], tuple[str, ...]]:
    """The records of all files with the first's names for their ports, and what had to be turned for that, in sentences.

    Raises:
        UsageError: a file has other ports than the first; all of them in one line.
    """
    first = msgspec.structs.replace(files[0].engine, inputs=tuple(map(_laid_out, files[0].engine.inputs)))
    records, notes = [], []
    for file in files[1:]:
        inputs, moved = _ports(first.inputs, file.engine.inputs, _called(files[0], file, "input"), f"{file.name}: inputs")
        outputs, turned = _ports(first.outputs, file.engine.outputs, _called(files[0], file, "output"), f"{file.name}: outputs")
        records.append(msgspec.structs.replace(file.engine, inputs=inputs, outputs=outputs))
        first = msgspec.structs.replace(first, inputs=_faced(first.inputs, inputs), outputs=_faced(first.outputs, outputs))
        notes += [f"{file.name}: {name} has its channels elsewhere, and was turned" for name in (*moved, *turned)]
    return [first, *records], tuple(notes)


def _laid_out(port: Port) -> Port:
    """The port of a picture, its layout told by where three channels are if the record does not say."""
    if port.layout or len(port.shape) != 4:
        return port
    is_last, is_second = port.shape[3] in _CHANNELS, port.shape[1] in _CHANNELS
    layout: Layout = "" if is_last == is_second else "nhwc" if is_last else "nchw"
    return msgspec.structs.replace(port, layout=layout)


def _called(first: File, one: File, kind: str) -> dict[str, str]:
    """For each port of a file, the first's of the same name: by the tensors, else by what the signatures call them, else by position."""
    ours, theirs = (tuple(port.name for port in getattr(held.engine, f"{kind}s")) for held in (first, one))
    if set(ours) == set(theirs):
        return {name: name for name in theirs}
    names, others = (getattr(held.found, f"{kind}_names") for held in (first, one))
    if set(names) == set(others) and len(names) == len(ours) == len(theirs):
        own = dict(zip(names, ours, strict=True))
        return {name: own[called] for name, called in zip(theirs, others, strict=True)}
    return dict(zip(theirs, ours, strict=False))


def _ports(ours: tuple[Port, ...], theirs: tuple[Port, ...], called: dict[str, str], what: str) -> tuple[tuple[Port, ...], list[str]]:
    """A file's ports under the first's names, and the names of those whose channels are elsewhere."""
    if len(ours) != len(theirs):
        raise UsageError(f"{what}: {len(theirs)}, the first file has {len(ours)}", hint=_ALONE)
    own = {port.name: port for port in ours}
    made, moved, faults = [], [], []
    for port in theirs:
        mine = own[called[port.name]]
        layout = _facing(mine, port)
        if layout is None:
            faults.append(f"{port.name} is {_sizes(port)}, {mine.name} of the first file {_sizes(mine)}")
            continue
        if layout != mine.layout:
            moved.append(port.name)
        made.append(msgspec.structs.replace(port, name=mine.name, layout=layout))
    if faults:
        raise UsageError(f"{what}: " + "; ".join(faults), hint=_ALONE)
    return tuple(made), moved


def _facing(mine: Port, port: Port) -> Layout | None:
    """The layout of a port that stands for the same tensor as another; None if it cannot."""
    if _fits(mine.shape, port.shape):
        return mine.layout
    if len(mine.shape) != 4 or len(port.shape) != 4:
        return None
    batch, *rest = mine.shape
    if mine.layout != "nchw" and _fits((batch, rest[2], rest[0], rest[1]), port.shape):
        return "nchw"
    return "nhwc" if mine.layout != "nhwc" and _fits((batch, rest[1], rest[2], rest[0]), port.shape) else None


def _faced(ours: tuple[Port, ...], theirs: tuple[Port, ...]) -> tuple[Port, ...]:
    """The first file's ports, their layout settled by a file that has it the other way round."""
    others = {port.name: port.layout for port in theirs}
    return tuple(port if port.layout else msgspec.structs.replace(port, layout=_OPPOSITE[others[port.name]]) for port in ours)


def _fits(ours: Sequence[int | str], theirs: Sequence[int | str]) -> bool:
    """Whether shapes are alike; a size that either leaves open fits any."""
    return len(ours) == len(theirs) and all(one == other or str in (type(one), type(other)) for one, other in zip(ours, theirs, strict=True))


def _sizes(port: Port) -> str:
    return f"{port.dtype} {'x'.join(map(str, port.shape))}"

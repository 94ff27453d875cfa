"""Files and folders over a connection, by what is in them: what arrived stays, and the next connection goes on behind it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from edgekit.device.connection import Answer, Connection
from edgekit.errors import DeviceError
from edgekit.run.depot import sha256_of
from edgekit.run.frames import CHUNK_BYTES

HASH_S = 600.0  # the device hashes a file of gigabytes
READ_S = 60.0
SEND_S = 3600.0

Ask = Callable[[Connection, dict[str, Any], float], Answer]


class Parcel(NamedTuple):
    """What is to be put on a device.

    Attributes:
        folders: to be made there.
        files: ``path``, ``sha``, ``mode`` of each.
        pieces: size in bytes of what is in them, by SHA-256.
        sources: where that is here, by SHA-256.
    """

    folders: list[str]
    files: list[dict[str, Any]]
    pieces: dict[str, int]
    sources: dict[str, Path]


def parcel_of(local: Path, remote: PurePosixPath) -> Parcel:
    """A file or folder, hashed.

    Raises:
        OSError: it cannot be read.
    """
    parcel = Parcel([], [], {}, {})
    found = [local, *sorted(local.rglob("*"))] if local.is_dir() else [local]
    for path in found:
        there = str(remote / path.relative_to(local)) if path != local else str(remote)
        if path.is_dir():
            parcel.folders.append(there)
            continue
        sha = sha256_of(str(path))
        parcel.files.append({"path": there, "sha": sha, "mode": path.stat().st_mode & 0o777})
        parcel.pieces[sha] = path.stat().st_size
        parcel.sources[sha] = path
    return parcel


def send(connection: Connection, parcel: Parcel, ask: Ask) -> None:
    """Send what the device lacks, and have all of it put in place.

    Raises:
        LostError: the connection broke; the same call goes on where this one stopped.
        DeviceError: the device refuses, such as for want of room.
    """
    for _ in range(2):  # again if a piece that was begun earlier is not what its hash says
        have = ask(connection, {"op": "offer", "pieces": parcel.pieces}, HASH_S)[0]["have"]
        for sha, size in parcel.pieces.items():
            if have[sha] < size or not size:
                _send_rest(connection, sha, parcel.sources[sha], have[sha])
        wrong = ask(connection, {"op": "place", "folders": parcel.folders, "files": parcel.files}, HASH_S)[0]["wrong"]
        if not wrong:
            return
    names = ", ".join(parcel.sources[sha].name for sha in wrong)
    raise DeviceError(f"{names} arrived as something else, twice", hint="was it written to meanwhile? Else the device's disk or memory is failing")


def _send_rest(connection: Connection, sha: str, source: Path, offset: int) -> None:
    with source.open("rb") as stream:
        stream.seek(offset)
        while True:
            chunk = stream.read(CHUNK_BYTES)
            if not chunk and offset:
                return
            connection.tell({"op": "chunk", "sha": sha, "offset": offset}, chunk)
            offset += len(chunk)
            if not chunk:
                return


def fetch(connection: Connection, remote: PurePosixPath, local: Path, ask: Ask) -> None:
    """Get a file; what came of it before lies beside it, under a name with its hash.

    Raises:
        LostError: the connection broke; the same call goes on where this one stopped.
        DeviceError: it is not there, or was written to meanwhile.
        OSError: it cannot be written here.
    """
    told, _ = ask(connection, {"op": "look", "path": str(remote)}, HASH_S)
    part = local.with_name(f".{local.name}.{told['sha'][:16]}.part")
    with part.open("ab") as stream:
        while stream.tell() < told["bytes"]:
            header = {"op": "read", "path": str(remote), "offset": stream.tell(), "bytes": told["bytes"] - stream.tell()}
            content = ask(connection, header, READ_S)[1]
            if not content:
                break
            stream.write(content)
    if sha256_of(str(part)) != told["sha"]:
        part.unlink()
        raise DeviceError(f"{remote.name} was written to while it was fetched", hint="does another program use that file?")
    os.replace(part, local)

"""A Model: an ONNX file nobody changes any more, with what is known of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from edgekit.errors import StoreError
from edgekit.model.signature import Signature

MODEL_FILE = "model.onnx"
RECORD_FILE = "model.json"


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one step did to a model.

    Attributes:
        name: the pass or frontend, such as ``fuse``.
        options: its fields, as they were.
        tools: versions of the packages that decided the result.
        did: what changed, in numbers and words a report can show. No times: the same step gives the same bytes.
    """

    name: str
    options: dict[str, Any] = {}
    tools: dict[str, str] = {}
    did: dict[str, Any] = {}


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON beside a model file."""

    signature: Signature
    sha256: str
    bytes: int
    history: tuple[Step, ...] = ()


class Model(msgspec.Struct, frozen=True):
    """An ONNX file in a folder of its own; see :func:`read_model` and :func:`write_model`."""

    folder: Path
    signature: Signature
    sha256: str
    bytes: int
    history: tuple[Step, ...] = ()

    @property
    def path(self) -> Path:
        """The ONNX file; weights above 1.5 GB lie beside it in ``model.onnx.data``."""
        return self.folder / MODEL_FILE


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal_model(folder: Path, signature: Signature, history: tuple[Step, ...]) -> Model:
    """Make a Model of the ``model.onnx`` that was just written into ``folder``.

    Returns:
        The Model as its record beside the file has it: the same that a later :func:`read_model` gives.
    """
    path = folder / MODEL_FILE
    data = folder / f"{MODEL_FILE}.data"
    size = path.stat().st_size + (data.stat().st_size if data.exists() else 0)
    digest = file_sha256(path)
    if data.exists():
        digest = hashlib.sha256((digest + file_sha256(data)).encode()).hexdigest()
    record = Record(signature=signature, sha256=digest, bytes=size, history=history)
    (folder / RECORD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))
    return read_model(folder)


def read_model(folder: Path) -> Model:
    """The Model that lies in ``folder``.

    Raises:
        StoreError: there is none, or its record is damaged.
    """
    try:
        record = msgspec.json.decode((folder / RECORD_FILE).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{folder}: no model here: {error}", hint="edgekit clean, then build again") from error
    return Model(folder=folder, signature=record.signature, sha256=record.sha256, bytes=record.bytes, history=record.history)

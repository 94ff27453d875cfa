"""What goes to a child and comes back: JSON, read strictly, since a foreign file may have written the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

LINE_MAX_CHARACTERS = 600


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a child may use before it is ended.

    Attributes:
        memory_bytes: private memory (``RLIMIT_DATA``).
        cpu_s: CPU seconds over all its threads.
        wall_s: seconds on the clock.
        file_bytes: size of any one file it writes.
    """

    memory_bytes: int = 16 << 30
    cpu_s: int = 3600
    wall_s: float = 1800.0
    file_bytes: int = 16 << 30


class Sandbox(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sandboxed child can see besides Python, its packages and the system's libraries.

    Attributes:
        reads: files and folders it may read.
        writes: the one folder it may write; links that it leaves there are removed.
    """

    reads: tuple[Path, ...]
    writes: Path


class Question(msgspec.Struct, frozen=True):
    """What a child is asked to do.

    Attributes:
        function: ``package.module:function``; it takes one struct and returns one.
        request: that struct.
        parent: process id of the asker.
        answer: file descriptor that the answer is written to.
        limits: set before anything else.
        sandbox: entered before the function's module is imported.
    """

    function: str
    request: msgspec.Raw
    parent: int
    answer: int
    limits: Limits
    sandbox: Sandbox | None = None


class Refused(msgspec.Struct, frozen=True):
    """An error of edgekit that the function raised on purpose, by the name of its class."""

    kind: str
    message: str
    hint: str


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of it; exactly one field is filled.

    Attributes:
        value: the function's return value.
        refused: an error with a hint.
        crashed: any other exception, in one line.
        no_sandbox: why the sandbox could not be entered; the function was not called.
    """

    value: msgspec.Raw = msgspec.Raw()
    refused: Refused | None = None
    crashed: str = ""
    no_sandbox: str = ""


def encode(value: msgspec.Struct) -> bytes:
    """A struct as JSON; paths become text."""
    return msgspec.json.encode(value, enc_hook=str)


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """A struct from JSON.

    Raises:
        msgspec.DecodeError: it is not JSON, or does not fit ``kind``.
    """
    return msgspec.json.decode(data, type=kind, dec_hook=_path)


def _path(kind: type[Any], value: Any) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise NotImplementedError(kind)
    return Path(value)


def one_line(text: str) -> str:
    """Text that is safe to show in one line: no control characters, cut to a bearable length."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return plain if len(plain) <= LINE_MAX_CHARACTERS else plain[: LINE_MAX_CHARACTERS - 1] + "…"

"""TOML and JSON files become frozen structs, or a list of every fault in them; structs become TOML."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from edgekit.errors import UsageError

T = TypeVar("T")


Synonyms = Mapping[str, Sequence[str]]
"""Of words in small letters, the keys that may be meant by them."""

NO_SYNONYMS: Synonyms = types.MappingProxyType({})


def nearest(word: str, known: Iterable[str], synonyms: Synonyms = NO_SYNONYMS) -> str:
    """``"; did you mean X?"`` for the known word that ``word`` is another word for, or looks most like, or ``""``."""
    words = list(known)
    meant = [one for one in synonyms.get(word.lower().replace("-", "_"), ()) if one in words]
    found = meant or difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: it does not exist, cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{path}: {reason}", hint=f"check the path: ls -l {path.parent}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}", hint="mend that line; https://toml.io has the grammar") from error


def unknown_keys(data: Mapping[str, Any], type_: Any, where: str = "", synonyms: Synonyms = NO_SYNONYMS) -> list[str]:
    """One line for each key of ``data`` that ``type_`` does not have, with its path and the nearest right name."""
    faults: list[str] = []
    known = _field_types(type_)
    if known is None:
        return faults
    for key, value in data.items():
        path = f"{where}.{key}" if where else key
        if key not in known:
            faults.append(f"{path}: no such key{nearest(key, known, synonyms)}")
            continue
        for inner in _structs_in(known[key]):
            if isinstance(value, Mapping):
                faults += unknown_keys(value, inner, path, synonyms)
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, Mapping):
                        faults += unknown_keys(item, inner, f"{path}[{index}]", synonyms)
    return faults


def convert(data: Any, type_: type[T], *, where: str, synonyms: Synonyms = NO_SYNONYMS) -> T:
    """Turn plain data into ``type_`` (a msgspec struct or a dataclass), strictly.

    Args:
        data: what a TOML or JSON reader gave.
        type_: the struct or dataclass wanted.
        where: named at the start of every message, such as the file's path.
        synonyms: other words for keys, for what is suggested in the place of an unknown one.

    Raises:
        UsageError: a key is unknown or a value does not fit; all unknown keys are named at once.
    """
    if isinstance(data, Mapping):
        faults = unknown_keys(data, type_, synonyms=synonyms)
        if faults:
            raise UsageError(f"{where}: " + "; ".join(faults), hint="correct or remove what is named")
    try:
        return msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}", hint=f"correct the value{_taken(type_, str(error))}") from error


def _taken(type_: Any, error: str) -> str:
    """``: it takes …`` for the field that a message of msgspec names by its path; "" where that is not one of a few."""
    path = error.rpartition("`$.")[2].rstrip("`")
    fields: Any = {}
    annotation: Any = type_
    for key in path.split(".") if "`$." in error else ():
        fields = next((found for struct in _structs_in(annotation) if (found := _field_types(struct))), {})
        annotation = fields.get(key.partition("[")[0])
    values = [str(value) for part in (annotation, *get_args(annotation)) if get_origin(part) is typing.Literal for value in get_args(part)]
    if annotation is bool:
        values = ["true", "false"]
    return f": it takes {', '.join(values)}" if values else ""


def read(path: Path, type_: type[T]) -> T:
    """Read a TOML or JSON file (by its suffix) as ``type_``.

    Raises:
        UsageError: it cannot be read, is not TOML or JSON, or does not fit ``type_``.
    """
    if path.suffix != ".json":
        return convert(read_toml(path), type_, where=str(path))
    try:
        data = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint=f"check the path: ls -l {path.parent}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not JSON: {error}", hint="was the file cut short or edited?") from error
    return convert(data, type_, where=str(path))


def toml_of(struct: msgspec.Struct) -> str:
    """A struct as TOML, without what is at its default."""
    return "\n".join(_toml(_held(struct), ())).lstrip("\n") + "\n"


def _held(struct: msgspec.Struct) -> dict[str, Any]:
    """Fields of a struct that are not at their default, as plain data."""
    plain = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if value is None or value == default:
            continue
        nested = [_held(one) if isinstance(one, msgspec.Struct) else one for one in (value if isinstance(value, tuple) else (value,))]
        plain[field.name] = nested if isinstance(value, tuple) else nested[0]
    return plain


def _toml(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Lines of a table: what is plain first, then tables and lists of tables below it. JSON's strings, numbers and lists are TOML's."""
    below = {}
    for key, value in table.items():
        if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            below[key] = value
        else:
            yield f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in below.items():
        name = ".".join(map(_key, (*path, key)))
        for one in value if isinstance(value, list) else [value]:
            yield f"\n[[{name}]]" if isinstance(value, list) else f"\n[{name}]"
            yield from _toml(one, (*path, key))


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key, ensure_ascii=False)


@functools.cache
def _field_types(type_: Any) -> dict[str, Any] | None:
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        hints = typing.get_type_hints(type_)
        return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(type_)}
    if isinstance(type_, type) and dataclasses.is_dataclass(type_):
        hints = typing.get_type_hints(type_)
        return {field.name: hints[field.name] for field in dataclasses.fields(type_)}
    return None


def _structs_in(annotation: Any) -> list[Any]:
    """The structs a value of this annotation may be, or may be a list of."""
    if _field_types(annotation) is not None:
        return [annotation]
    origin = get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return [found for part in get_args(annotation) for found in _structs_in(part)]
    if origin in (list, tuple):
        return [found for part in get_args(annotation)[:1] for found in _structs_in(part)]
    return []

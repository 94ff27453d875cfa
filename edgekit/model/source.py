"""The file a Model was made from, kept in the store for backends that convert it themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from edgekit.model.model import Model
from edgekit.model.store import Store, key_of

_NOTE = "source_sha256"


def keep_source(store: Store, source: Path, sha256: str) -> None:
    """Keep a copy of a source file or folder under the hash of its content."""

    def copy(out: Path) -> None:
        kept = out / f"source{source.suffix}"  # Keras goes by suffixes
        if source.is_dir():
            shutil.copytree(source, kept)
        else:
            shutil.copyfile(source, kept)

    store.keep(_key(sha256), copy)


def with_source(model: Model, sha256: str) -> Model:
    """The Model, its first step saying which source it was made from."""
    first, *rest = model.history
    noted = msgspec.structs.replace(first, did={**first.did, _NOTE: sha256})
    return msgspec.structs.replace(model, history=(noted, *rest))


def source_sha256(model: Model) -> str:
    """The hash of the source a Model was made from; "" where its history does not say."""
    return str(model.history[0].did.get(_NOTE, "")) if model.history else ""


def kept_source(model: Model) -> Path | None:
    """Where the store that a Model lies in holds its source; None if it does not."""
    store, sha256 = Store.around(model.folder), source_sha256(model)
    if store is None or not sha256 or not store.has(_key(sha256)):
        return None
    return next(path for path in store.path(_key(sha256)).iterdir() if path.stem == "source")


def _key(sha256: str) -> str:
    return key_of("source", {"sha256": sha256})

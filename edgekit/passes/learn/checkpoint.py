"""Where training stands, in one file that is always whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgekit.model.store import writing

FILE = "training.pt"


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Put a state in the place of the one before it; whoever is killed meanwhile leaves that one.

    Raises:
        StoreError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{FILE}.{os.getpid()}"
        try:
            with temporary.open("wb") as stream:
                torch.save(dict(state), stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(folder / FILE)
        finally:
            temporary.unlink(missing_ok=True)


def read(folder: Path, key: str) -> dict[str, Any] | None:
    """The state that a training of that key left; None if there is none."""
    file = folder / FILE
    if not file.exists():
        return None
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state if state.get("key") == key else None

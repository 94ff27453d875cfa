"""Samples and a store of its own for each build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.model import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def arrays(tmp_path):
    """``arrays("x", (3, 16, 16))``: a folder of forty .npz files that hold one input, numbers between -1 and 1."""

    def make(name: str, shape: tuple[int, ...]) -> Path:
        folder = tmp_path / "arrays"
        folder.mkdir()
        for index in range(40):
            np.savez(folder / f"{index}.npz", **{name: np.random.default_rng(index).uniform(-1, 1, shape).astype(np.float32)})
        return folder

    return make

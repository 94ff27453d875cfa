"""A tiny network, pictures and a shell: what the command line needs to be tried."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch) -> Path:
    """Every test has its own store and working directory."""
    store = tmp_path / "store"
    monkeypatch.setenv("EDGEKIT_STORE", str(store))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return store


@pytest.fixture
def edgekit(capfd):
    """``edgekit("build", "net.onnx")`` runs the command line in this process."""

    def run(*argv: object) -> Said:
        from edgekit.cli import run as run_command_line

        capfd.readouterr()
        status = run_command_line([str(argument) for argument in argv])
        out, err = capfd.readouterr()
        return Said(status, out, err)

    return run


@pytest.fixture
def net(tmp_path) -> Path:
    """Conv, ReLU6, global pooling and a dense layer over a 3x16x16 picture, four classes; weights from a fixed seed."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    weights = {
        "w": rng.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(0, 0.1, 8).astype(np.float32),
        "dense": rng.normal(0, 0.5, (8, 4)).astype(np.float32),
        "dense_b": np.zeros(4, np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("Clip", ["c", "low", "high"], ["r"], "relu6"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
            helper.make_node("Flatten", ["p"], ["f"], "flatten"),
            helper.make_node("Gemm", ["f", "dense", "dense_b"], ["scores"], "classifier"),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Twelve little pictures with labels and what makes them the network's input."""
    from PIL import Image

    rng = np.random.default_rng(3)
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["file,class_index"]
    for index in range(12):
        pixels = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
        rows.append(f"{index:02d}.png,{index % 4}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "samples.toml").write_text('schema = 1\nname = "little"\ncalibrate = 6\n[preprocess]\nmean = [127.0]\nstd = [128.0]\n')
    return folder

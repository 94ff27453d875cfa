from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import onnx
import pytest

from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import Model, seal_model
from edgekit.target import Target, read_target

TARGETS = Path(__file__).resolve().parents[3] / "targets"


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str], Model]:
    """A Model from the body of an ONNX graph as text; opset 21, as the store keeps it."""

    def make(text: str, initializers: tuple[onnx.TensorProto, ...] = ()) -> Model:
        proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21, "com.example" : 1]>\n{text}')
        proto.graph.initializer.extend(initializers)
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        onnx_file.save(onnx_file.infer_shapes(proto), folder)
        return seal_model(folder, signature_of(proto), ())

    return make


@pytest.fixture
def target() -> Callable[..., Target]:
    """A target that ships, its TensorRT options set."""

    def get(name: str, **options: object) -> Target:
        found = read_target(TARGETS / f"{name}.toml")
        runtime = msgspec.structs.replace(found.runtime("tensorrt"), options=options)
        return msgspec.structs.replace(found, runtimes=(runtime,))

    return get


@pytest.fixture
def package(model, target, tmp_path: Path) -> Callable[..., Path]:
    """The folder of a package for a target."""

    def make(text: str, name: str, **options: object) -> Path:
        from edgekit.engine.tensorrt import TensorrtBackend

        out = tmp_path / f"package-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        TensorrtBackend().compile(model(text), target(name, **options), None, out)
        return out

    return make


@pytest.fixture
def rtx_python() -> str:
    """A Python that has tensorrt_rtx: ``$EDGEKIT_RTX_PYTHON``, or this one."""
    python = os.environ.get("EDGEKIT_RTX_PYTHON") or (sys.executable if importlib.util.find_spec("tensorrt_rtx") else "")
    if not python:
        pytest.skip("tensorrt-rtx is not installed: pip install 'edgekit[tensorrt-rtx]', or set EDGEKIT_RTX_PYTHON")
    return python

"""A package that came back from its board: where the engine's time goes, and why it is no faster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.engine.tensorrt.layers import Layer
    from edgekit.engine.tensorrt.why_slow import Explanation

LAYERS_FILE, PROFILE_FILE, MODEL_FILE = "layers.json", "profile.json", "model.onnx"
_BRING = "build on the board with build_engine.py --run, and bring the folder back"


def debug_engine(folder: Path, against: Path | None = None) -> Explanation:
    """Look for what costs a TensorRT engine more than it need.

    Args:
        folder: of the package, with what the builder script wrote on the board.
        against: of the float16 package of the same model, likewise.

    Raises:
        UsageError: a file is missing.
        SourceError: a file does not hold what it should.
    """
    from edgekit.engine.tensorrt.why_slow import explain
    from edgekit.graph import onnx_file
    from edgekit.graph.edit import Graph

    layers = _layers(folder)
    if not (folder / MODEL_FILE).is_file():
        raise UsageError(f"{folder}: no {MODEL_FILE}", hint="name the folder of a package for TensorRT: OUT/engines/TARGET-tensorrt")
    graph = Graph(onnx_file.infer_shapes(onnx_file.load(folder / MODEL_FILE)))
    return explain(layers, graph, _layers(against) if against is not None else ())


def _layers(folder: Path) -> tuple[Layer, ...]:
    from edgekit.engine.tensorrt.layers import read_layers

    if not (folder / LAYERS_FILE).is_file():
        raise UsageError(f"{folder}: no {LAYERS_FILE}", hint=_BRING)
    profile = _read(folder / PROFILE_FILE) if (folder / PROFILE_FILE).is_file() else None
    return read_layers(_read(folder / LAYERS_FILE), profile)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: no JSON: {error}", hint=_BRING) from error

"""Weights that an ONNX file keeps in files beside it."""

from __future__ import annotations

from pathlib import Path


def external_files(source: Path) -> list[Path]:
    """The data files an ONNX file keeps its weights in. Imports onnx only if the file speaks of such files."""
    if source.suffix != ".onnx" or b"location" not in source.read_bytes():
        return []
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(source, load_external_data=False)
    except DecodeError:
        return []  # ingest says what is wrong with it
    held = [tensor for tensor in proto.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    names = {entry.value for tensor in held for entry in tensor.external_data if entry.key == "location"}
    return sorted(path for name in names if (path := source.parent / name).is_file())

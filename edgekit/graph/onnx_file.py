"""ONNX files in and out of memory: load, and save so that the same graph gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError
from edgekit.graph.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx

__all__ = ["EXTERNAL_ABOVE_BYTES", "infer_shapes", "load", "name_nodes", "save"]

EXTERNAL_ABOVE_BYTES = 1_500_000_000
"""Protobuf ends at 2 GiB; weights leave the file some way before."""


def load(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, the weights that lie beside it included.

    Raises:
        SourceError: the file is missing, is no ONNX file, or its external data is missing or lies outside its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path)
    except DecodeError as error:
        raise SourceError(f"{path}: this is no ONNX file, or it is cut off", hint="export or download it again") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}", hint="check the path and its permissions") from error
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise SourceError(f"{path}: its external data cannot be read: {reason}", hint="put the data file into the model's folder") from error
    if not proto.graph.node and not proto.graph.output:
        raise SourceError(f"{path}: there is no graph in this file", hint="export or download it again")
    return proto


def save(proto: onnx.ModelProto, folder: Path, *, external_above_bytes: int = EXTERNAL_ABOVE_BYTES) -> None:
    """Write ``folder/model.onnx``; the same graph gives the same bytes.

    Args:
        proto: the model; nodes without a name, or with one that another node bears, are given one.
        folder: must exist.
        external_above_bytes: if the initializers are larger together, they go to ``model.onnx.data``.
    """
    import onnx

    name_nodes(proto.graph)
    path = folder / "model.onnx"
    if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) <= external_above_bytes:
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return
    outside = onnx.ModelProto()
    outside.CopyFrom(proto)
    onnx.external_data_helper.convert_model_to_external_data(outside, location=f"{path.name}.data", size_threshold=1024)
    onnx.external_data_helper.write_external_data_tensors(outside, str(folder))
    path.write_bytes(outside.SerializeToString(deterministic=True))


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node that has no name of its own one, made from its operator and its place; subgraphs included."""
    nodes = list(_all_nodes(graph))
    taken = {node.name for node in nodes}
    seen = {""}
    for index, node in enumerate(nodes):
        if node.name in seen:
            name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g)
            for inner in attribute.graphs:
                yield from _all_nodes(inner)

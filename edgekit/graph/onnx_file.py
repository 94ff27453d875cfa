"""ONNX files in and out of memory: load, save so that the same graph gives the same bytes, infer shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError

if TYPE_CHECKING:
    import onnx

EXTERNAL_ABOVE_BYTES = 1_500_000_000
"""Protobuf ends at 2 GiB; weights leave the file some way before."""

_SHAPE_VALUES_MAX_BYTES = 8192
"""Initializers up to this size may be shapes, axes or pads, whose values shape inference reads."""


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


def infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Types and shapes of all tensors, worked out anew, values of shape arithmetic followed.

    What the file said before is kept only for tensors about which inference says nothing.

    Returns:
        A new model; ``proto`` is left alone.

    Raises:
        SourceError: shapes contradict one another.
    """
    import onnx

    light = _without_weights(proto)
    said_before = {value.name: value for value in light.graph.value_info}
    del light.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(light, check_type=False, strict_mode=False, data_prop=True)
        if _keep_unsaid(inferred, said_before):
            inferred = onnx.shape_inference.infer_shapes(inferred, check_type=False, strict_mode=False, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"the shapes of this graph contradict one another: {reason}", hint="give its input shapes with --shape") from error
    del inferred.graph.input[len(proto.graph.input) :]
    del inferred.graph.initializer[:]
    inferred.graph.initializer.extend(proto.graph.initializer)
    return inferred


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large initializers as inputs: onnx would carry every weight through serialization twice."""
    import onnx

    light = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name != "graph":
            light.MergeFrom(onnx.ModelProto(**{field.name: value}))
    graph, inputs = proto.graph, {value.name for value in proto.graph.input}
    light.graph.name = graph.name
    light.graph.doc_string = graph.doc_string
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.quantization_annotation.extend(graph.quantization_annotation)
    light.graph.metadata_props.extend(graph.metadata_props)
    produced = {name for node in graph.node for name in node.output}
    light.graph.value_info.extend(value for value in graph.value_info if value.name in produced)
    for tensor in graph.initializer:
        if tensor.ByteSize() <= _SHAPE_VALUES_MAX_BYTES:
            light.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def _keep_unsaid(inferred: onnx.ModelProto, said_before: dict[str, onnx.ValueInfoProto]) -> bool:
    """Put back what was known of tensors that inference left without a shape; whether there was any."""
    known = {value.name for value in inferred.graph.value_info if value.type.tensor_type.HasField("shape") or not value.type.HasField("tensor_type")}
    known |= {value.name for value in inferred.graph.output}
    back = [value for name, value in said_before.items() if name not in known]
    names = {value.name for value in back}
    kept = [value for value in inferred.graph.value_info if value.name not in names]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend([*kept, *back])
    return bool(back)

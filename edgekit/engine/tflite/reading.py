"""An ONNX file becomes a :class:`Graph`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.engine.tflite.graph import Constant, Graph, Node, Value
from edgekit.errors import SourceError
from edgekit.graph.channel_scales import with_tensor_scales
from edgekit.graph.quantized import KEPT_FLOAT


def read_graph(path: Path) -> Graph:
    """Read an ONNX file; shapes that it does not state are inferred, scales by channel of what is computed made one where they can.

    Raises:
        SourceError: it cannot be read, or is no ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise SourceError(f"{path}: no ONNX model can be read from it: {error}", hint="is the file whole?") from error
    model = with_tensor_scales(model)
    if not _states_all_shapes(model.graph):
        try:
            model = onnx.shape_inference.infer_shapes(model)
        except onnx.shape_inference.InferenceError as error:
            raise SourceError(f"{path}: its shapes contradict each other: {error}", hint="export the model again") from error
    return _graph(model.graph)


def _states_all_shapes(graph: Any) -> bool:
    stated = {info.name for info in (*graph.value_info, *graph.input, *graph.output) if info.type.tensor_type.HasField("shape")}
    return all(not name or name in stated for node in graph.node for name in node.output)


def _graph(proto: Any) -> Graph:
    from onnx import numpy_helper

    constants = {tensor.name: Constant(numpy_helper.to_array(tensor)) for tensor in proto.initializer}
    nodes = []
    for node in proto.node:
        if node.op_type == "Constant" and not node.domain:
            constants[node.output[0]] = Constant(_constant(node))
        else:
            nodes.append(_node(node))
    inputs = [info.name for info in proto.input if info.name not in constants]
    values = {info.name: _value(info) for info in (*proto.value_info, *proto.input, *proto.output)}
    for node in nodes:
        for name in filter(None, node.outputs):
            values.setdefault(name, Value(None, ""))
    ports = {info.name: values[info.name].dtype for info in (*proto.input, *proto.output)}
    outputs = {info.name: info.name for info in proto.output}
    return Graph(nodes, values, constants, inputs, outputs, ports)


def _node(proto: Any) -> Node:
    from onnx import helper

    attrs = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        attrs[attribute.name] = value.decode() if isinstance(value, bytes) else value
    op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    outputs = list(proto.output)
    kept_float = any(entry.key == KEPT_FLOAT for entry in proto.metadata_props)
    return Node(proto.name or (outputs[0] if outputs else op), op, list(proto.input), outputs, attrs, kept_float=kept_float)


def _constant(proto: Any) -> Any:
    import numpy as np
    from onnx import numpy_helper

    attribute = proto.attribute[0]
    if attribute.name == "value":
        return numpy_helper.to_array(attribute.t)
    if attribute.name in ("value_float", "value_floats"):
        return np.array(attribute.f if attribute.name == "value_float" else list(attribute.floats), np.float32)
    return np.array(attribute.i if attribute.name == "value_int" else list(attribute.ints), np.int64)


def _value(info: Any) -> Value:
    from onnx import helper

    tensor = info.type.tensor_type
    dtype = str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else ""
    if not tensor.HasField("shape"):
        return Value(None, dtype)
    sizes = (size.dim_value if size.HasField("dim_value") else (size.dim_param or None) for size in tensor.shape.dim)
    return Value(tuple(sizes), dtype)

"""The graph as ONNX Runtime on the target reads it: an opset it knows, its own products of integer weights, ports as asked for."""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence
from typing import TYPE_CHECKING

import msgspec.structs

from edgekit.engine.contract import Port, port_of
from edgekit.engine.onnxruntime.clamps import with_clamps_behind
from edgekit.engine.onnxruntime.options import OnnxRuntimeOptions
from edgekit.engine.onnxruntime.products import with_own_products
from edgekit.engine.onnxruntime.unsigned import to_unsigned
from edgekit.errors import UnsupportedError, UsageError
from edgekit.graph.channel_scales import with_tensor_scales
from edgekit.model import Signature, Tensor

if TYPE_CHECKING:
    import onnx

_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def lowered(proto: onnx.ModelProto, signature: Signature, max_opset: int, options: OnnxRuntimeOptions) -> tuple[onnx.ModelProto, dict[str, Port]]:
    """A graph for a runtime that reads ONNX up to ``max_opset``.

    Returns:
        A new model, and those of its ports that differ from the signature.

    Raises:
        UnsupportedError: an operator cannot be written in that opset.
        UsageError: integer ports were asked for and the graph does not store these tensors so.
    """
    import onnx

    low = onnx.ModelProto()
    low.CopyFrom(proto)
    low = with_own_products(_in_opset(low, max_opset), accuracy_level=options.accuracy_level)
    ports: dict[str, Port] = {}
    if options.io_dtype != "float32":
        for tensor in (one for one in signature.inputs if one.dtype == "float32"):
            ports[tensor.name] = _integer_input(low.graph, tensor, options.io_dtype)
        for tensor in (one for one in signature.outputs if one.dtype == "float32"):
            ports[tensor.name] = _integer_output(low.graph, tensor, options.io_dtype)
    if options.io_layout:
        for tensor in (one for one in signature.inputs if one.layout not in ("", options.io_layout)):
            ports[tensor.name] = _transposed_input(low.graph, ports.get(tensor.name) or port_of(tensor))
    return low, ports


def for_kernels(proto: onnx.ModelProto, *, is_arm: bool) -> onnx.ModelProto:
    """The same numbers in the form that ONNX Runtime has integer kernels for; the same graph where it is in that form."""
    low = with_clamps_behind(with_tensor_scales(proto))
    if not is_arm:
        to_unsigned(low)
    return low


def _in_opset(proto: onnx.ModelProto, max_opset: int) -> onnx.ModelProto:
    import onnx.version_converter

    version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if version <= max_opset:
        return proto
    try:
        return onnx.version_converter.convert_version(proto, max_opset)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        reason = " ".join(str(error).split()).rpartition("failed: ")[2]
        hint = f"choose a runtime that reads opset {version}, or leave out what is newer than opset {max_opset}"
        raise UnsupportedError(f"the graph cannot be written in opset {max_opset}: {reason}", hint=hint) from error


def _integer_input(graph: onnx.GraphProto, tensor: Tensor, dtype: str) -> Port:
    """Let a graph be fed integers: its input's QuantizeLinear goes."""
    readers = [node for node in graph.node if tensor.name in node.input]
    quantize = readers[0] if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" else None
    if quantize is None:
        raise _not_stored_so(tensor, dtype)
    port = _integer_port(graph, tensor, quantize, dtype)
    for node in graph.node:
        _rename(node.input, quantize.output[0], tensor.name)
    graph.node.remove(quantize)
    _set_type(graph.input, tensor.name, dtype)
    return port


def _integer_output(graph: onnx.GraphProto, tensor: Tensor, dtype: str) -> Port:
    """Let a graph give integers: its output's DequantizeLinear goes."""
    makers = [node for node in graph.node if tensor.name in node.output]
    is_read_inside = any(tensor.name in node.input for node in graph.node)
    if not makers or makers[0].op_type != "DequantizeLinear" or is_read_inside:
        raise _not_stored_so(tensor, dtype)
    port = _integer_port(graph, tensor, makers[0], dtype)
    integers = makers[0].input[0]
    graph.node.remove(makers[0])
    for node in graph.node:
        _rename(node.input, integers, tensor.name)
        _rename(node.output, integers, tensor.name)
    _set_type(graph.output, tensor.name, dtype)
    return port


def _transposed_input(graph: onnx.GraphProto, port: Port) -> Port:
    """Let a graph be fed images in the other layout: a Transpose comes behind its input."""
    from onnx import helper

    order, layout = (_TO_NHWC, "nhwc") if port.layout == "nchw" else (_TO_NCHW, "nchw")
    inner = f"{port.name}/transposed"
    for node in graph.node:
        _rename(node.input, port.name, inner)
    back = _TO_NCHW if layout == "nhwc" else _TO_NHWC
    graph.node.insert(0, helper.make_node("Transpose", [port.name], [inner], name=f"{port.name}/Transpose", perm=back))
    value = next(value for value in graph.input if value.name == port.name)
    dims = [type(dim).FromString(dim.SerializeToString()) for dim in value.type.tensor_type.shape.dim]
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.extend(dims[axis] for axis in order)
    shape = tuple(port.shape[axis] for axis in order)
    return msgspec.structs.replace(port, shape=shape, layout=layout)


def _integer_port(graph: onnx.GraphProto, tensor: Tensor, node: onnx.NodeProto, dtype: str) -> Port:
    from onnx import numpy_helper

    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer if one.name in node.input[1:]}
    scale, zero_point = (constants.get(name) for name in (*node.input[1:], "")[:2])
    if scale is None or zero_point is None or zero_point.dtype.name != dtype or scale.size != 1:
        raise _not_stored_so(tensor, dtype)
    step, zero = float(scale.reshape(())), int(zero_point.reshape(()))
    return Port(name=tensor.name, dtype=dtype, shape=tensor.shape, layout=tensor.layout, scale=step, zero_point=zero)


def _not_stored_so(tensor: Tensor, dtype: str) -> UsageError:
    return UsageError(
        f"io.dtype = {dtype}: this graph does not store {tensor.name} so", hint="leave io.dtype out, or quantize for a scheme of that type"
    )


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for at, name in enumerate(list(names)):
        if name == old:
            names[at] = new


def _set_type(values: Iterable[onnx.ValueInfoProto], name: str, dtype: str) -> None:
    import numpy as np
    from onnx import helper

    for value in values:
        if value.name == name:
            value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

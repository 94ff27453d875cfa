"""The signature of an ONNX graph: names, element types, shapes and where an image's channels are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgekit.errors import SourceError
from edgekit.model import Layout, Signature, Tensor

if TYPE_CHECKING:
    import onnx

_IMAGE_CHANNELS = (1, 3, 4)


def signature_of(proto: onnx.ModelProto) -> Signature:
    """Inputs (initializers left out) and outputs, as the graph declares them.

    Raises:
        SourceError: an input or output is no tensor, or has no type or shape.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [_tensor(value) for value in proto.graph.input if value.name not in weights]
    laid = tuple(msgspec.structs.replace(tensor, layout=guess_layout(tensor.shape)) for tensor in inputs)
    return with_output_layouts(Signature(inputs=laid, outputs=tuple(_tensor(value) for value in proto.graph.output)))


def with_output_layouts(signature: Signature) -> Signature:
    """A network that takes pictures gives its 4-D outputs (masks, score maps) with the channels where its inputs have them."""
    layout: Layout = next((tensor.layout for tensor in signature.inputs if tensor.layout), "")
    outputs = tuple(msgspec.structs.replace(tensor, layout=layout if len(tensor.shape) == 4 else "") for tensor in signature.outputs)
    return msgspec.structs.replace(signature, outputs=outputs)


def guess_layout(shape: tuple[int | str, ...]) -> Layout:
    """Where the channels of a 4-D input are, if one of its axes has as many as a picture; empty if none has."""
    if len(shape) != 4:
        return ""
    if shape[1] in _IMAGE_CHANNELS:
        return "nchw"
    return "nhwc" if shape[3] in _IMAGE_CHANNELS else ""


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    import onnx

    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.elem_type:
        raise SourceError(f"{value.name}: inputs and outputs must be tensors of a known type", hint="export the model with plain tensors")
    if not kind.HasField("shape"):
        raise SourceError(f"{value.name}: its shape is not known", hint="give the input shapes with --shape")
    dims = kind.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_{axis}" for axis, dim in enumerate(dims))
    return Tensor(name=value.name, dtype=onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape=shape)

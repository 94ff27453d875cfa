"""A model without its weights, for tools of onnx that carry every byte through serialization, and fail at 2 GiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_SHAPE_VALUES_MAX_BYTES = 8192
"""Initializers up to this size may be shapes, axes or pads, whose values such tools read."""


def without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large initializers are inputs."""
    import onnx

    light = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name != "graph":
            light.MergeFrom(onnx.ModelProto(**{field.name: value}))
    for field, value in proto.graph.ListFields():
        if field.name != "initializer":
            light.graph.MergeFrom(onnx.GraphProto(**{field.name: value}))
    inputs = {value.name for value in proto.graph.input}
    for tensor in proto.graph.initializer:
        if _is_small(tensor):
            light.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def with_weights_of(light: onnx.ModelProto, proto: onnx.ModelProto) -> onnx.ModelProto:
    """``light`` after it was worked on, the large initializers of ``proto`` put back; ``light`` is changed."""
    inputs = {value.name for value in proto.graph.input}
    kept = [value for value in light.graph.input if value.name in inputs]
    del light.graph.input[:]
    light.graph.input.extend(kept)
    weights = [*light.graph.initializer, *(tensor for tensor in proto.graph.initializer if not _is_small(tensor))]
    place = {tensor.name: index for index, tensor in enumerate(proto.graph.initializer)}
    del light.graph.initializer[:]
    light.graph.initializer.extend(sorted(weights, key=lambda tensor: place.get(tensor.name, len(place))))
    return light


def _is_small(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.ByteSize() <= _SHAPE_VALUES_MAX_BYTES)

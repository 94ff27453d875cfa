"""Types and shapes of all tensors of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import SourceError
from edgekit.graph.light import with_weights_of, without_weights

if TYPE_CHECKING:
    import onnx


_WITHOUT_INFERENCE, _SAME_SHAPES = "GroupNormalization", "InstanceNormalization"
"""onnx says nothing about what the first returns, its one operator up to opset 21 of that kind; the second takes the same inputs."""


def infer_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Types and shapes of all tensors, worked out anew, values of shape arithmetic followed.

    What the file said before is kept only for tensors and sizes about which inference says nothing; runtimes, too, take
    wrongly declared outputs for what they are.

    Returns:
        A new model; ``proto`` is left alone.

    Raises:
        SourceError: shapes contradict one another.
    """
    import onnx

    light = without_weights(proto)
    made = {name for node in light.graph.node for name in node.output}
    said_before = {value.name: value for value in light.graph.value_info if value.name in made}
    del light.graph.value_info[:]
    declared = _take_declared(light)
    places = [index for index, node in enumerate(light.graph.node) if node.op_type == _WITHOUT_INFERENCE and not node.domain]
    for place in places:
        light.graph.node[place].op_type = _SAME_SHAPES
    try:
        inferred = onnx.shape_inference.infer_shapes(light, check_type=False, strict_mode=True, data_prop=True)
        if _keep_unsaid(inferred, said_before):
            inferred = onnx.shape_inference.infer_shapes(inferred, check_type=False, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"the shapes of this graph contradict one another: {reason}", hint="give its input shapes with --shape") from error
    for place in places:
        inferred.graph.node[place].op_type = _WITHOUT_INFERENCE
    _put_back_declared(inferred, declared)
    return with_weights_of(inferred, proto)


SIZED_BY_NUMBERS = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""Operators that put out more or less, depending on the numbers they read."""


def outputs_sized_by_numbers(graph: onnx.GraphProto) -> list[str]:
    """Outputs with a size left open that such an operator leads to."""
    reached: set[str] = set()
    for node in graph.node:
        if node.op_type in SIZED_BY_NUMBERS or reached.intersection(node.input):
            reached.update(node.output)
    return [
        value.name
        for value in graph.output
        if value.name in reached and any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    ]


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


def _take_declared(light: onnx.ModelProto) -> dict[str, onnx.TensorShapeProto]:
    """Forget the shapes of the outputs, and return them."""
    import onnx

    declared: dict[str, onnx.TensorShapeProto] = {}
    for value in light.graph.output:
        if value.type.tensor_type.HasField("shape"):
            shape = onnx.TensorShapeProto()
            shape.CopyFrom(value.type.tensor_type.shape)
            declared[value.name] = shape
            value.type.tensor_type.ClearField("shape")
    return declared


def _put_back_declared(inferred: onnx.ModelProto, declared: dict[str, onnx.TensorShapeProto]) -> None:
    """Fill in what inference left open of the outputs."""
    for value in inferred.graph.output:
        found, said = value.type.tensor_type, declared.get(value.name)
        if said is None:
            continue
        if not found.HasField("shape"):
            found.shape.CopyFrom(said)
        elif len(found.shape.dim) == len(said.dim):
            for now, before in zip(found.shape.dim, said.dim, strict=True):
                if not now.HasField("dim_value") and before.WhichOneof("value"):
                    now.CopyFrom(before)

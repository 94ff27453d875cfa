"""A graph as the quantizer looks at it: who makes a tensor, who reads it, what is constant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.structure import Structure, structures

if TYPE_CHECKING:
    import onnx

DATA_INPUTS = {
    "Add": (0, 1),
    "Sub": (0, 1),
    "Mul": (0, 1),
    "Div": (0, 1),
    "MatMul": (0, 1),
    "Where": (1, 2),
    "PRelu": (0, 1),
}
"""Inputs that carry numbers to compute with, where that is not the first alone; the others are shapes, axes, bounds."""

DATA_INPUTS_ALL = frozenset({"Concat", "Max", "Min", "Sum", "Mean"})


class View:
    """An index over a graph; the graph must not change while it is in use.

    Attributes:
        nodes: in the graph's order, which is topological.
        constants: initializers by name.
        inputs: names of the graph's inputs, initializers left out.
        outputs: names of the graph's outputs.
        structures: what constants have to keep, by name.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        import onnx

        graph = proto.graph
        self.nodes = tuple(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input if value.name not in self.constants)
        self.outputs = frozenset(value.name for value in graph.output)
        self.structures: dict[str, Structure] = structures(proto)
        self._makers = {name: node for node in self.nodes for name in node.output if name}
        self._readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self.nodes:
            for place, name in enumerate(node.input):
                self._readers.setdefault(name, []).append((node, place))
        values = [*graph.input, *graph.value_info, *graph.output]
        self._types = {value.name: value.type.tensor_type for value in values if value.type.HasField("tensor_type")}
        self._float = onnx.TensorProto.FLOAT

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for inputs and constants."""
        return self._makers.get(tensor)

    def readers(self, tensor: str) -> list[tuple[onnx.NodeProto, int]]:
        """The nodes that read a tensor, each with the place among its inputs."""
        return self._readers.get(tensor, [])

    def only_reader(self, tensor: str) -> onnx.NodeProto | None:
        """The node that reads a tensor, if it is one alone and the tensor is no output of the graph."""
        readers = self.readers(tensor)
        return readers[0][0] if len(readers) == 1 and tensor not in self.outputs else None

    def is_float(self, tensor: str) -> bool:
        """Whether a tensor holds float32 numbers."""
        if tensor in self.constants:
            return bool(self.constants[tensor].data_type == self._float)
        return tensor in self._types and self._types[tensor].elem_type == self._float

    def shape(self, tensor: str) -> tuple[int | str, ...] | None:
        """The sizes of a tensor; a word, or "?", for one left open; None if even their number is not known."""
        if tensor in self.constants:
            return tuple(self.constants[tensor].dims)
        found = self._types.get(tensor)
        if found is None or not found.HasField("shape"):
            return None
        return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in found.shape.dim)

    def numbers(self, tensor: str) -> int:
        """How many a tensor holds; sizes left open count as 1."""
        return math.prod(size for size in self.shape(tensor) or () if isinstance(size, int))

    def value(self, tensor: str) -> NDArray[Any]:
        """The value of a constant."""
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self.constants[tensor]))

    def data_inputs(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Places of the inputs that carry numbers to compute with."""
        if node.op_type in DATA_INPUTS_ALL:
            return tuple(range(len(node.input)))
        return tuple(place for place in DATA_INPUTS.get(node.op_type, (0,)) if place < len(node.input) and node.input[place])


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as plain values."""
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}

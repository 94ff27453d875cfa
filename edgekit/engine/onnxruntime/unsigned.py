"""int8 activations become uint8 with the zero point moved by 128: the same numbers, in the type that x86 has kernels for.

ONNX Runtime does it by itself on x86, but leaves part of the convolutions in float and, from opset 21 on, makes graphs
invalid (see ``optimized.broken_rewrites``). Done here, of 50 convolutions of an int8 network none is left in float; it was 14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.graph.node import drop_unread_constants
from edgekit.graph.quantized import PRODUCTS

if TYPE_CHECKING:
    import onnx

_SHIFT = 128
_Q, _DQ = "QuantizeLinear", "DequantizeLinear"


def to_unsigned(proto: onnx.ModelProto) -> None:
    """Rewrite a graph in place; integers that a port hands over, weights, and whatever is read by more than Q/DQ stay."""
    _Rewriter(proto.graph).run()


class _Rewriter:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._ports = {value.name for value in (*graph.input, *graph.output)}
        self._made: dict[str, str] = {}

    def run(self) -> None:
        changed = set()
        for node in self._graph.node:
            name = node.output[0]
            readers = self._readers.get(name, [])
            if node.op_type == _Q and name not in self._ports and self._is_int8(node) and all(self._reads_alike(one) for one in readers):
                for one in (node, *readers):
                    one.input[2] = self._shifted(one.input[2])
                changed.add(name)
            elif node.op_type == _DQ and self._is_operand(node):
                node.input[0], node.input[2] = self._shifted(node.input[0]), self._shifted(node.input[2])
        kept = [value for value in self._graph.value_info if value.name not in changed]
        del self._graph.value_info[:]
        self._graph.value_info.extend(kept)
        drop_unread_constants(self._graph)

    def _is_int8(self, node: onnx.NodeProto) -> bool:
        """Whether a node's integers are int8 at one scale, and only its zero point says so."""
        import onnx

        zero_point = self._constants.get("".join(node.input[2:3]))
        said = any(attribute.name in ("output_dtype", "block_size") and attribute.i for attribute in node.attribute)
        return zero_point is not None and zero_point.data_type == onnx.TensorProto.INT8 and list(zero_point.dims) in ([], [1]) and not said

    def _reads_alike(self, reader: onnx.NodeProto) -> bool:
        return reader.op_type == _DQ and self._is_int8(reader)

    def _is_operand(self, node: onnx.NodeProto) -> bool:
        """Whether a constant is added or multiplied element by element, where both sides must be of one type."""
        readers = self._readers.get(node.output[0], [])
        weights = any(reader.op_type in PRODUCTS and node.output[0] in list(reader.input)[1:] for reader in readers)
        return node.input[0] in self._constants and self._is_int8(node) and not weights and node.output[0] not in self._ports

    def _shifted(self, name: str) -> str:
        """An int8 constant with 128 added, as a new initializer."""
        from onnx import numpy_helper

        if name not in self._made:
            values = numpy_helper.to_array(self._constants[name]).astype(np.int16) + _SHIFT
            self._made[name] = f"{name}/unsigned"
            self._graph.initializer.append(numpy_helper.from_array(values.astype(np.uint8), self._made[name]))
        return self._made[name]

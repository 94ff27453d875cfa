"""How far a graph is quantized already, by whoever made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import onnx

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
KEPT_FLOAT = "edgekit.kept_float"
"""Key in a node's metadata: somebody wants it computed in float, although what it reads and makes is stored as integers."""

FIXED_POINT_SUMS = "edgekit.fixed_point_sums"
"""Key in a graph's metadata while it is trained: the runtime adds integers with multipliers that are integers."""

INTEGER_OPS = frozenset({"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
_Q, _DQ = "QuantizeLinear", "DequantizeLinear"
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
_SAID_IN_FILES = (b"QuantizeLinear", b"quantizeLinear", b"QLinear", b"MatMulInteger", b"ConvInteger", b"QGemm")


class Quantization(msgspec.Struct, frozen=True):
    """What a graph stores as integers.

    Attributes:
        kind: ``static`` where what is computed is stored at fixed scales, ``dynamic`` where at scales found anew for each
            input, ``weights`` where constants alone are integers.
        products: convolutions and matrix products, all of them.
        both_sides: of these, how many read integers on both sides.
        weights_alone: how many read integers as weights only.
        activations_alone: how many read integers on the computed side only.
        in_float: names of the others.
        stored_tensors: computed tensors with a QuantizeLinear.
        per_channel: of these, how many have a scale for each channel.
        types: integer types of computed tensors and of constants.
    """

    kind: str
    products: int
    both_sides: int
    weights_alone: int
    activations_alone: int
    in_float: tuple[str, ...]
    stored_tensors: int
    per_channel: int
    types: tuple[str, ...]


def speaks_of_integers(source: Path) -> bool:
    """Whether a file's bytes name an operator of quantization: a hint, had without opening it as a graph.

    Raises:
        OSError: it cannot be read.
    """
    content = source.read_bytes() if source.is_file() else b""
    return any(name in content for name in _SAID_IN_FILES)


def quantization_of(proto: onnx.ModelProto) -> Quantization | None:
    """How a graph is quantized; None if it computes in real numbers throughout.

    A graph that is only fed integers, or only gives them, with a DequantizeLinear or QuantizeLinear at the port, is not:
    its layers are as they were. Every other one is, be it only in part: what its maker left in float was left so by them.
    """
    seen = _Seen(proto)
    if not seen.is_quantized():
        return None
    sides = Counter(seen.sides(node) for node in seen.products)
    stored = [node for node in proto.graph.node if node.op_type == _Q and node.input[0] not in seen.constants]
    ops = {node.op_type for node in proto.graph.node}
    return Quantization(
        kind="static" if stored or ops & {"QLinearConv", "QLinearMatMul"} else "dynamic" if ops & INTEGER_OPS else "weights",
        products=len(seen.products),
        both_sides=sides[True, True],
        weights_alone=sides[False, True],
        activations_alone=sides[True, False],
        in_float=tuple(node.name or node.output[0] for node in seen.products if seen.sides(node) == (False, False)),
        stored_tensors=len(stored),
        per_channel=sum(seen.size(node.input[1]) > 1 for node in stored),
        types=tuple(sorted(seen.types())),
    )


class _Seen:
    """A graph's Q/DQ, looked at once."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._graph = proto.graph
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._makers = {name: node for node in proto.graph.node for name in node.output}
        integer = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")
        self.products = [node for node in proto.graph.node if node.op_type in PRODUCTS or node.op_type in integer]

    def is_quantized(self) -> bool:
        """Whether anything but ports is an integer."""
        for node in self._graph.node:
            if node.op_type in INTEGER_OPS:
                return True
            if node.op_type == _DQ and (node.input[0] in self.constants or self._makes(node.input[0], _Q)):
                return True
        return False

    def sides(self, node: onnx.NodeProto) -> tuple[bool, bool]:
        """Whether a product reads integers on its computed side, and as weights."""
        if node.op_type not in PRODUCTS:
            return True, True
        first, second = (self._makes(name, _DQ) for name in node.input[:2])
        return first, second

    def _makes(self, name: str, op: str) -> bool:
        """Whether a node of that kind makes a tensor, nodes that only move values looked through."""
        maker = self._makers.get(name)
        while maker is not None and maker.op_type in _MOVES:
            maker = self._makers.get(maker.input[0])
        return maker is not None and maker.op_type == op

    def size(self, name: str) -> int:
        """Numbers in a constant; 1 if it is none."""
        size = 1
        for dim in self.constants[name].dims if name in self.constants else ():
            size *= dim
        return size

    def types(self) -> Iterator[str]:
        """Integer types that Q/DQ name; that of a bias left out."""
        import onnx

        found = {self.constants[node.input[2]].data_type for node in self._graph.node if node.op_type in (_Q, _DQ) and self._has_zero_point(node)}
        found |= {self.constants[node.input[0]].data_type for node in self._graph.node if node.op_type == _DQ and node.input[0] in self.constants}
        yield from (onnx.TensorProto.DataType.Name(kind).lower() for kind in found - {onnx.TensorProto.INT32})

    def _has_zero_point(self, node: onnx.NodeProto) -> bool:
        return len(node.input) > 2 and node.input[2] in self.constants

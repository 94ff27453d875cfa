"""Matrix products by integer weights as ONNX Runtime's own operators.

ONNX Runtime finds these products by itself in some graphs only: where a MatMul and an Add are one Gemm to it, or weights
are shared, the activations' rounding stays beside a product in float; and what it finds it computes by rules of its own.
Written as its operators, an engine does what the graph says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

if TYPE_CHECKING:
    import onnx

DOMAIN = "com.microsoft"

FLOAT_PRODUCT, INT8_PRODUCT = 1, 4
"""ONNX Runtime's accuracy_level of MatMulNBits: what activations are rounded to within the product."""

_BLOCKS = (16, 32, 64, 128, 256)
"""MatMulNBits takes powers of two from 16 on, and with weights of 2 bits none beyond 256."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Weights behind a DequantizeLinear, one row for each output.

    Attributes:
        integers: shape (outputs, inputs).
        scale: shape (outputs, blocks).
        zero_point: same shape; None if all are 0.
        kind: the type that the graph has for them.
        block: inputs that share a scale; 0 if there is one for each output.
    """

    integers: NDArray[np.int16]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int16] | None
    kind: str
    block: int

    @property
    def bits(self) -> int:
        """How many bits hold each number."""
        return bits_of(self.integers, self.zero_point, self.kind)


def bits_of(integers: NDArray[Any], zero_point: NDArray[Any] | None, kind: str) -> int:
    """How many bits hold integers and their zero points; opset 21 has no type of 2, so its 4 may hold such.

    Args:
        integers: their values.
        zero_point: theirs; None for 0.
        kind: the type that a graph has for them, as ONNX names it in lower case.
    """
    if kind not in ("int4", "uint4"):
        return 8
    low, high = (0, 3) if kind == "uint4" else (-2, 1)
    values = [integers] if zero_point is None else [integers, zero_point]
    return 2 if all(one.astype(np.int16).min() >= low and one.astype(np.int16).max() <= high for one in values) else 4


def with_own_products(proto: onnx.ModelProto, *, accuracy_level: int) -> onnx.ModelProto:
    """A graph whose MatMul and Gemm by integer weights are MatMulIntegerToFloat and MatMulNBits; else the graph itself.

    Args:
        proto: a graph with weights behind DequantizeLinear.
        accuracy_level: of products by weights of 4 bits. By those of 2 bits it is always 4: ONNX Runtime 1.31 computes
            them in float 10 times slower than a product of float weights (2048 x 2048, one row, x86-64).
    """
    graph = Graph(proto)
    changed = False
    for node in list(graph.walk("MatMul", "Gemm")):
        stored = _stored(graph, node) if _is_plain(node) else None
        if stored is None:
            continue
        rounding = _rounding(graph, node.inputs[0])
        if rounding is not None and stored.kind == "int8" and not stored.block and stored.zero_point is None:
            changed |= _to_integer_product(graph, node, stored, rounding)
        elif rounding is None and stored.bits < 8 and stored.block in (0, *_BLOCKS):
            changed |= _to_few_bits(graph, node, stored, accuracy_level if stored.bits == 4 else INT8_PRODUCT)
    if not changed:
        return proto
    from onnx import helper

    own = graph.finish()
    if DOMAIN not in {entry.domain for entry in own.opset_import}:
        own.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return own


def _is_plain(node: Node) -> bool:
    return not node.get("transA", 0) and node.get("alpha", 1.0) == 1.0 and node.get("beta", 1.0) == 1.0


def _rounding(graph: Graph, tensor: str) -> Node | None:
    """The DynamicQuantizeLinear that a tensor comes from."""
    maker = graph.maker(tensor, "DequantizeLinear")
    return None if maker is None else graph.maker(maker.inputs[0], "DynamicQuantizeLinear")


def _stored(graph: Graph, node: Node) -> Stored | None:
    """The weights of a product, if they are constant integers with scales along their rows."""
    import onnx

    maker = graph.maker(node.input(1), "DequantizeLinear")
    arrays = [graph.constant(name) if name else None for name in maker.inputs] if maker is not None else []
    if maker is None or len(arrays) < 2 or arrays[0] is None or arrays[1] is None or arrays[0].ndim != 2:
        return None
    integers, scale, zero_point = arrays[0], arrays[1], arrays[2] if len(arrays) > 2 else None
    channels = 0 if node.get("transB", 0) else 1
    block = int(maker.get("block_size", 0))
    axis = int(maker.get("axis", 1)) % 2
    if scale.size > 1 and axis != (1 - channels if block else channels):
        return None

    def in_rows(array: NDArray[Any]) -> NDArray[Any]:
        if array.ndim == 2:
            return array if channels == 0 else array.T
        return np.broadcast_to(array.reshape(-1, 1), (integers.shape[channels], 1))

    zeros = None if zero_point is None else in_rows(zero_point).astype(np.int16)
    kind = onnx.TensorProto.DataType.Name(graph.elem_type(maker.inputs[0])).lower()
    zeros = None if zeros is None or not zeros.any() else zeros
    return Stored(in_rows(integers).astype(np.int16), in_rows(scale).astype(np.float32), zeros, kind, block)


def _block_of_channel(width: int, bits: int) -> int:
    """The block with which a row with one scale takes the fewest bytes: MatMulNBits knows blocks alone, and fills them up."""
    return min(_BLOCKS, key=lambda block: -(-width // block) * (block * bits // 8 + 4))


def _bias(graph: Graph, node: Node, outputs: int) -> tuple[Node, NDArray[np.float32] | None] | None:
    """A product's last node with its bias, one number an output; None if what is added is no such row."""
    if node.op == "Gemm":
        given = graph.constant(node.input(2)) if node.input(2) else np.zeros(outputs, np.float32)
        return None if given is None or not _is_row(given, outputs) else (node, _row(given, outputs) if node.input(2) else None)
    adder = graph.next(node, "Add")
    if adder is not None:
        row = graph.constant(adder.inputs[1] if adder.inputs[0] == node.outputs[0] else adder.inputs[0])
        if row is not None and _is_row(row, outputs) and row.ndim <= (graph.rank(node.outputs[0]) or 0):
            return adder, _row(row, outputs)
    return node, None


def _is_row(array: NDArray[Any], outputs: int) -> bool:
    return array.size == 1 or (array.size == outputs and array.shape[-1] == outputs)


def _row(array: NDArray[Any], outputs: int) -> NDArray[np.float32]:
    return np.broadcast_to(array.reshape(-1), (outputs,)).astype(np.float32)


def _to_integer_product(graph: Graph, node: Node, stored: Stored, rounding: Node) -> bool:
    found = _bias(graph, node, len(stored.integers))
    if found is None:
        return False
    last, bias = found
    name = node.inputs[1]
    scale = stored.scale.reshape(-1)
    integers = graph.add_constant(np.ascontiguousarray(stored.integers.T.astype(np.int8)), f"{name}/integers")
    inputs = [rounding.outputs[0], integers, rounding.outputs[1], graph.add_constant(scale, f"{name}/scale"), rounding.outputs[2]]
    if bias is not None:
        inputs += ["", graph.add_constant(bias, f"{name}/bias")]
    _replace(graph, node, last, "MatMulIntegerToFloat", inputs)
    return True


def _to_few_bits(graph: Graph, node: Node, stored: Stored, accuracy_level: int) -> bool:
    outputs, width = stored.integers.shape
    found = _bias(graph, node, outputs)
    if found is None:
        return False
    last, bias = found
    name, bits = node.inputs[1], stored.bits
    block = stored.block or _block_of_channel(width, bits)
    arrays = few_bits(stored, block)
    inputs = [node.inputs[0], *(graph.add_constant(array, f"{name}/{what}") for what, array in arrays.items())]
    if bias is not None:
        inputs += [""] * (5 - len(inputs)) + [graph.add_constant(bias, f"{name}/bias")]
    sizes = {"K": width, "N": outputs, "bits": bits, "block_size": block, "accuracy_level": accuracy_level}
    _replace(graph, node, last, "MatMulNBits", inputs, **sizes)
    return True


def _replace(graph: Graph, node: Node, last: Node, op: str, inputs: list[str], **attributes: int) -> None:
    nodes = [node] if last is node else [node, last]
    made = graph.replace(nodes, op, inputs, last.outputs[0], domain=DOMAIN, **attributes)
    made.name = node.name


def few_bits(stored: Stored, block: int) -> dict[str, NDArray[Any]]:
    """Weights as MatMulNBits reads them: unsigned, low bits first, blocks filled up.

    Args:
        stored: with one scale for each output, or one for each block.
        block: inputs to a block.

    Returns:
        ``packed`` (outputs, blocks, bytes), ``scales`` (outputs, blocks), and ``zero_points`` (outputs, bytes) where they
        are not in the middle, which goes without saying.
    """
    outputs, width = stored.integers.shape
    bits, count = stored.bits, -(-width // block)
    # The middle of the unsigned numbers stands for 0 of the signed ones.
    shift = 0 if stored.kind == "uint4" else 2 ** (bits - 1)
    scale = np.broadcast_to(stored.scale, (outputs, count))
    numbers = np.zeros((outputs, count * block), np.uint8)
    numbers[:, :width] = stored.integers + shift
    found: dict[str, NDArray[Any]] = {"packed": packed(numbers, bits).reshape(outputs, count, -1), "scales": np.ascontiguousarray(scale)}
    if shift and stored.zero_point is None:
        return found
    zeros = np.zeros((outputs, 1), np.int16) if stored.zero_point is None else stored.zero_point
    return {**found, "zero_points": packed((np.broadcast_to(zeros, (outputs, count)) + shift).astype(np.uint8), bits)}


def packed(rows: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Rows of small numbers in bytes, the first in the lowest bits; each row begins a byte."""
    each = 8 // bits
    filled = np.pad(rows, ((0, 0), (0, -rows.shape[1] % each))).reshape(len(rows), -1, each)
    return np.asarray(np.bitwise_or.reduce(filled << (bits * np.arange(each, dtype=np.uint8)), axis=2), np.uint8)


def weights_alone(proto: onnx.ModelProto) -> bool:
    """Whether all that a graph dequantizes is constant, so that ONNX Runtime may as well do so once, when it opens it.

    It does so if it is told to leave Q/DQ alone; otherwise it dequantizes weights at each run, which takes a convolution
    of 64 channels over 56 x 56 from 2.2 to 2.5 ms, and gives products kernels that round activations, too.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    read = [node.input[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"]
    rounds = any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in proto.graph.node)
    return bool(read) and not rounds and constants.issuperset(read)

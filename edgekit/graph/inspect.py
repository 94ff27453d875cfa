"""What a graph costs, layer by layer: parameters, multiply-accumulates, bytes of weights and of activations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from edgekit.graph.edit import Graph, Shape
from edgekit.graph.node import Node
from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx

_NOT_PARAMETERS = ("Clip", "Pad", "Resize", "Upsample", "QuantizeLinear", "DequantizeLinear", "Range", "OneHot")
"""Their constants are bounds, sizes and scales."""

_FLOATS = {1, 10, 11, 16}
_FOUR_BITS = {21, 22, 23}
_STAYS_QUANTIZED = ("Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSwish", "HardSigmoid", "Tanh", "Gelu")


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node. Sizes that are left open count as 1.

    Attributes:
        name: the node's.
        op: its operator.
        output: name of its first output.
        shape: shape of that; empty if it is not known.
        dtype: numpy's name of its element type as the engine stores it: of a quantized layer, the integers'.
        parameters: trained numbers it is the first to use, statistics of normalizations included.
        macs: multiply-accumulates of one call.
        weight_bytes: all constants it is the first to use as they lie in the file: of quantized weights, scales and zero points too.
        activation_bytes: of its first output, in ``dtype``.
    """

    name: str
    op: str
    output: str
    shape: tuple[int | str, ...]
    dtype: str
    parameters: int = 0
    macs: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0


class Totals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sums over all layers."""

    layers: int
    parameters: int
    macs: int
    weight_bytes: int
    activation_bytes: int


def totals(rows: Iterable[Layer]) -> Totals:
    """The sums of a model's layers."""
    rows = tuple(rows)
    return Totals(
        layers=len(rows),
        parameters=sum(row.parameters for row in rows),
        macs=sum(row.macs for row in rows),
        weight_bytes=sum(row.weight_bytes for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows),
    )


def layers(proto: onnx.ModelProto) -> tuple[Layer, ...]:
    """The nodes of the main graph that run at every call, in order.

    What is worked out of constants only, such as DequantizeLinear of a weight, is no layer: its bytes are counted where
    the weight is used. QuantizeLinear and DequantizeLinear of activations are layers without cost, since engines fuse them.
    A weight that several nodes use is counted with the first.
    """
    graph = Graph(infer_shapes(proto))
    fixed = _fixed(graph)
    counted: set[str] = set()
    return tuple(_layer(graph, node, fixed, counted) for node in graph.nodes if not set(node.outputs) <= fixed.keys())


def _fixed(graph: Graph) -> dict[str, set[str]]:
    """Tensors that follow from initializers alone, and the initializers that they follow from."""
    found: dict[str, set[str]] = {}
    for node in graph.nodes:
        sources = [name for name in node.inputs if name]
        if not node.captured() and all(graph.is_constant(name) or name in found for name in sources):
            roots = set().union(*({name} if graph.is_constant(name) else found[name] for name in sources))
            found |= {name: roots for name in node.outputs if name}
    return found


def _layer(graph: Graph, node: Node, fixed: dict[str, set[str]], counted: set[str]) -> Layer:
    output = node.outputs[0]
    stored = _stored_type(graph, node)
    weights = _weights(graph, node, fixed) - counted
    counted |= weights
    quantizing = node.op in ("QuantizeLinear", "DequantizeLinear")
    return Layer(
        name=node.name,
        op=node.op,
        output=output,
        shape=graph.shape(output) or (),
        dtype=_dtype_name(stored),
        parameters=sum(_elements(graph.shape(name)) for name in weights if _is_parameter(graph, node, name)),
        macs=macs_of(graph, node),
        weight_bytes=sum(_bytes(graph.shape(name), graph.elem_type(name)) for name in weights),
        activation_bytes=0 if quantizing or graph.shape(output) is None else _bytes(graph.shape(output), stored),
    )


def _weights(graph: Graph, node: Node, fixed: dict[str, set[str]]) -> set[str]:
    direct = {name for name in node.inputs if name and graph.is_constant(name)}
    behind = {root for name in node.inputs for root in fixed.get(name, ())}
    return direct | behind


def _is_parameter(graph: Graph, node: Node, name: str) -> bool:
    """Numbers that were trained: floats but for bounds and scales; integers where they are dequantized."""
    if node.op in _NOT_PARAMETERS:
        return False
    if graph.elem_type(name) in _FLOATS:
        users = [user for user in graph.users(name) if user.op in ("DequantizeLinear", "QuantizeLinear")]
        return not any(name in user.inputs[1:] for user in users)
    return any(user.op == "DequantizeLinear" and user.inputs[0] == name for user in graph.users(name))


def _stored_type(graph: Graph, node: Node) -> int:
    """The element type of an output, or of the integers that it is quantized to once its activation is done."""
    name = node.outputs[0]
    while len(users := graph.users(name)) == 1 and name not in graph.pinned:
        user = users[0]
        if user.op == "QuantizeLinear":
            return graph.elem_type(user.outputs[0])
        if user.op not in _STAYS_QUANTIZED:
            break
        name = user.outputs[0]
    return graph.elem_type(node.outputs[0])


_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


def macs_of(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of one call; 0 for operators that do none worth counting.

    ========================  ==========================================================
    Conv                      outputs x (input channels / groups) x kernel
    ConvTranspose             inputs x (output channels / groups) x kernel
    Gemm                      rows x columns x depth
    MatMul                    outputs x depth
    LSTM, GRU, RNN            steps x batch x (weights of inputs and of states)
    ========================  ==========================================================

    Bias, activation, pooling and normalization are not counted, as is usual.
    """
    if node.op in _RECURRENT:
        steps_and_batch, weights = (graph.shape(node.inputs[0]) or ())[:2], [graph.shape(name) for name in node.inputs[1:3]]
        return _elements(steps_and_batch) * sum(map(_elements, weights))
    if node.op not in PRODUCTS:
        return 0
    source, weight, output = (graph.shape(name) for name in (node.inputs[0], node.inputs[1], node.outputs[0]))
    if source is None or weight is None or output is None:
        return 0
    if node.op == "Conv":
        return _elements(output) * _elements(weight[1:])
    if node.op == "ConvTranspose":
        return _elements(source) * _elements(weight[1:])
    depth = source[0] if node.op == "Gemm" and node.get("transA", 0) else source[-1]
    return _elements(output) * _elements((depth,))


def _elements(shape: Shape | None) -> int:
    return math.prod(size if isinstance(size, int) else 1 for size in shape) if shape is not None else 0


def _bytes(shape: Shape | None, elem_type: int) -> int:
    if elem_type in _FOUR_BITS:
        return (_elements(shape) + 1) // 2
    import onnx

    return _elements(shape) * int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize) if elem_type else 0


def _dtype_name(elem_type: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type).name) if elem_type else ""

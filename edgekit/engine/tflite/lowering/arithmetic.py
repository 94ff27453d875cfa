"""Elementwise arithmetic of two tensors, or of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Constant, Fault, Graph, Node
from edgekit.engine.tflite.lowering.contract import flow_quantized, integers_of
from edgekit.engine.tflite.orders import Order
from edgekit.engine.tflite.precision import exact

_BUILTIN = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Max": "MAXIMUM", "Min": "MINIMUM", "Pow": "POW"}
_FUSED = frozenset({"Add", "Sub", "Mul", "Div"})
_SAME_SCALE = frozenset({"Max", "Min"})


def check_pair(node: Node, graph: Graph) -> Fault | None:
    """Why an operation on two tensors cannot be lowered."""
    if len(graph.computed(node)) == 0:
        return Fault("both inputs are constant", "run the pass simplify")
    return None


def has_activation(node: Node, graph: Graph) -> bool:
    """Whether TFLite's operator applies an activation."""
    return node.op in _FUSED


def integer_pair(node: Node, graph: Graph) -> bool:
    """Whether it has an integer kernel: all sides integers at one scale each. A single number always has an exact scale."""
    if node.op in ("Pow", "Div") or not flow_quantized(node, graph):
        return False
    constants = [graph.constants[name] for name in node.inputs if graph.is_constant(name)]
    return all(constant.stored.size == 1 or _is_integer(constant, integers_of(node, graph)) for constant in constants)


def _is_integer(constant: Constant, integers: str) -> bool:
    return constant.quant is not None and constant.quant.is_per_tensor and constant.stored.dtype.name == integers


def lower_pair(node: Node, to: Emitter) -> None:
    """Lower an operation on two tensors."""
    order = to.order(node.outputs[0])
    quant = to.graph.quant(node.outputs[0]) if node.integer else None
    sides = [operand(node, to, index, order) for index in (0, 1)]
    if node.integer and node.op in _SAME_SCALE and quant is not None:
        sides = [side if to.draft.quant(side) == quant else _rescaled(to, side, node, index) for index, side in enumerate(sides)]
    options = {"fusedActivationFunction": node.activation} if node.op in _FUSED else {}
    to.add(_BUILTIN[node.op], sides, [to.write(node, order)], **options)


def _rescaled(to: Emitter, side: int, node: Node, index: int) -> int:
    """An operand at the scale of the output, as LiteRT prescribes for MAXIMUM and MINIMUM."""
    result = to.temporary(f"{node.inputs[index]}_rescaled", to.draft.shape(side), to.graph.quant(node.outputs[0]))
    to.add("QUANTIZE", [side], [result])
    return result


def operand(node: Node, to: Emitter, index: int, order: Order) -> int:
    """One side of an elementwise operation, in the output's order."""
    graph, name = to.graph, node.inputs[index]
    if graph.is_constant(name):
        constant = graph.constants[name]
        integers = integers_of(node, graph)
        if node.integer and not _is_integer(constant, integers):
            quant = exact(constant.real(), integers)
            assert quant is not None
            return to.constant(name, quant.stored(constant.real().reshape(())), quant)
        return to.number(node, index, order)
    rank = len(graph.shape(name))
    if rank == len(order.axes):
        return to.read(node, index, order)
    # TFLite, like ONNX, lines shapes up at their ends; the axes before a shorter one are written out, then sorted.
    source = to.read(node, index, orders.plain(rank))
    whole = (1,) * (len(order.axes) - rank) + graph.shape(name)
    lifted = to.reshaped(source, f"{name}_lifted", whole)
    if orders.same_memory(whole, orders.plain(len(whole)), order):
        return to.reshaped(lifted, f"{name}_lifted", orders.stored_shape(whole, order))
    return to.transposed(lifted, f"{name}_transposed", order.axes)


def lower_single(op: str, node: Node, to: Emitter) -> None:
    """Lower an operation that TFLite has under one name."""
    order = to.order(node.outputs[0])
    to.add(op, [to.read(node, 0, order)], [to.write(node, order)])


def single(op: str) -> Callable[[Node, Emitter], None]:
    """A lowering to this builtin operator of one input."""
    return partial(lower_single, op)


def lower_reciprocal(node: Node, to: Emitter) -> None:
    """Lower a Reciprocal to a division."""
    order = to.order(node.outputs[0])
    one = to.constant("one", np.asarray(1, np.float32))
    to.add("DIV", [one, to.read(node, 0, order)], [to.write(node, order)], fusedActivationFunction="NONE")

"""Activations: functions of one element, and Softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.fusing import FUSED, bounds
from edgekit.engine.tflite.graph import Fault, Graph, Node, Quant
from edgekit.engine.tflite.lowering.contract import all_quantized, integers_of
from edgekit.engine.tflite.lowering.shape import stored_number
from edgekit.engine.tflite.orders import Order
from edgekit.engine.tflite.precision import exact

# LiteRT's specifications of int8 and of int16: what these operators write at, whatever they read.
WIDE_SHARE = Quant((1 / 32768,), (0,), dtype="int16")
SHARE = {"int8": Quant((1 / 256,), (-128,)), "int16": WIDE_SHARE}
SIGNED_SHARE = {"int8": Quant((1 / 128,), (0,)), "int16": WIDE_SHARE}
LOG_SHARE = {"int8": Quant((16 / 256,), (127,))}
_SIXTH = {"int8": Quant((6 / 255,), (-128,)), "int16": Quant((6 / 32767,), (0,), dtype="int16")}


def lower_fixed(op: str, quants: Mapping[str, Quant], node: Node, to: Emitter) -> None:
    """Lower to an operator whose output has a scale of its own, by its integers."""
    order = to.order(node.outputs[0])
    to.add(op, [to.read(node, 0, order)], [to.write(node, order, quant=quants[integers_of(node, to.graph)])])


lower_sigmoid = partial(lower_fixed, "LOGISTIC", SHARE)
lower_tanh = partial(lower_fixed, "TANH", SIGNED_SHARE)


def check_clip(node: Node, graph: Graph) -> Fault | None:
    """Why a Clip cannot be lowered."""
    return Fault("its bounds are computed", "make them constants") if bounds(graph, node) is None else None


def lower_clip(node: Node, to: Emitter) -> None:
    """Lower a Relu or Clip that no operator before it took over."""
    limits = bounds(to.graph, node)
    assert limits is not None
    order = to.order(node.outputs[0])
    source = to.read(node, 0, order)
    name = FUSED.get(limits)
    if name is not None and node.integer:
        _times(node, to, source, 1.0, to.write(node, order), name)
        return
    if name is not None:
        to.add(name, [source], [to.write(node, order)])
        return
    quant = to.draft.quant(source)
    result = to.write(node, order, quant=quant)
    sides = [(op, limit) for op, limit in (("MAXIMUM", limits[0]), ("MINIMUM", limits[1])) if np.isfinite(limit)]
    for op, limit in sides[:-1]:
        passed = to.like(result, f"{node.outputs[0]}_at_least", to.draft.shape(result))
        to.add(op, [source, to.constant("bound", stored_number(limit, quant), quant)], [passed])
        source = passed
    if sides:
        op, limit = sides[-1]
        to.add(op, [source, to.constant("bound", stored_number(limit, quant), quant)], [result])
    else:
        to.reshape(source, result)


def _times(node: Node, to: Emitter, source: int, factor: float, result: int, activation: str = "NONE") -> None:
    """Multiply by a number, which integers hold exactly as their greatest, and apply an activation on the way.

    In integers, by 1 this is an activation that XNNPACK computes: it has no int8 kernel for RELU alone, and LiteRT's own
    takes sixty times longer (measured on x86-64).
    """
    to.add("MUL", [source, _number(to, factor, node)], [result], fusedActivationFunction=activation)


def lower_leaky_relu(node: Node, to: Emitter) -> None:
    """Lower a LeakyRelu."""
    order = to.order(node.outputs[0])
    to.add("LEAKY_RELU", [to.read(node, 0, order)], [to.write(node, order)], alpha=node.attrs.get("alpha", 0.01))


def check_elu(node: Node, graph: Graph) -> Fault | None:
    """Why an Elu cannot be lowered."""
    return Fault("TFLite's ELU has alpha 1", "use alpha=1") if node.attrs.get("alpha", 1.0) != 1.0 else None


def lower_gelu(node: Node, to: Emitter) -> None:
    """Lower a Gelu."""
    order = to.order(node.outputs[0])
    to.add("GELU", [to.read(node, 0, order)], [to.write(node, order)], approximate=node.attrs.get("approximate", "none") == "tanh")


def check_prelu(node: Node, graph: Graph) -> Fault | None:
    """Why a PRelu cannot be lowered."""
    return None if graph.is_constant(node.inputs[1]) else Fault("its slope is computed", "make it a constant")


def lower_prelu(node: Node, to: Emitter) -> None:
    """Lower a PRelu; its slope has the axes of the input without the batch."""
    order = to.order(node.outputs[0])
    slope = to.arranged(node, 1, order)
    rank = len(order.axes)
    whole = (1,) * (rank - slope.stored.ndim) + slope.shape
    # PRELU wants the slope without the batch axis; the first stored axis is the batch in every order a picture has.
    tensor = to.constant(node.inputs[1], slope.stored.reshape(whole[1:] if rank > 1 and whole[0] == 1 else whole), slope.quant)
    to.add("PRELU", [to.read(node, 0, order), tensor], [to.write(node, order)])


def integer_hard_sigmoid(node: Node, graph: Graph) -> bool:
    """Whether a HardSigmoid is computed in integers: not if it falls, since a scale times its alpha must be above zero."""
    return node.attrs.get("alpha", 0.2) > 0 and all_quantized(node, graph)


def lower_hard_sigmoid(node: Node, to: Emitter) -> None:
    """Lower a HardSigmoid, min(1, max(0, alpha x + beta)), to ReLU6(6 alpha x + 6 beta) / 6."""
    alpha, beta = node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5)
    order = to.order(node.outputs[0])
    source = to.read(node, 0, order)
    shape, quant = to.draft.shape(source), to.draft.quant(source)
    if not np.isclose(6 * alpha, 1, rtol=1e-5):
        scaled = to.temporary(f"{node.outputs[0]}_scaled", shape, quant and replace(quant, scale=(quant.scale[0] * 6 * alpha,)))
        _times(node, to, source, 6 * alpha, scaled)
        source = scaled
    clipped = to.temporary(f"{node.outputs[0]}_times_6", shape, quant and _SIXTH[quant.dtype])
    to.add("ADD", [source, _number(to, 6 * beta, node)], [clipped], fusedActivationFunction="RELU6")
    _times(node, to, clipped, 1 / 6, to.write(node, order))


def lower_hard_swish(node: Node, to: Emitter) -> None:
    """Lower a HardSwish; in float for an NPU to x ReLU6(x + 3) / 6, since Vela ends on a HARD_SWISH of floats."""
    order = to.order(node.outputs[0])
    source, result = to.read(node, 0, order), to.write(node, order)
    if node.integer or not to.npu:
        to.add("HARD_SWISH", [source], [result])
        return
    clipped, product = (to.temporary(f"{node.outputs[0]}_{what}", to.draft.shape(source)) for what in ("clipped", "times_6"))
    to.add("ADD", [source, _number(to, 3.0, node)], [clipped], fusedActivationFunction="RELU6")
    to.add("MUL", [source, clipped], [product], fusedActivationFunction="NONE")
    _times(node, to, product, 1 / 6, result)


def _number(to: Emitter, number: float, node: Node) -> int:
    array = np.asarray(number, np.float32)
    quant = exact(array, integers_of(node, to.graph)) if node.integer else None
    return to.constant("number", array if quant is None else quant.stored(number), quant)


def lower_softmax(node: Node, to: Emitter) -> None:
    """Lower a Softmax or LogSoftmax, which TFLite computes over the last stored axis."""
    order = to.order(node.outputs[0])
    axis = node.attrs.get("axis", -1) % len(order.axes)
    if order.axes[-1] != axis:
        order = Order((*(one for one in order.axes if one != axis), axis))
    source = to.read(node, 0, order)
    if node.op == "LogSoftmax":
        to.add("LOG_SOFTMAX", [source], [to.write(node, order, quant=LOG_SHARE["int8"])])
    else:
        to.add("SOFTMAX", [source], [to.write(node, order, quant=SHARE[integers_of(node, to.graph)])], beta=1.0)

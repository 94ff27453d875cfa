"""Q/DQ nodes become properties of the tensors around them.

Nothing is quantized here: what a graph says in QuantizeLinear and DequantizeLinear is said again as a :class:`Quant` on
a tensor. uint8 becomes int8 with the zero point moved by 128, which is the same numbers in the integers that TFLite
computes in; uint16 likewise becomes int16, of which TFLite takes zero point 0 alone. Where ONNX's nodes stand only on
one side of a node that moves values without changing them (Reshape, MaxPool, …), the tensor on its other side is
quantized alike: both orders give the same integers.

Weights of 4 bits stay int4; where 2 bits hold them, they become int2, for which opset 21 has no type. What a
DynamicQuantizeLinear rounds is real to TFLite, whose products round it themselves: their nodes are marked.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.engine.tflite.graph import Array, Constant, Fault, Graph, Node, NotConstantError, Quant, Value

_Q, _DQ, _DYNAMIC = "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"
DYNAMIC = (
    "its integers are at a scale found anew for each input, in a form that this backend does not read",
    "build the float model with the recipe dynamic_wi8_afp32 or static_wi8_ai8, or this one for onnxruntime",
)
PER_CHANNEL = (
    "it has a scale for each channel of what is computed",
    "quantize activations per tensor: NNCF does with QuantizationParameters(per_channel=False) for activations; or build for onnxruntime",
)
_FEW_BITS = {"int4": 0, "uint4": 8}
"""Types below 8 bits, with what makes signed numbers of them."""
_UNSIGNED = {"uint8": 128, "uint16": 32768}
"""Wider types, with the same."""
_WIDE = ("int16", "uint16")
_AS_THEY_ARE = ("float32", "float16")


def settle(graph: Graph) -> dict[Node, Fault]:
    """Take the Q/DQ nodes out of a graph; what stays of them are QuantizeLinear nodes from one integer scale to another,
    or from a value that is also used as it is.

    Returns:
        The Q/DQ nodes that say what TFLite has no form for.
    """
    consumers = graph.consumers()
    faults: dict[Node, Fault] = {}
    known_as: dict[str, str] = {}
    rounded: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        node.inputs = [known_as.get(name, name) for name in node.inputs]
        if node.op == _DYNAMIC:
            rounded[node.outputs[0]] = node.inputs[0]
            continue
        if node.op == _DQ and node.inputs[0] in rounded:
            fault = _settle_dynamic(graph, node, rounded[node.inputs[0]], consumers, known_as)
            if fault is not None:
                faults[node] = fault
                kept.append(node)
            continue
        if node.op not in (_Q, _DQ, "Cast"):
            kept.append(node)
            continue
        try:
            fault, stays = _settle_node(graph, node, consumers, known_as)
        except NotConstantError as error:
            fault, stays = Fault(f"its scale {error} is computed", "quantize with constant scales"), False
        if fault is not None:
            faults[node] = fault
        if stays or fault is not None:
            kept.append(node)
    graph.nodes = kept
    graph.outputs = {port: known_as.get(name, name) for port, name in graph.outputs.items()}
    return faults


def _settle_node(graph: Graph, node: Node, consumers: dict[str, list[Node]], known_as: dict[str, str]) -> tuple[Fault | None, bool]:
    """Settle one node; whether it stays in the graph."""
    source, result = node.inputs[0], node.outputs[0]
    if node.op == "Cast":
        return None, not _settle_cast(graph, node, known_as)
    constant = graph.constants.get(source)
    quant, dtype, fault = _quant(graph, node, constant)
    if fault is None and constant is None and quant is not None and not quant.is_per_tensor:
        fault = Fault(*PER_CHANNEL)
    if fault is not None or quant is None:
        return fault, True
    if constant is not None:
        made = _dequantized(graph, node, constant, quant) if node.op == _DQ else _quantized(constant, quant, dtype)
        if node.op == _DQ and len(consumers.get(source, [])) == 1:
            # Weights keep the name that the model gave them.
            graph.constants[source], known_as[result] = made, source
        else:
            graph.constants[result] = made
        return None, False
    if node.op == _Q:
        return None, _settle_quantize(graph, node, quant, consumers, known_as)
    return _settle_dequantize(graph, node, quant, known_as)


def _settle_dynamic(graph: Graph, node: Node, source: str, consumers: dict[str, list[Node]], known_as: dict[str, str]) -> Fault | None:
    """Let those who read what is rounded at run time read it unrounded, and know."""
    result = node.outputs[0]
    if result in graph.outputs.values():
        return Fault("what it rounds at run time is an output", "leave the rounding to a product")
    known_as[result] = source
    for reader in consumers.get(result, []):
        reader.dynamic = True
    return None


def _settle_dequantize(graph: Graph, node: Node, quant: Quant, known_as: dict[str, str]) -> tuple[Fault | None, bool]:
    value = graph.values[node.inputs[0]]
    if value.quant not in (None, quant):
        return Fault("it reads integers at another scale than they were written", "quantize the model again"), True
    value.quant = quant
    known_as[node.outputs[0]] = node.inputs[0]
    return None, False


def _settle_quantize(graph: Graph, node: Node, quant: Quant, consumers: dict[str, list[Node]], known_as: dict[str, str]) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    value = graph.values[source]
    readers = consumers.get(source, [])
    if value.quant is None and source not in graph.outputs and all(_asks_for(graph, reader, quant) for reader in readers):
        value.quant = quant
    if value.quant == quant:
        known_as[result] = source
        return False
    graph.values[result] = Value(value.shape, "float32", quant)
    return True


def _asks_for(graph: Graph, reader: Node, quant: Quant) -> bool:
    if reader.op != _Q:
        return False
    try:
        return _quant(graph, reader, None)[0] == quant
    except NotConstantError:
        return False


def _settle_cast(graph: Graph, node: Node, known_as: dict[str, str]) -> bool:
    """Casts of float16 weights to float32 only say how the weights are stored."""
    source, result = node.inputs[0], node.outputs[0]
    if source in graph.constants and graph.constants[source].stored.dtype.name in _AS_THEY_ARE and node.attrs.get("to") == 1:
        known_as[result] = source
        return True
    if source in graph.values and graph.values[source].dtype == graph.values[result].dtype == "float32":
        known_as[result] = source
        return True
    return False


def _quant(graph: Graph, node: Node, constant: Constant | None) -> tuple[Quant | None, str, Fault | None]:
    """What a Q or DQ node says, in terms of signed integers, and the integer type it says it in."""
    scale = graph.numbers(node, 1)
    zero_point = graph.numbers(node, 2)
    assert scale is not None
    if node.attrs.get("block_size", 0):
        return None, "", Fault("it has a scale for each block", "quantize weights per channel")
    if zero_point is None:
        zero_point = np.zeros(scale.shape, _integer_type(graph, node))
    dtype = zero_point.dtype.name
    if dtype not in (*_UNSIGNED, "int8", "int16", "int32") and (constant is None or dtype not in _FEW_BITS):
        return None, dtype, Fault(f"{dtype} has no integer kernels in this backend", "quantize to 8 bits")
    shift = _few_bits(constant.stored, zero_point)[0] if constant is not None and dtype in _FEW_BITS else _UNSIGNED.get(dtype, 0)
    zeros = [int(zero) - shift for zero in np.broadcast_to(zero_point, scale.shape).ravel()]
    rank = len(graph.shape(node.inputs[0])) if constant is not None else 1
    axis = node.attrs.get("axis", 1) % max(rank, 1) if scale.size > 1 else 0
    width = "int16" if dtype in _WIDE else "int8"
    quant = Quant(tuple(float(one) for one in scale.ravel()), tuple(zeros), axis, width)
    if not quant.has_sound_scales:
        return None, dtype, Fault(f"its scale is {scale.min()}, not above zero and finite", "quantize the model again")
    if dtype in _WIDE and constant is not None and not quant.is_per_tensor:
        return None, dtype, Fault(f"LiteRT reads no {dtype} weights by channel", "quantize weights to 8 bits")
    if dtype in _WIDE and not quant.is_symmetric:
        return None, dtype, Fault(f"its {dtype} have another zero point than the middle", "quantize to 16 bits symmetrically, or to 8")
    return quant, dtype, None


def _integer_type(graph: Graph, node: Node) -> str:
    """The type of the integers around a node that has no zero point to tell it."""
    name = node.inputs[0] if node.op == _DQ else node.outputs[0]
    return graph.constants[name].stored.dtype.name if name in graph.constants else graph.values[name].dtype or "uint8"


def _few_bits(integers: Array, zero_point: Array | None) -> tuple[int, str]:
    """What is taken from integers of 4 bits and their zero points to make signed ones, and the type that holds these."""
    shift = _FEW_BITS[integers.dtype.name]
    numbers = [integers.astype(np.int16)] + ([] if zero_point is None else [zero_point.astype(np.int16)])
    low, high = min(int(one.min()) for one in numbers), max(int(one.max()) for one in numbers)
    middle = 2 if shift else 0
    return (middle, "int2") if low - middle >= -2 and high - middle <= 1 else (shift, "int4")


def _dequantized(graph: Graph, node: Node, constant: Constant, quant: Quant) -> Constant:
    stored = constant.stored
    if stored.dtype.name in _UNSIGNED:
        stored = (stored.astype(np.int32) - _UNSIGNED[stored.dtype.name]).astype(stored.dtype.name.removeprefix("u"))
    elif stored.dtype.name in _FEW_BITS:
        import ml_dtypes

        shift, kind = _few_bits(stored, graph.numbers(node, 2))
        stored = (stored.astype(np.int8) - shift).astype(np.int8).astype(ml_dtypes.int2 if kind == "int2" else ml_dtypes.int4)
    return Constant(stored, quant)


def _quantized(constant: Constant, quant: Quant, dtype: str) -> Constant:
    """The integers that ONNX's QuantizeLinear makes of a constant, in the type it names."""
    shift = _UNSIGNED.get(dtype, 0)
    scale, zero_point = quant.along(constant.stored.ndim)
    limits = np.iinfo(np.dtype(dtype))
    integers = np.clip(np.rint(constant.real() / scale) + zero_point + shift, limits.min, limits.max)
    return Constant(integers.astype(dtype))


def spread(graph: Graph, moves: Callable[[Node], bool]) -> None:
    """Let scales pass over nodes that move values without changing them, as far as they go.

    Args:
        graph: a settled graph; its values are changed.
        moves: whether a node only moves values, so that it gives the same integers before and after rounding.
    """
    consumers = graph.consumers()
    movers = [node for node in graph.nodes if moves(node)]
    changed = True
    while changed:
        changed = False
        for node in (*movers, *reversed(movers)):
            changed |= _spread_over(graph, node, consumers)


def _spread_over(graph: Graph, node: Node, consumers: dict[str, list[Node]]) -> bool:
    before, after = graph.computed(node), [name for name in node.outputs if name]
    changed = False
    scales = {graph.values[name].quant for name in before}
    if len(scales) == 1 and None not in scales and any(graph.values[name].quant is None for name in after):
        for name in after:
            graph.values[name].quant = graph.values[name].quant or next(iter(scales))
        changed = True
    scales = {graph.values[name].quant for name in after}
    if len(scales) == 1 and None not in scales:
        for name in before:
            exclusive = len(consumers[name]) == 1 and name not in graph.outputs.values()
            if graph.values[name].quant is None and exclusive:
                graph.values[name].quant = next(iter(scales))
                changed = True
    return changed


def exact(number: Array, integers: str = "int8") -> Quant | None:
    """The scale at which a single number is stored without error; ``None`` if there are several.

    A scalar of a model is no measured range: no rounding is decided by storing it as plus or minus the greatest integer.
    """
    if number.size != 1:
        return None
    size = abs(float(number.ravel()[0]))
    return Quant((size / np.iinfo(integers).max if size else 1.0,), (0,), dtype=integers)

"""From an ONNX file to a TFLite file: the stages one after another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.engine.contract import Delegation, Port, Refusal
from edgekit.engine.tflite import layout, orders, precision, selecting
from edgekit.engine.tflite.delegates.judge import delegation
from edgekit.engine.tflite.delegates.network import network_of
from edgekit.engine.tflite.delegates.rules import table
from edgekit.engine.tflite.draft import Draft, DraftOperator
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.fusing import fuse
from edgekit.engine.tflite.graph import Constant, Fault, Graph, Node, Quant, is_open
from edgekit.engine.tflite.layout import Wish
from edgekit.engine.tflite.lowering.table import LOWERINGS
from edgekit.engine.tflite.metadata import files_of, metadata_of
from edgekit.engine.tflite.normal import REWRITES, normalize
from edgekit.engine.tflite.options import TfliteOptions
from edgekit.engine.tflite.orders import Order
from edgekit.engine.tflite.reading import read_graph
from edgekit.engine.tflite.unflatten import sort_rows
from edgekit.engine.tflite.writer import file_bytes
from edgekit.errors import UnsupportedError, first_of
from edgekit.graph.quantized import INTEGER_OPS
from edgekit.model import Model, Tensor

_REMEDY = "replace that layer, or build for another runtime, such as onnxruntime"
_OPEN = frozenset({"Compress", "NonZero", "Unique"})
_CUT = "end the model before it and do this step outside, on the outputs"
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_MOST_BYTES = 2**31 - 2**24
_PORT_TYPES = frozenset({"bool", "float16", "float32", "int8", "int16", "int32", "int64", "uint8"})
_INDEX_TYPES = frozenset({"bool", "int32", "int64"})
_HEAVY = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"})


@dataclass(frozen=True, slots=True)
class Lowered:
    """What came out: the file, the files to append to it, its ports, and what is worth reporting."""

    content: bytearray | memoryview
    files: dict[str, bytes]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    precision: str
    details: dict[str, Any]
    delegation: Delegation


@dataclass(frozen=True, slots=True)
class _Drafted:
    """A draft with the graph it was made of, and the tensors of its ports by name."""

    graph: Graph
    draft: Draft
    inputs: dict[str, int]
    outputs: dict[str, int]


def refusals(path: Path, options: TfliteOptions) -> tuple[Refusal, ...]:
    """Every node of an ONNX file, and every port, that cannot be lowered. Nothing is written.

    Raises:
        SourceError: the file cannot be read.
    """
    return _prepared(path, options)[1]


def lowered(model: Model, options: TfliteOptions, release: str = "") -> Lowered:
    """The TFLite file of a Model.

    Args:
        model: what is built from.
        options: of the engine.
        release: of LiteRT on the target.

    Raises:
        UnsupportedError: something in it cannot be lowered, or would not run in XNNPACK where all has to.
        SourceError: its file cannot be read.
    """
    drafted = _drafted(model, options)
    draft, tensors = drafted.draft, _tensors(model)
    found = delegation(network_of(draft), table("xnnpack").at(release))
    if options.require_full_delegation and not found.is_full:
        raise _left_to_kernels(found)
    size = sum(buffer.size for buffer in draft.buffers)
    if size > _MOST_BYTES:
        raise UnsupportedError(f"its constants take {size} bytes, a TFLite file holds 2 GiB", hint="quantize it, or use another runtime")
    ports = drafted.inputs, drafted.outputs
    taken, given = (tuple(_port(draft, name, index, tensors.get(name), options) for name, index in ones.items()) for ones in ports)
    return Lowered(
        content=file_bytes(draft, *ports, metadata_of(model.signature, taken, given)),
        files=files_of(model.signature, given),
        inputs=taken,
        outputs=given,
        precision=_precision(draft),
        details=_details(drafted.graph, draft),
        delegation=found,
    )


def foreseen(model: Model, options: TfliteOptions, release: str, *, assumed: str) -> Delegation:
    """What XNNPACK would take of a Model, for a plan; nothing is written.

    Args:
        model: quantized as it will be.
        options: of the engine.
        release: of LiteRT on the target.
        assumed: what of the model is made up, where something is; its scales then decide nothing.

    Raises:
        UnsupportedError: something in it cannot be lowered.
        SourceError: its file cannot be read.
    """
    rules = table("xnnpack").at(release)
    if assumed:
        rules = rules.without_scales()
    return msgspec.structs.replace(delegation(network_of(_drafted(model, options).draft), rules), assumed=assumed)


def _left_to_kernels(found: Delegation) -> UnsupportedError:
    """The error that says what XNNPACK leaves of an engine of which it has to take all."""
    lines = [one.line() for one in found.left]
    return UnsupportedError(
        f"XNNPACK takes {found.taken} of {found.operators} operators, and all were asked for:",
        hint="change the model or the recipe as each line says, or leave --require-full-delegation out",
        refusals=first_of(lines),
    )


def _tensors(model: Model) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in (*model.signature.inputs, *model.signature.outputs)}


def _drafted(model: Model, options: TfliteOptions) -> _Drafted:
    """A Model lowered.

    Raises:
        UnsupportedError: something in it cannot be lowered.
        SourceError: its file cannot be read.
    """
    graph, found = _prepared(model.path, options)
    if found:
        raise UnsupportedError(
            "TFLite cannot carry this model:",
            hint="`edgekit plan` says so before anything is calibrated",
            refusals=[refusal.line() for refusal in found],
        )
    tensors = _tensors(model)
    ports = {name: _port_order(graph, name, tensors.get(name), options) for name in (*graph.inputs, *graph.outputs)}
    draft = Draft()
    emitter = Emitter(graph, layout.plan(graph, _wish(graph), {name: ports[name] for name in graph.inputs}), draft, npu=options.npu)
    inputs = {name: _enter(emitter, name, ports[name], options) for name in graph.inputs}
    for node in graph.nodes:
        emitter.lower(node, LOWERINGS[node.op].lower)
    outputs = {name: _leave(emitter, name, ports[name], options) for name in graph.outputs}
    return _Drafted(graph, draft, inputs, outputs)


def _prepared(path: Path, options: TfliteOptions) -> tuple[Graph, tuple[Refusal, ...]]:
    """A graph ready to be lowered, and what stands against lowering it."""
    graph = read_graph(path)
    across = {} if any(is_open(graph, name) for name in graph.inputs) else selecting.close(graph)
    if across:
        return graph, tuple(_refusal(node, graph, fault) for node, fault in across.items())
    if any(is_open(graph, name) for name in (*graph.inputs, *graph.values)):
        return graph, _refusals_of_open(graph)
    faults = precision.settle(graph)
    faults |= normalize(graph)
    fuse(graph, lambda node: node.op in LOWERINGS and LOWERINGS[node.op].activation(node, graph))
    sort_rows(graph)
    precision.spread(graph, lambda node: node.op in LOWERINGS and LOWERINGS[node.op].moves(node, graph))
    found = []
    for node in graph.nodes:
        fault = faults.get(node) or _fault(node, graph)
        if fault is not None:
            found.append(_refusal(node, graph, fault))
        else:
            node.integer = not node.kept_float and LOWERINGS[node.op].in_integers(node, graph, slowly=options.npu)
    return graph, (*found, *_refused_ports(graph, options))


def _wish(graph: Graph) -> Any:
    def wish(node: Node) -> Wish:
        return LOWERINGS[node.op].wish(node, graph)

    return wish


def _fault(node: Node, graph: Graph) -> Fault | None:
    lowering = LOWERINGS.get(node.op)
    if lowering is None:
        return Fault(*precision.DYNAMIC) if node.op in INTEGER_OPS else _fault_of_unknown(node)
    fault = _fault_of_types(node, graph, lowering.types) or lowering.check(node, graph)
    if fault is None and node.dynamic and not lowering.dynamic(node, graph):
        reason = "what it reads is rounded at run time, which LiteRT does in convolutions of one group and products by int8 matrices alone"
        return Fault(reason, "quantize the model for this target")
    return fault


def _fault_of_types(node: Node, graph: Graph, types: frozenset[str]) -> Fault | None:
    for name in (*graph.computed(node), *filter(None, node.outputs)):
        value = graph.values[name]
        if value.dtype not in (*types, "") and value.quant is None:
            return Fault(f"{name} is {value.dtype}, only {_listed(types)} and what is quantized is computed here")
    return None


def _listed(types: frozenset[str]) -> str:
    return ", ".join(sorted(types))


def _refusal(node: Node, graph: Graph, fault: Fault) -> Refusal:
    before = ", ".join(_sizes(graph, name) for name in node.inputs if name and not graph.is_constant(name))
    after = ", ".join(_sizes(graph, name) for name in node.outputs if name)
    return Refusal(node=node.name, op=node.op, shapes=f"{before} -> {after}", reason=fault.reason, remedy=fault.remedy or _REMEDY)


def _sizes(graph: Graph, name: str) -> str:
    shape = graph.shape(name) if graph.is_constant(name) else graph.values[name].shape if name in graph.values else None
    return "?" if shape is None else "x".join(str(size or "?") for size in shape) or "()"


def _refusals_of_open(graph: Graph) -> tuple[Refusal, ...]:
    """What can be said of a graph whose shapes are not all known."""
    found = [_refusal(node, graph, _fault_of_unknown(node)) for node in graph.nodes if _is_unknown(node)]
    ports = [name for name in graph.inputs if is_open(graph, name)]
    if ports:
        reason, remedy = "its size is left open", "fix it with --shape"
        return (*found, *(Refusal(node=name, op="input", shapes=_sizes(graph, name), reason=reason, remedy=remedy) for name in ports))
    fault = Fault("the size of its output is not known", "run the pass simplify, or make what decides it a constant")
    first = next((node for node in graph.nodes if not _is_unknown(node) and any(is_open(graph, name) for name in node.outputs if name)), None)
    return (*found, _refusal(first, graph, fault)) if first is not None else tuple(found)


def _is_unknown(node: Node) -> bool:
    return node.op not in LOWERINGS and node.op not in REWRITES and node.op != "DequantizeLinear"


def _fault_of_unknown(node: Node) -> Fault:
    if node.op in _OPEN:
        return Fault("how much it puts out depends on the numbers it reads, and TFLite's sizes are fixed", _CUT)
    return Fault("TFLite has no operator for it that this backend knows")


def _refused_ports(graph: Graph, options: TfliteOptions) -> list[Refusal]:
    """Ports that were asked to be integers and have no scale, and constants of a type that no output can have."""
    values = {**{name: name for name in graph.inputs}, **graph.outputs}
    found = []
    for port, name in values.items():
        constant, dtype = graph.constants.get(name), graph.port_dtypes[port]
        if constant is not None and dtype != "float32":
            reason = "" if dtype in _PORT_TYPES else f"it is a constant of {dtype}, which TFLite cannot hand out here"
            remedy = "leave this output out of the model"
        elif dtype == "uint16":
            reason, remedy = "it is uint16, which TFLite has no scaled tensors of", "let the model's ports be float32 or int16"
        else:
            reason, remedy = _against_integers(graph, port, name, options.io_dtype)
        if reason:
            found.append(Refusal(node=port, op="port", shapes=_sizes(graph, name), reason=reason, remedy=remedy))
    return found


def _against_integers(graph: Graph, port: str, name: str, dtype: str) -> tuple[str, str]:
    """Why a port cannot be of the type that was asked for, and what to do; "" if it can."""
    quant, constant = graph.quant(name), graph.constants.get(name)
    if dtype == "float32":
        return "", ""
    if quant is not None and quant.dtype == "int16":
        return f"it shall be {dtype} and is stored as int16", "leave io.dtype out"
    if graph.port_dtypes[port] in _INDEX_TYPES:
        return "", ""
    is_integer = quant is not None if constant is None else _is_int8(constant)
    return ("", "") if is_integer else (f"it shall be {dtype} and is not quantized", "use a recipe that quantizes, or io_dtype = float32")


def _is_int8(constant: Constant) -> bool:
    return constant.quant is not None and constant.quant.is_per_tensor and constant.stored.dtype == np.int8


def _port_order(graph: Graph, name: str, tensor: Tensor | None, options: TfliteOptions) -> Order:
    rank = len(graph.shape(graph.outputs.get(name, name)))
    source = tensor.layout if tensor is not None else ""
    if rank != 4 or source in ("", options.io_layout):
        return orders.plain(rank)
    return orders.channels_last(4) if options.io_layout == "nhwc" else Order((0, 3, 1, 2))


def _port_type(graph: Graph, name: str, options: TfliteOptions) -> str:
    """Integer ports of the source stay what they are."""
    return options.io_dtype if graph.port_dtypes[name] == "float32" else graph.port_dtypes[name]


def _unsigned(quant: Quant) -> Quant:
    return Quant(quant.scale, (quant.zero_point[0] + 128,))


def _enter(to: Emitter, name: str, order: Order, options: TfliteOptions) -> int:
    """Make the tensor of an input, and what brings it into the form the graph wants."""
    dtype, quant = _port_type(to.graph, name, options), to.graph.values[name].quant
    given = None if quant is None or dtype == "float32" else _unsigned(quant) if dtype == "uint8" else quant
    tensor = to.temporary(name, orders.stored_shape(to.graph.shape(name), order), given, dtype)
    to.provide(name, tensor, order, given)
    return tensor


def _leave(to: Emitter, name: str, order: Order, options: TfliteOptions) -> int:
    """The tensor of an output, in the form the caller wants."""
    value = to.graph.outputs[name]
    if to.graph.is_constant(value):
        return _leave_constant(to, name, order, options)
    dtype, quant = _port_type(to.graph, name, options), to.graph.values[value].quant
    tensor = to.value(value, order, real=dtype == "float32")
    if dtype == "uint8" and quant is not None:
        signed = tensor
        tensor = to.temporary(f"{name}_uint8", to.draft.shape(signed), _unsigned(quant), "uint8")
        to.add("QUANTIZE", [signed], [tensor])
    selected = to.graph.selected.get(value)
    if selected is not None:
        to.draft.rename(tensor, f"{name}_and_more")
        tensor = to.chosen(tensor, name, selected.mask, order.where(selected.axis))
    to.draft.rename(tensor, name)
    return tensor


def _leave_constant(to: Emitter, name: str, order: Order, options: TfliteOptions) -> int:
    """The tensor of an output that no operator computes; LiteRT hands it out as it does any other."""
    constant, dtype = to.graph.constants[to.graph.outputs[name]], _port_type(to.graph, name, options)
    quant = None if to.graph.port_dtypes[name] != "float32" or dtype == "float32" else constant.quant
    if quant is None:
        array = constant.real().astype(dtype)
    elif dtype == "uint8":
        array, quant = (constant.stored.astype(np.int16) + 128).astype(np.uint8), _unsigned(quant)
    else:
        array = constant.stored
    return to.draft.own_constant(name, orders.arranged(array, order), quant)


def _port(draft: Draft, name: str, index: int, tensor: Tensor | None, options: TfliteOptions) -> Port:
    quant = draft.quant(index)
    is_picture = tensor is not None and tensor.layout != "" and len(draft.shape(index)) == 4
    return Port(
        name=name,
        dtype=draft.dtype(index),
        shape=draft.stated_shape(index),
        layout=options.io_layout if is_picture else "",
        scale=None if quant is None else quant.scale[0],
        zero_point=None if quant is None else quant.zero_point[0],
    )


def _precision(draft: Draft) -> str:
    """What convolutions and matrix products compute in, or all operators where there are none; float16 where constants are stored so."""
    computing = [operator for operator in draft.operators if operator.op not in _CONVERSIONS]
    heavy = [operator for operator in computing if operator.op in _HEAVY]
    dequantized = {operator.outputs[0]: operator.inputs[0] for operator in draft.operators if operator.op == "DEQUANTIZE"}
    forms = Counter(_form(draft, operator, dequantized) for operator in heavy) or Counter(draft.dtype(one.outputs[0]) for one in computing)
    found = max(forms, key=lambda form: (forms[form], form != "int8"), default="float32")
    if found.startswith(("int", "dynamic")):
        return found
    return "float16" if any(tensor.dtype == "float16" for tensor in draft.tensors) else "float32"


def _form(draft: Draft, operator: DraftOperator, dequantized: dict[int, int]) -> str:
    """What one of them computes in, or what its weights are stored in where that is all that is integer."""
    weights = operator.inputs[1]
    flow, stored = draft.dtype(operator.outputs[0]), draft.dtype(weights)
    if flow.startswith("int"):
        return flow if flow == stored else f"{flow}, {stored} weights"
    if stored == "int8":
        return "dynamic int8"
    source = draft.tensors[dequantized.get(weights, weights)]
    return f"{source.dtype} weights" if source.buffer and source.dtype.startswith("int") else "float32"


def _details(graph: Graph, draft: Draft) -> dict[str, Any]:
    operators = Counter(operator.op for operator in draft.operators)
    computing = (operator for operator in draft.operators if operator.op not in _CONVERSIONS)
    in_float = (
        Counter(operator.op for operator in computing if draft.dtype(operator.outputs[0]) == "float32") if operators["QUANTIZE"] else Counter[str]()
    )
    return {
        "operators": dict(sorted(operators.items())),
        "transposes": operators["TRANSPOSE"],
        "float_operators": dict(sorted(in_float.items())),
        "float_nodes": [node.name for node in graph.nodes if not node.integer] if in_float else [],
        "tensors": len(draft.tensors),
        "constant_bytes": sum(buffer.size for buffer in draft.buffers),
    }

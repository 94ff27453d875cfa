"""The torch module that computes a graph, node after node."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from edgekit.errors import SourceError, UnsupportedError
from edgekit.graph.node import Node
from edgekit.graph.opset import OPSET
from edgekit.graph.quantized import FIXED_POINT_SUMS, PRODUCTS
from edgekit.graph.trainable.call import Call, Line, Torch
from edgekit.graph.trainable.integers import INTEGER_FUNCTIONS, in_integers
from edgekit.graph.trainable.table import FUNCTIONS, NO_WEIGHTS, REFUSALS, SINGLE

if TYPE_CHECKING:
    import onnx

_COMPUTED = {**FUNCTIONS, **INTEGER_FUNCTIONS}
QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})

NOTHING: Mapping[str, Torch] = MappingProxyType({})


class Trainable(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A graph, or a part of it; made by :func:`edgekit.graph.trainable.trainable`.

    Attributes:
        inputs: names of the tensors it begins from.
        outputs: names of those it ends with.
        inner: names of those that are never there by themselves, as engines compute what makes and reads them at once.
    """

    def __init__(self, lines: Sequence[Line], inputs: Sequence[str], outputs: Sequence[str], inner: frozenset[str]) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.inner = inner
        self._lines = tuple(lines)
        self._places: dict[str, tuple[Any, str]] = {}

    @property
    def is_rounding(self) -> bool:
        """Whether numbers are stored as integers on the way."""
        return any(line.call.op == "QuantizeLinear" or line.call.op in INTEGER_FUNCTIONS for line in self._lines)

    def hold(self, name: str, value: Torch, *, as_parameter: bool) -> None:
        """Keep a constant under its name.

        A name with dots becomes modules within one another, as torch has it, so that ``state_dict`` and ``named_parameters``
        say the names of the graph. The dictionaries are written to directly: names such as ``type`` are taken by methods.
        """
        *path, last = name.split(".")
        within: Any = self
        for part in path:
            if part not in within._modules:
                within._modules[part] = nn.Module()
            within = within._modules[part]
        held = within._parameters if as_parameter else within._buffers
        held[last] = nn.Parameter(value) if as_parameter else value
        self._places[name] = (held, last)

    def constant(self, name: str) -> Torch:
        """The parameter or buffer of that name."""
        held, last = self._places[name]
        return held[last]

    def forward(self, feed: Mapping[str, Torch], instead: Mapping[str, Torch] = NOTHING) -> dict[str, Torch]:
        """Outputs by name, for inputs by name.

        Args:
            feed: values of all inputs.
            instead: tensors to take in the place of constants, or of what a node makes.

        Raises:
            SourceError: an input is missing, the numbers do not fit the graph, or a tensor is to be taken that is never there.
        """
        if never := self.inner.intersection(instead):
            raise SourceError(f"{min(never)} is computed within another node", hint="say in `replaced` what is to be replaced")
        if missing := [name for name in self.inputs if name not in feed]:
            raise SourceError(f"no values for the tensor {', '.join(missing)}", hint="give every input that the part begins from")
        known = {name: self.constant(name) for name in self._places} | {name: feed[name] for name in self.inputs} | dict(instead)
        for line in self._lines:
            if all(name in instead for name in line.makes if name):
                continue
            inputs = [known[name] if name else None for name in line.reads]
            try:
                made = _COMPUTED[line.call.op](line.call, *inputs)
            except (RuntimeError, IndexError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise SourceError(f"{line.call.op} {line.call.name}: {reason}", hint="edgekit inspect shows the shapes of the graph") from error
            results = made if isinstance(made, tuple) else (made,)
            known.update((name, value) for name, value in zip(line.makes, results, strict=False) if name and name not in instead)
            for name in line.drops:
                known.pop(name, None)
        return {name: known[name] for name in self.outputs}

    def values(self) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """Every parameter by the name of its initializer, as :func:`edgekit.graph.trainable.trained` writes it back."""
        return {name: parameter.detach().cpu().numpy() for name, parameter in self.named_parameters(remove_duplicate=False)}


def build(proto: onnx.ModelProto, inputs: Sequence[str] | None, outputs: Sequence[str] | None, replaced: Collection[str]) -> Trainable:
    """See :func:`edgekit.graph.trainable.trainable`."""
    _check_form(proto)
    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    ends = tuple(outputs) if outputs is not None else tuple(value.name for value in graph.output)
    begins = tuple(inputs) if inputs is not None else tuple(value.name for value in graph.input if value.name not in tensors)
    nodes = []
    for node in _needed(graph, begins, ends, tensors.keys()):
        if node.op == "Constant":
            tensors[node.outputs[0]] = _constant(node)
        else:
            nodes.append(node)
    straight = _straight(nodes, ends)
    calls = [replace(_call(node, tensors), is_straight=node in straight) for node in nodes]
    _check_operators(calls)
    lines = [Line(call, tuple(node.inputs), tuple(node.outputs)) for node, call in zip(nodes, calls, strict=True)]
    has_fixed_point_sums = any(entry.key == FIXED_POINT_SUMS for entry in proto.metadata_props)
    lines = in_integers(lines, {*ends, *replaced}, tensors, has_fixed_point_sums=has_fixed_point_sums)
    inner = frozenset(name for node in nodes for name in node.outputs) - {name for line in lines for name in line.makes}
    made = Trainable(_with_drops(lines, {*ends, *tensors}), begins, ends, inner)
    fixed = _fixed(nodes, tensors)
    read = {name for line in lines for name in line.reads} | set(ends)
    for name in sorted(read & tensors.keys() - set(begins)):
        value = torch.from_numpy(_array(tensors[name]))
        made.hold(name, value, as_parameter=value.is_floating_point() and name not in fixed)
    return made


def _check_form(proto: onnx.ModelProto) -> None:
    opset = next((one.version for one in proto.opset_import if not one.domain), 0)
    if opset != OPSET:
        raise UnsupportedError(
            f"graphs of opset {OPSET} can be trained, this has {opset}", hint="read it as edgekit reads a source: edgekit.graph.opset"
        )


def _needed(graph: onnx.GraphProto, begins: Sequence[str], ends: Sequence[str], constants: Iterable[str]) -> list[Node]:
    """The nodes between some tensors, in order."""
    known = {*begins, *constants}
    wanted, kept = set(ends) - known, []
    for proto in reversed(graph.node):
        if wanted.intersection(proto.output):
            node = Node(proto)
            wanted = (wanted - set(node.outputs)) | ({name for name in node.inputs if name} - known)
            kept.append(node)
    if wanted:
        hint = "give it as an input too, or begin and end with tensors that edgekit inspect lists"
        raise SourceError(f"no node between these inputs and outputs makes {', '.join(sorted(wanted))}", hint=hint)
    return kept[::-1]


def _constant(node: Node) -> TensorProto:
    """The value of a Constant node, in whichever attribute it is."""
    name = next(iter(node.attributes))
    value: Any = node.get(name)
    if name != "value":
        value = numpy_helper.from_array(np.array(value, np.float32 if "float" in name else np.int64))
    return value


def _call(node: Node, tensors: Mapping[str, TensorProto]) -> Call:
    attributes = {name: _plain(node.get(name)) for name in node.attributes}
    types = tuple(tensors[name].data_type if name in tensors else 0 for name in node.inputs)
    return Call(node.op, node.name or node.outputs[0], attributes, types, sum(bool(name) for name in node.outputs))


def _straight(nodes: Sequence[Node], ends: Sequence[str]) -> set[Node]:
    """The Signs that nobody but products reads, by way of Q/DQ or not."""
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)

    def is_for_products(name: str) -> bool:
        found = readers.get(name, [])
        stored = (one for one in found if one.op not in PRODUCTS)
        return bool(found) and name not in ends and all(one.op in QDQ and is_for_products(one.outputs[0]) for one in stored)

    return {node for node in nodes if node.op == "Sign" and is_for_products(node.outputs[0])}


def _plain(value: Any) -> Any:
    return [one.decode() if isinstance(one, bytes) else one for one in value] if isinstance(value, list) else value


def _check_operators(calls: Sequence[Call]) -> None:
    """Refuse, all at once, what has no counterpart."""
    wrong = []
    for call in calls:
        reason = "" if call.op in FUNCTIONS else "this operator has no counterpart here"
        if call.op in REFUSALS:
            reason = REFUSALS[call.op](call)
        if reason:
            wrong.append(f"{call.op} {call.name}: {reason}")
    if wrong:
        raise UnsupportedError("this graph cannot be trained:", hint="leave these nodes out of the part that is trained", refusals=wrong)


def _with_drops(lines: Sequence[Line], kept: Collection[str]) -> list[Line]:
    last = {name: at for at, line in enumerate(lines) for name in (*line.reads, *line.makes)}
    drops: dict[int, list[str]] = {}
    for name, at in last.items():
        if name and name not in kept:
            drops.setdefault(at, []).append(name)
    return [replace(line, drops=tuple(drops.get(at, ()))) for at, line in enumerate(lines)]


def _fixed(nodes: Sequence[Node], tensors: Mapping[str, TensorProto]) -> set[str]:
    """Float constants that are no weights."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.inputs[at] for at in NO_WEIGHTS.get(node.op, ()) if at < len(node.inputs))
        if node.op in SINGLE:
            found.update(name for name in node.inputs if name in tensors and int(np.prod(tensors[name].dims)) == 1)
    return found


def _array(tensor: TensorProto) -> np.ndarray[Any, np.dtype[Any]]:
    """A constant in a type that torch has: 4-bit integers in bytes."""
    values = numpy_helper.to_array(tensor)
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        values = values.astype(np.int8 if tensor.data_type == TensorProto.INT4 else np.uint8)
    if tensor.data_type in (TensorProto.UINT16, TensorProto.UINT32):
        values = values.astype(np.int64)  # torch computes little with them
    return np.array(values, copy=True, order="C")


def channels_last(value: Torch) -> Torch:
    """Torch computes depthwise convolutions several times faster with the channels innermost."""
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value

"""Write a decision into a graph as QuantizeLinear and DequantizeLinear; nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.node import drop_unread_constants
from edgekit.graph.quantized import KEPT_FLOAT
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.numerics.affine import INT4_SYMMETRIC, IntGrid, quantized
from edgekit.passes.quantize.decide import Decision, Weights
from edgekit.passes.quantize.reasons import BY_USER

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Written:
    """Where in a graph the numbers of a decision were written, by tensor: for whoever runs that graph with other numbers.

    Attributes:
        groups: of each group, all pairs of scale and zero point that say it.
        constants: of each constant that is stored by the scale of a group, its integers.
        weights: of each node, the integers of its weight and their scale.
        biases: of each node that has a bias, its integers and their scale; or the bias and "" where it is in float.
    """

    groups: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    weights: dict[str, tuple[str, str]] = field(default_factory=dict)
    biases: dict[str, tuple[str, str]] = field(default_factory=dict)


def apply(proto: onnx.ModelProto, decision: Decision) -> Written:
    """Change ``proto``, the graph that was decided upon, in place."""
    return _Writer(proto, decision).write()


class _Writer:
    def __init__(self, proto: onnx.ModelProto, decision: Decision) -> None:
        self._graph = proto.graph
        self._decision = decision
        self._view = View(proto)
        self._nodes: list[onnx.NodeProto] = []
        self._written = Written()
        named = {name for node in self._view.nodes for name in [*node.input, *node.output, node.name]}
        self._taken = named | self._view.constants.keys() | self._view.outputs | set(self._view.inputs)

    def write(self) -> Written:
        placed = self._decision.placement
        adders = {one.bias_adder: one for one in placed.weighted.values() if one.bias_adder is not None}
        read_as = {tensor: self._unique(f"{tensor}/dequantized") for tensor in placed.tensors if tensor not in self._view.outputs}
        for tensor in placed.tensors:
            if tensor in self._view.constants and tensor in read_as:
                self._store_constant(tensor, read_as[tensor])
            elif tensor in self._view.inputs:
                self._store(tensor, tensor, read_as.get(tensor, tensor), placed.tensors[tensor])
        for node in self._view.nodes:
            weighted = placed.weighted.get(node.name)
            if node.name in adders:
                self._store_bias(node, adders[node.name])
            self._read(node, read_as)
            if weighted is not None:
                self._store_weights(node, weighted)
            if placed.left_float.get(node.name) == BY_USER:
                node.metadata_props.add(key=KEPT_FLOAT, value="true")
            self._nodes.append(node)
            self._make(node, read_as)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        drop_unread_constants(self._graph)
        return self._written

    def _read(self, node: onnx.NodeProto, read_as: dict[str, str]) -> None:
        placed = self._decision.placement
        for at, tensor in enumerate(list(node.input)):
            edge = (node.name, at)
            if edge in placed.converted:
                made = self._unique(f"{node.name}/{at}/converted")
                self._store(made, read_as.get(tensor, tensor), made, placed.converted[edge])
                node.input[at] = made
            elif edge not in placed.bare:
                node.input[at] = read_as.get(tensor, tensor)

    def _make(self, node: onnx.NodeProto, read_as: dict[str, str]) -> None:
        placed = self._decision.placement
        for at, tensor in enumerate(list(node.output)):
            if tensor not in placed.tensors:
                continue
            source = tensor
            if tensor in self._view.outputs:
                source = node.output[at] = self._unique(f"{tensor}/float")
            self._store(tensor, source, read_as.get(tensor, tensor), placed.tensors[tensor])

    def _store(self, name: str, source: str, result: str, group: str) -> None:
        """Quantize ``source`` and dequantize it again as ``result``."""
        scale, zero_point = self._affine(name, group)
        integers = self._unique(f"{name}/quantized")
        self._node("QuantizeLinear", f"{name}/QuantizeLinear", [source, scale, zero_point], integers)
        self._node("DequantizeLinear", f"{name}/DequantizeLinear", [integers, scale, zero_point], result)

    def _store_constant(self, name: str, result: str) -> None:
        integers = self._constant(f"{name}/quantized", quantized(self._view.value(name), self._decision.affine_of(name)))
        scale, zero_point = self._affine(name, self._decision.placement.tensors[name])
        self._node("DequantizeLinear", f"{name}/DequantizeLinear", [integers, scale, zero_point], result)
        self._written.constants[name] = integers

    def _affine(self, name: str, group: str) -> tuple[str, str]:
        affine = self._decision.groups[group]
        pair = self._constant(f"{name}/scale", affine.scale), self._constant(f"{name}/zero_point", affine.zero_point)
        self._written.groups.setdefault(group, []).append(pair)
        return pair

    def _store_weights(self, node: onnx.NodeProto, one: Weighted) -> None:
        stored = self._decision.weights[one.node]
        axis = {} if stored.axis is None else {"axis": stored.axis}
        integers, zero_point = (_typed(numbers, stored.affine.grid) for numbers in (stored.integers, stored.affine.zero_point))
        node.input[1], self._written.weights[one.node] = self._dequantized(one.weight, integers, stored.affine.scale, zero_point, **axis)
        if one.op == "Gemm":
            _drop_attributes(node, "alpha", "beta")
        if one.bias_adder is None and stored.bias is not None:
            bias = self._bias(one, stored.bias, stored)
            if len(node.input) > 2:
                node.input[2] = bias
            else:
                node.input.append(bias)

    def _store_bias(self, adder: onnx.NodeProto, one: Weighted) -> None:
        stored = self._decision.weights[one.node]
        if stored.bias is not None:
            adder.input[1 if adder.input[1] == one.bias else 0] = self._bias(one, stored.bias, stored)

    def _bias(self, one: Weighted, bias: NDArray[Any], stored: Weights) -> str:
        """The tensor that holds a node's bias as it is stored."""
        name = one.bias or f"{one.node}/bias"
        if bias.dtype == np.float32:
            made = self._constant(f"{name}/corrected", bias)
            self._written.biases[one.node] = made, ""
        else:
            made, self._written.biases[one.node] = self._dequantized(name, bias, stored.bias_scale, None, axis=0)
        return made

    def _dequantized(
        self, name: str, integers: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any] | None, **axis: int
    ) -> tuple[str, tuple[str, str]]:
        """What integers are read as, and the names of themselves and of their scale."""
        pair = self._constant(f"{name}/quantized", integers), self._constant(f"{name}/scale", scale)
        inputs = [*pair, *([] if zero_point is None else [self._constant(f"{name}/zero_point", zero_point)])]
        return self._node("DequantizeLinear", f"{name}/DequantizeLinear", inputs, self._unique(f"{name}/dequantized"), **axis), pair

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        unique = self._unique(name)
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values, order="C"), unique))
        return unique

    def _node(self, op: str, name: str, inputs: list[str], output: str, **attributes: int) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(op, inputs, [output], name=self._unique(name), **attributes))
        return output

    def _unique(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _typed(integers: NDArray[Any], grid: IntGrid) -> NDArray[Any]:
    """Integers in the type that a file has for their grid; numpy has none below 8 bits."""
    if grid != INT4_SYMMETRIC:
        return integers
    import ml_dtypes

    return integers.astype(ml_dtypes.int4)


def _drop_attributes(node: onnx.NodeProto, *names: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)

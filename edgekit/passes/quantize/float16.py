"""Half precision: float16 weights with a Cast behind each, or a whole graph in float16 or bfloat16 between Casts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.node import Node, drop_unread_constants
from edgekit.graph.view import View
from edgekit.passes.quantize.magnitudes import reason_for_overflow

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Half:
    """A format of 16 bits.

    Attributes:
        name: as ONNX's schemas and numpy, or ml_dtypes, call it.
        largest: number it holds.
        smallest: number above 0 that it holds.
        least_normal: smallest number that has all of its digits.
        opset: in which ONNX's operators took it; 0 if all do that ever will.
    """

    name: Literal["float16", "bfloat16"]
    largest: float
    smallest: float
    least_normal: float
    opset: int

    def cast(self, values: NDArray[Any]) -> NDArray[Any]:
        """Numbers in this format."""
        if self.name == "float16":
            return np.asarray(values, np.float16)
        import ml_dtypes

        return np.asarray(values).astype(ml_dtypes.bfloat16)

    @property
    def element(self) -> int:
        """ONNX's number for it."""
        import onnx

        return int(onnx.TensorProto.FLOAT16 if self.name == "float16" else onnx.TensorProto.BFLOAT16)


FLOAT16 = Half(
    "float16", float(np.finfo(np.float16).max), float(np.finfo(np.float16).smallest_subnormal), float(np.finfo(np.float16).smallest_normal), 0
)
BFLOAT16 = Half("bfloat16", (2.0 - 2.0**-7) * 2.0**127, 2.0**-133, 2.0**-126, 22)
"""Convolutions and poolings took bfloat16 in opset 22; TensorRT's parser goes by the types of tensors in any opset."""

SCALED = ("QuantizeLinear", "DequantizeLinear")

FEWEST = 16
"""Weights with fewer elements stay float32: a Cast costs more than they do."""


def to_float16(proto: onnx.ModelProto, form: Literal["weights", "graph"], largest: Mapping[str, float] = MappingProxyType({})) -> dict[str, Any]:
    """Make a float32 graph, all types inferred, half precision in place; its inputs and outputs stay float32.

    Args:
        proto: the graph.
        form: float16 initializers with Casts to float32, or all arithmetic in float16.
        largest: of a whole graph, what samples showed of tensors: nodes that would overflow stay float32.

    Returns:
        What was done: how much became float16, and what stayed float32 for which reason.
    """
    return _Weights(proto).convert() if form == "weights" else _Graph(proto, FLOAT16, largest).convert()


def rest_to_float16(proto: onnx.ModelProto, largest: Mapping[str, float]) -> dict[str, Any]:
    """Let what stays float of a graph with Q/DQ, all types inferred, compute in float16, in place.

    Scales become float16, too, as the type of a scale is the type that integers come back in: their rounding moves the
    largest integer by a sixteenth of a step. A scale too small for float16's full precision keeps its nodes in float32.

    Args:
        proto: the graph; its inputs and outputs stay float32.
        largest: what samples showed of tensors: nodes that would overflow stay float32.

    Returns:
        What was done, as :func:`to_float16`.
    """
    return _Graph(proto, FLOAT16, largest, with_integers=True).convert()


def to_bfloat16(proto: onnx.ModelProto) -> dict[str, Any]:
    """Let a float32 graph, all types inferred, compute in bfloat16, in place; returns what was done, as :func:`to_float16`."""
    return _Graph(proto, BFLOAT16).convert()


def reason_for_float32(values: NDArray[Any], half: Half) -> str:
    """Why a constant must not become half; "" if it may."""
    sizes = np.abs(values[np.isfinite(values)])
    if sizes.size and sizes.max() > half.largest:
        return f"{sizes.max():g} is beyond {half.name}, which ends at {half.largest:g}"
    if sizes.size and sizes.size < FEWEST and np.any((sizes > 0.0) & (sizes < half.smallest)):
        return f"{sizes[sizes > 0.0].min():g} would become 0 in {half.name}"
    return ""


class _Weights:
    def __init__(self, proto: onnx.ModelProto) -> None:
        self._graph = proto.graph
        self._view = View(proto)

    def convert(self) -> dict[str, Any]:
        import onnx
        from onnx import helper, numpy_helper

        casts, kept = [], {}
        for tensor in self._graph.initializer:
            if tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            values = numpy_helper.to_array(tensor)
            if values.size < FEWEST or not self._view.readers(tensor.name):
                continue
            reason = reason_for_float32(values, FLOAT16)
            if reason:
                kept[tensor.name] = reason
                continue
            name, half = tensor.name, f"{tensor.name}/half"
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
            casts.append(helper.make_node("Cast", [half], [name], name=f"{name}/Cast", to=onnx.TensorProto.FLOAT))
        nodes = [*casts, *self._view.nodes]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        return {"form": "weights", "float16_weights": len(casts), "kept_float32": kept}


class _Graph:
    """A tensor keeps its name for its float32 form; its half form is ``NAME/half``; Casts come where one is missing."""

    def __init__(
        self, proto: onnx.ModelProto, half: Half, largest: Mapping[str, float] = MappingProxyType({}), *, with_integers: bool = False
    ) -> None:
        self._proto = proto
        self._with_integers = with_integers
        self._largest = largest
        self._format = half
        self._graph = proto.graph
        self._view = View(proto)
        self._opset = max(half.opset, *(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")))
        self._wide = self._wide_integers() if with_integers else {}
        self._written: list[onnx.NodeProto] = []
        self._full = set(self._view.inputs) | set(self._view.constants)
        self._half: set[str] = set()

    def convert(self) -> dict[str, Any]:
        kept: dict[str, str] = {}
        count = 0
        for node in self._view.nodes:
            places = self._half_inputs(node)
            reason = (
                next(filter(None, (self._constant_reason(node.input[at]) for at in places)), "")
                or self._seen_reason(node)
                or self._wide.get(node.name, "")
            )
            if reason and places:
                kept[node.name] = reason
            if places and not reason:
                self._write_half(node, places)
                count += 1
            else:
                self._write_full(node)
        for output in sorted(self._view.outputs):
            self._need_full(output)
        del self._graph.node[:]
        self._graph.node.extend(self._written)
        drop_unread_constants(self._graph)
        return {"form": "graph", f"{self._format.name}_nodes": count, "float32_nodes": len(self._view.nodes) - count, "kept_float32": kept}

    def _half_inputs(self, node: onnx.NodeProto) -> list[int]:
        """Places of inputs that may be half; none if the operator has no such form."""
        import onnx

        if node.domain not in ("", "ai.onnx") or Node(node).captured() or (node.op_type in SCALED and not self._with_integers):
            return []
        schema = onnx.defs.get_schema(node.op_type, self._opset)
        allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}

        def kind(formal: Any, at: int) -> str:
            return str(formal[min(at, len(formal) - 1)].type_str)

        floats = [at for at, name in enumerate(node.input) if name and self._view.is_float(name)]
        places = [at for at in floats if f"tensor({self._format.name})" in allowed.get(kind(schema.inputs, at), ())]
        bound = {kind(schema.inputs, at) for at in places}
        made = [at for at, name in enumerate(node.output) if name and self._view.is_float(name)]
        return places if all(kind(schema.outputs, at) in bound for at in made) else []

    def _seen_reason(self, node: onnx.NodeProto) -> str:
        return reason_for_overflow(node, self._largest, self._format.largest, self._format.name)

    def _wide_integers(self) -> dict[str, str]:
        """Nodes around integers that stay float32, by name: one that reads integers whose scale float16 cannot hold, and all whose
        integers it reads, as TensorRT wants the scales of a product to be of one type."""
        wide = {node.name: reason for node in self._view.nodes if (reason := self._scale_reason(node))}
        count = -1
        while count != len(wide):
            count = len(wide)
            for node in self._view.nodes:
                self._widen(node, wide)
        return wide

    def _widen(self, node: onnx.NodeProto, wide: dict[str, str]) -> None:
        """Carry what stays float32 from a node to those that make its inputs, and back."""
        makers = [made for name in node.input if (made := self._view.maker(name)) is not None and made.op_type in SCALED]
        if node.op_type == "QuantizeLinear":
            return
        around = [node, *makers] if node.op_type != "DequantizeLinear" else [node, *(made for made in makers if made.op_type == "QuantizeLinear")]
        if reason := next((wide[one.name] for one in around if one.name in wide), ""):
            for one in around:
                wide.setdefault(one.name, reason)

    def _scale_reason(self, node: onnx.NodeProto) -> str:
        """Scales are rounded relatively to themselves, as long as they are normal numbers."""
        if node.op_type not in SCALED:
            return ""
        least = float(np.min(self._view.value(node.input[1])))
        return f"its scale {least:g} has fewer digits in {self._format.name}" if least < self._format.least_normal else ""

    def _constant_reason(self, tensor: str) -> str:
        return reason_for_float32(self._view.value(tensor), self._format) if tensor in self._view.constants else ""

    def _write_half(self, node: onnx.NodeProto, places: list[int]) -> None:
        made = [name for name in node.output if name and self._view.is_float(name)]
        for at, name in enumerate(list(node.input)):
            if at in places:
                node.input[at] = self._need_half(name)
            elif name:
                self._need_full(name)
        for at, name in enumerate(list(node.output)):
            if name in made:
                node.output[at] = f"{name}/half"
                self._half.add(name)
            else:
                self._full.add(name)
        self._written.append(node)

    def _write_full(self, node: onnx.NodeProto) -> None:
        for name in [*node.input, *sorted(Node(node).captured())]:
            self._need_full(name)
        self._full.update(node.output)
        self._written.append(node)

    def _need_half(self, tensor: str) -> str:
        from onnx import numpy_helper

        half = f"{tensor}/half"
        if tensor not in self._half:
            self._half.add(tensor)
            if tensor in self._view.constants:
                self._graph.initializer.append(numpy_helper.from_array(self._format.cast(self._view.value(tensor)), half))
            else:
                self._cast(tensor, half, self._format.element)
        return half

    def _need_full(self, tensor: str) -> None:
        import onnx

        if tensor in self._half and tensor not in self._full:
            self._full.add(tensor)
            self._cast(f"{tensor}/half", tensor, onnx.TensorProto.FLOAT)

    def _cast(self, source: str, result: str, to: int) -> None:
        from onnx import helper

        self._written.append(helper.make_node("Cast", [source], [result], name=f"{result}/Cast", to=to))

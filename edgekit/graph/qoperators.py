"""Operators on integers, and Microsoft's own Q/DQ, said with ONNX's QuantizeLinear and DequantizeLinear.

ONNX Runtime's quantizer writes a graph either with Q/DQ or with operators that read and make integers (QLinearConv, …),
and Q/DQ of 16 bits in its own domain where the opset has none. Backends and passes know one form: Q/DQ of ONNX. ONNX
Runtime itself makes the operators again from it, so that there the numbers stay the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

MICROSOFT = "com.microsoft"
SAME_IN_ONNX = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""Of Microsoft's domain; they say what ONNX's of opset 21 say."""

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Form:
    """An operator on integers.

    Attributes:
        op: the operator on real numbers that it stands for.
        data: places of (integers, scale, zero point) among its inputs.
        result: places of the scale and zero point of what it makes.
        bias: place of an int32 bias at the scale of the products; 0 if it takes none.
        drop: attributes that the plain operator does not know, with the one value each may have.
    """

    op: str
    data: tuple[Triple, ...]
    result: tuple[int, int]
    bias: int = 0
    drop: tuple[tuple[str, tuple[Any, ...]], ...] = ()


_ONE, _TWO = ((0, 1, 2),), ((0, 1, 2), (3, 4, 5))
_CHANNELS_FIRST = (("channels_last", (0,)),)

FORMS: dict[tuple[str, str], Form] = {
    ("", "QLinearConv"): Form("Conv", _TWO, (6, 7), bias=8),
    ("", "QLinearMatMul"): Form("MatMul", _TWO, (6, 7)),
    (MICROSOFT, "QGemm"): Form("Gemm", _TWO, (7, 8), bias=6),
    (MICROSOFT, "QLinearAdd"): Form("Add", _TWO, (6, 7)),
    (MICROSOFT, "QLinearMul"): Form("Mul", _TWO, (6, 7)),
    (MICROSOFT, "QLinearLeakyRelu"): Form("LeakyRelu", _ONE, (3, 4)),
    (MICROSOFT, "QLinearSigmoid"): Form("Sigmoid", _ONE, (3, 4)),
    (MICROSOFT, "QLinearSoftmax"): Form("Softmax", _ONE, (3, 4), drop=(("opset", tuple(range(13, 30))),)),
    (MICROSOFT, "QLinearGlobalAveragePool"): Form("GlobalAveragePool", _ONE, (3, 4), drop=_CHANNELS_FIRST),
    (MICROSOFT, "QLinearAveragePool"): Form("AveragePool", _ONE, (3, 4), drop=_CHANNELS_FIRST),
    (MICROSOFT, "QLinearConcat"): Form("Concat", (), (0, 1)),
}

_MOVERS = {
    **dict.fromkeys(("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split", "Resize"), (0,)),
    "Pad": (0, 2),
}
"""Operators that such graphs use on integers as they are, by the places of what carries integers."""


def is_known(node: onnx.NodeProto) -> bool:
    """Whether a node of another domain is one that :func:`to_qdq` rewrites, attributes included."""
    if node.domain == MICROSOFT and node.op_type in SAME_IN_ONNX:
        return True
    form = FORMS.get((node.domain, node.op_type))
    return form is not None and all(_attribute(node, name, allowed[0]) in allowed for name, allowed in form.drop)


def to_qdq(proto: onnx.ModelProto) -> None:
    """Rewrite every such node in place; a graph without any stays as it is.

    Args:
        proto: of opset 21, where Q/DQ know all integer types.

    Raises:
        UnsupportedError: a bias whose scale is computed.
    """
    for node in proto.graph.node:
        if node.domain == MICROSOFT and node.op_type in SAME_IN_ONNX:
            node.domain = ""
    if any((node.domain, node.op_type) in FORMS for node in proto.graph.node):
        _Rewriter(proto.graph).run()


class _Rewriter:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._taken = {name for node in graph.node for name in (*node.input, *node.output, node.name)} | self._constants.keys()
        self._written: list[onnx.NodeProto] = []
        self._real: dict[tuple[str, ...], str] = {}
        self._stored_at: dict[str, tuple[str, str]] = {}

    def run(self) -> None:
        for node in self._graph.node:
            form = FORMS.get((node.domain, node.op_type))
            if form is not None:
                self._plain(node, form)
            elif self._moves_integers(node):
                self._moved(node)
            else:
                self._written.append(node)
                if node.op_type == "QuantizeLinear":
                    self._stored_at[node.output[0]] = (node.input[1], _input(node, 2))
        del self._graph.node[:]
        self._graph.node.extend(self._written)

    def _plain(self, node: onnx.NodeProto, form: Form) -> None:
        triples = form.data or tuple((at, at + 1, at + 2) for at in range(2, len(node.input), 3))
        inputs = [self._dequantized(*(_input(node, at) for at in triple), axis=self._axis(node, triple)) for triple in triples]
        if form.bias and _input(node, form.bias):
            inputs.append(self._bias(node, form))
        scale, zero_point = (_input(node, at) for at in form.result)
        output = node.output[0]
        real = self._unique(f"{output}/real") if scale else output
        dropped = {name for name, _ in form.drop}
        self._node(form.op, node.name or self._unique(output), inputs, [real], [one for one in node.attribute if one.name not in dropped])
        if scale:
            self._quantized(real, scale, zero_point, output)

    def _axis(self, node: onnx.NodeProto, triple: Triple) -> int | None:
        """The axis of weights that their scales lie along, by operator."""
        scale = self._constants.get(_input(node, triple[1]))
        if scale is None or list(scale.dims) in ([], [1]):
            return None
        if node.op_type == "QLinearConv":
            return 0
        if node.op_type == "QGemm":
            return 0 if _attribute(node, "transB", 0) else 1
        return -1 if triple[0] else -2

    def _bias(self, node: onnx.NodeProto, form: Form) -> str:
        from onnx import numpy_helper

        scales = [self._constants.get(_input(node, triple[1])) for triple in form.data]
        if any(scale is None for scale in scales):
            raise UnsupportedError(
                f"{node.op_type} {node.name or node.output[0]}: its scales are computed, and so is that of its bias",
                hint="quantize with constant scales",
            )
        first, second = (numpy_helper.to_array(scale) for scale in scales if scale is not None)
        product = (first * second * _attribute(node, "alpha", 1.0)).astype(first.dtype)
        product = product.reshape(-1) if product.size > 1 else product.reshape(())
        scale = self._unique(f"{_input(node, form.bias)}/scale")
        self._graph.initializer.append(numpy_helper.from_array(product, scale))
        return self._dequantized(_input(node, form.bias), scale, "", axis=0 if product.size > 1 else None)

    def _moves_integers(self, node: onnx.NodeProto) -> bool:
        if node.domain or node.op_type not in _MOVERS or node.input[0] not in self._stored_at:
            return False
        return node.op_type != "Resize" or bool(_attribute(node, "mode", b"nearest") == b"nearest")

    def _moved(self, node: onnx.NodeProto) -> None:
        scale, zero_point = self._stored_at[node.input[0]]
        inputs = list(node.input)
        for at in _MOVERS[node.op_type]:
            if at < len(inputs) and inputs[at]:
                inputs[at] = self._dequantized(inputs[at], scale, zero_point)
        outputs = [self._unique(f"{name}/real") for name in node.output]
        self._node(node.op_type, node.name or self._unique(outputs[0]), inputs, outputs, node.attribute)
        for real, output in zip(outputs, node.output, strict=True):
            self._quantized(real, scale, zero_point, output)

    def _dequantized(self, integers: str, scale: str, zero_point: str, *, axis: int | None = None) -> str:
        import onnx

        key = (integers, scale, zero_point)
        if key not in self._real:
            self._real[key] = self._unique(f"{integers}/dequantized")
            attributes = [] if axis is None else [onnx.helper.make_attribute("axis", axis)]
            inputs = [integers, scale, zero_point] if zero_point else [integers, scale]
            self._node("DequantizeLinear", self._unique(f"{integers}/DequantizeLinear"), inputs, [self._real[key]], attributes)
        return self._real[key]

    def _quantized(self, real: str, scale: str, zero_point: str, output: str) -> None:
        self._stored_at[output] = (scale, zero_point)
        inputs = [real, scale, zero_point] if zero_point else [real, scale]
        self._node("QuantizeLinear", self._unique(f"{output}/QuantizeLinear"), inputs, [output], [])

    def _node(self, op: str, name: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Any) -> None:
        import onnx

        node = onnx.NodeProto(op_type=op, name=name, input=inputs, output=outputs)
        node.attribute.extend(attributes)
        self._written.append(node)

    def _unique(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _input(node: onnx.NodeProto, at: int) -> str:
    return node.input[at] if at < len(node.input) else ""


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)

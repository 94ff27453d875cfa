"""Functions of single elements that TFLite has no operator for, made of those that it has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from edgekit.engine.tflite.fusing import bounds
from edgekit.engine.tflite.graph import Constant, Fault, Graph, Node
from edgekit.engine.tflite.normal.parts import Parts

Formula = Callable[[Parts, str], None]

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Coefficients of Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by 1.5e-7 at most."""
_ERF_STEP = 0.3275911


def _written(formula: Formula, node: Node, graph: Graph) -> list[Node]:
    parts = Parts(node, graph)
    formula(parts, node.inputs[0])
    return parts.nodes


def _softplus(parts: Parts, x: str, into: int | None = 0) -> str:
    """log(1 + exp(x)), written so that exp never overflows."""
    small = parts.add("Exp", parts.add("Neg", parts.add("Abs", x)))
    return parts.add("Add", parts.add("Relu", x), parts.add("Log", parts.add("Add", small, 1.0)), into=into)


def _write_softplus(parts: Parts, x: str) -> None:
    _softplus(parts, x)


def _mish(parts: Parts, x: str) -> None:
    parts.add("Mul", x, parts.add("Tanh", _softplus(parts, x, None)), into=0)


def _below(parts: Parts, x: str, alpha: float, factor: float) -> None:
    """factor * (x where x is positive, alpha * (exp(x) - 1) elsewhere)."""
    above = parts.add("Relu", x) if factor == 1.0 else parts.add("Mul", parts.add("Relu", x), factor)
    below = parts.add("Mul", parts.add("Elu", parts.add("Min", x, 0.0)), alpha * factor)
    parts.add("Add", above, below, into=0)


def _selu(parts: Parts, x: str) -> None:
    attrs = parts.node.attrs
    _below(parts, x, attrs.get("alpha", _SELU[0]), attrs.get("gamma", _SELU[1]))


def _elu(node: Node, graph: Graph) -> list[Node]:
    alpha = node.attrs.get("alpha", 1.0)
    return [node] if alpha == 1.0 else _written(lambda parts, x: _below(parts, x, alpha, 1.0), node, graph)


def _celu(parts: Parts, x: str) -> None:
    alpha = parts.node.attrs.get("alpha", 1.0)
    if alpha == 1.0:
        parts.add("Elu", x, into=0)
    else:
        parts.add("Mul", parts.add("Elu", parts.add("Mul", x, 1 / alpha)), alpha, into=0)


def _thresholded(parts: Parts, x: str) -> None:
    parts.where(parts.add("Greater", x, parts.node.attrs.get("alpha", 1.0)), x, 0.0, into=0)


def _shrink(parts: Parts, x: str) -> None:
    limit, bias = parts.node.attrs.get("lambd", 0.5), parts.node.attrs.get("bias", 0.0)
    above = parts.where(parts.add("Greater", x, limit), parts.add("Sub", x, bias), 0.0)
    parts.where(parts.add("Less", x, -limit), parts.add("Add", x, bias), above, into=0)


def _softsign(parts: Parts, x: str) -> None:
    parts.add("Div", x, parts.add("Add", parts.add("Abs", x), 1.0), into=0)


def _erf(parts: Parts, x: str) -> None:
    size = parts.add("Abs", x)
    step = parts.add("Reciprocal", parts.add("Add", parts.add("Mul", size, _ERF_STEP), 1.0))
    total = parts.add("Mul", step, _ERF[-1])
    for factor in reversed(_ERF[:-1]):
        total = parts.add("Mul", parts.add("Add", total, factor), step)
    fall = parts.add("Exp", parts.add("Neg", parts.add("Mul", x, x)))
    rest = parts.add("Sub", 1.0, parts.add("Mul", total, fall), shape=parts.shape(x))
    parts.add("Mul", parts.add("Sign", x), rest, into=0)


def _tan(parts: Parts, x: str) -> None:
    parts.add("Div", parts.add("Sin", x), parts.add("Cos", x), into=0)


def _leg(parts: Parts, x: str) -> str:
    """The square root of 1 - x * x."""
    return parts.add("Sqrt", parts.add("Mul", parts.add("Add", x, 1.0), parts.add("Sub", 1.0, x)))


def _asin(parts: Parts, x: str) -> None:
    parts.add("tflite.Atan2", x, _leg(parts, x), into=0)


def _acos(parts: Parts, x: str) -> None:
    parts.add("tflite.Atan2", _leg(parts, x), x, into=0)


def _atan(parts: Parts, x: str) -> None:
    sizes = parts.shape(x)
    one = parts.add("Expand", parts.constant(1.0), parts.constant(np.array(sizes), "int64"), shape=sizes)
    parts.add("tflite.Atan2", x, one, into=0)


def _sinh(parts: Parts, x: str) -> None:
    difference = parts.add("Sub", parts.add("Exp", x), parts.add("Exp", parts.add("Neg", x)))
    parts.add("Mul", difference, 0.5, into=0)


def _cosh(parts: Parts, x: str) -> None:
    total = parts.add("Add", parts.add("Exp", x), parts.add("Exp", parts.add("Neg", x)))
    parts.add("Mul", total, 0.5, into=0)


def _asinh(parts: Parts, x: str) -> None:
    size = parts.add("Abs", x)
    root = parts.add("Sqrt", parts.add("Add", parts.add("Mul", x, x), 1.0))
    parts.add("Mul", parts.add("Sign", x), parts.add("Log", parts.add("Add", size, root)), into=0)


def _acosh(parts: Parts, x: str) -> None:
    root = parts.add("Sqrt", parts.add("Mul", parts.add("Add", x, 1.0), parts.add("Sub", x, 1.0)))
    parts.add("Log", parts.add("Add", x, root), into=0)


def _atanh(parts: Parts, x: str) -> None:
    ratio = parts.add("Div", parts.add("Add", x, 1.0), parts.add("Sub", 1.0, x))
    parts.add("Mul", parts.add("Log", ratio), 0.5, into=0)


def _swish(parts: Parts, x: str) -> None:
    parts.add("Mul", x, parts.add("Sigmoid", parts.add("Mul", x, parts.node.attrs.get("alpha", 1.0))), into=0)


def _clip(node: Node, graph: Graph) -> list[Node]:
    """A Clip whose bounds are computed, or of integers."""
    parts = Parts(node, graph)
    if bounds(graph, node) is not None and parts.dtype(node.inputs[0]) == "float32":
        return [node]
    sides = [(op, name) for op, name in zip(("Max", "Min"), node.inputs[1:], strict=False) if name]
    if not sides:
        return [Node(node.name, "Identity", node.inputs[:1], node.outputs)]
    found = node.inputs[0]
    for op, name in sides[:-1]:
        found = parts.add(op, found, name)
    parts.add(sides[-1][0], found, sides[-1][1], into=0)
    return parts.nodes


def _prelu(node: Node, graph: Graph) -> list[Node]:
    slope = graph.constants.get(node.inputs[1])
    if slope is not None and slope.stored.size == 1:
        return [Node(node.name, "LeakyRelu", node.inputs[:1], node.outputs, {"alpha": float(slope.real().reshape(()))})]
    if slope is not None:
        return [node]
    parts = Parts(node, graph)
    below = parts.add("Mul", parts.add("Min", node.inputs[0], 0.0), node.inputs[1])
    parts.add("Add", parts.add("Relu", node.inputs[0]), below, into=0)
    return parts.nodes


def _mod(node: Node, graph: Graph) -> list[Node]:
    """The rest with the sign of the dividend: of positive numbers; of int64, which has no Abs, less the divisor where signs differ."""
    if not node.attrs.get("fmod"):
        return [node]
    parts = Parts(node, graph)
    x, y = node.inputs
    if parts.dtype(x) == "int64":
        rest = parts.add("Mod", x, y)
        turned = parts.add("Xor", *(_is_negative(parts, name) for name in (x, y)))
        missed = parts.add("And", parts.add("Not", parts.add("Equal", rest, 0)), turned)
        parts.where(missed, parts.add("Sub", rest, y), rest, into=0)
        return parts.nodes
    rest = parts.add("Mod", parts.add("Abs", x), parts.add("Abs", y))
    parts.add("Mul", parts.add("Sign", x), rest, into=0)
    return parts.nodes


def _is_negative(parts: Parts, name: str) -> str:
    constant = parts.graph.constants.get(name)
    return parts.add("Less", name, 0) if constant is None else parts.constant(constant.real() < 0, "bool")


def _pow(node: Node, graph: Graph) -> list[Node] | Fault:
    """Both sides of one type, which is float32 where they differ or TFLite has none."""
    parts = Parts(node, graph)
    x, y = node.inputs
    kinds = (parts.dtype(x), parts.dtype(y))
    if kinds in (("float32", "float32"), ("int32", "int32")):
        return [node]
    if "int64" in kinds[:1] and graph.is_constant(y) is False and kinds[1] == "int64":
        return Fault("TFLite has no power of int64", "cast to int32 before it")
    sides = [graph_float(parts, name) for name in (x, y)]
    if kinds[0] == "float32":
        parts.add("Pow", *sides, into=0)
    else:
        parts.cast(parts.add("Pow", *sides), kinds[0], into=0)
    return parts.nodes


def graph_float(parts: Parts, name: str) -> str:
    """A value or constant in float32."""
    constant = parts.graph.constants.get(name)
    return parts.constant(constant.real()) if constant is not None else parts.cast(name, "float32")


def _mean(node: Node, graph: Graph) -> list[Node]:
    parts = Parts(node, graph)
    shape = parts.shape(node.outputs[0])
    parts.add("Mul", parts.add("Sum", *node.inputs, shape=shape), 1 / len(node.inputs), into=0)
    return parts.nodes


def _hardmax(node: Node, graph: Graph) -> list[Node]:
    parts = Parts(node, graph)
    shape = parts.shape(node.inputs[0])
    axis = node.attrs.get("axis", -1) % len(shape)
    places = parts.add("ArgMax", node.inputs[0], shape=[*shape[:axis], *shape[axis + 1 :]], dtype="int64", axis=axis, keepdims=0)
    one = parts.constant(np.array([0.0, 1.0]))
    parts.add("OneHot", places, parts.constant(np.array(shape[axis]), "int64"), one, into=0, axis=axis)
    return parts.nodes


def _trilu(node: Node, graph: Graph) -> list[Node] | Fault:
    parts = Parts(node, graph)
    given = node.inputs[1] if len(node.inputs) > 1 else ""
    if given and not graph.is_constant(given):
        return Fault(f"{given} is computed", "make the diagonal a constant")
    diagonal = int(graph.constants[given].stored.reshape(())) if given else 0
    ones = np.ones(parts.shape(node.inputs[0])[-2:], bool)
    kept = np.triu(ones, diagonal) if node.attrs.get("upper", 1) else np.tril(ones, diagonal)
    constant = graph.constants.get(node.inputs[0])
    if constant is not None:
        array = constant.real()
        graph.constants[node.outputs[0]] = Constant(np.where(kept, array, array.dtype.type(0)))
        return []
    parts.where(parts.constant(kept, "bool"), node.inputs[0], 0.0, into=0)
    return parts.nodes


def _is_nan(parts: Parts, x: str) -> None:
    """What is not a number does not equal itself."""
    parts.add("Not", parts.add("Equal", x, x), into=0)


def _is_inf(parts: Parts, x: str) -> None:
    wanted = parts.node.attrs.get("detect_positive", 1), parts.node.attrs.get("detect_negative", 1)
    if all(wanted):
        parts.add("Equal", parts.add("Abs", x), float("inf"), into=0)
    else:
        parts.add("Equal", x, float("inf") if wanted[0] else float("-inf") if wanted[1] else float("nan"), into=0)


def _dropout(node: Node, graph: Graph) -> list[Node]:
    """Its mask, where nothing is dropped, is true everywhere."""
    if not any(node.outputs[1:]):
        return [node]
    graph.constants[node.outputs[1]] = Constant(np.ones(graph.shape(node.outputs[0]), bool))
    return [Node(node.name, node.op, node.inputs[:1], node.outputs[:1])]


_FORMULAS: dict[str, Formula] = {
    "Acos": _acos,
    "Acosh": _acosh,
    "Asin": _asin,
    "Asinh": _asinh,
    "Atan": _atan,
    "Atanh": _atanh,
    "Celu": _celu,
    "Cosh": _cosh,
    "Erf": _erf,
    "IsInf": _is_inf,
    "IsNaN": _is_nan,
    "Mish": _mish,
    "Selu": _selu,
    "Shrink": _shrink,
    "Sinh": _sinh,
    "Softplus": _write_softplus,
    "Softsign": _softsign,
    "Swish": _swish,
    "Tan": _tan,
    "ThresholdedRelu": _thresholded,
}
REWRITES: dict[str, Callable[[Node, Graph], list[Node] | Fault]] = {
    **{op: partial(_written, formula) for op, formula in _FORMULAS.items()},
    "Clip": _clip,
    "Dropout": _dropout,
    "Elu": _elu,
    "Hardmax": _hardmax,
    "Mean": _mean,
    "Mod": _mod,
    "PRelu": _prelu,
    "Pow": _pow,
    "Trilu": _trilu,
}

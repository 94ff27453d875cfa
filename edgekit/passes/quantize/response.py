"""What becomes of a tensor's values where all that reads it is one function of each of them: errors are weighed behind it.

A HardSwish makes nothing of what lies below -3, a Sigmoid next to nothing of what lies beyond 6: integers spent there are
lost to the values that matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.view import View, attributes

if TYPE_CHECKING:
    import onnx

F64 = NDArray[np.float64]
Response = Callable[[F64], F64]


def response(view: View, tensor: str) -> Response | None:
    """The function that every reader of a tensor makes of its values; None if there is no one such function."""
    readers = [node for node, _ in view.readers(tensor)]
    if tensor in view.outputs or not readers:
        return None
    if len(readers) == 1 and readers[0].domain in ("", "ai.onnx"):
        make = _FUNCTIONS.get(readers[0].op_type)
        return None if make is None else make(attributes(readers[0]))
    return _silu if _is_silu(view, readers) else None


def _is_silu(view: View, readers: list[onnx.NodeProto]) -> bool:
    """Whether a tensor is read by a Sigmoid and by the product with that Sigmoid alone."""
    by_op = {node.op_type: node for node in readers}
    if len(readers) != 2 or by_op.keys() != {"Sigmoid", "Mul"}:
        return False
    gate = by_op["Sigmoid"].output[0]
    return gate in by_op["Mul"].input and len(view.readers(gate)) == 1 and gate not in view.outputs


def _sigmoid(values: F64) -> F64:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -60.0, 60.0))))


def _silu(values: F64) -> F64:
    return values * _sigmoid(values)


def _gelu(values: F64) -> F64:
    """By its tanh form, which differs from that with erf by less than a thousandth."""
    return np.asarray(0.5 * values * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (values + 0.044715 * values**3))))


def _hard_sigmoid(has: dict[str, Any]) -> Response:
    alpha, beta = float(has.get("alpha", 0.2)), float(has.get("beta", 0.5))
    return lambda values: np.clip(alpha * values + beta, 0.0, 1.0)


def _elu(has: dict[str, Any]) -> Response:
    alpha = float(has.get("alpha", 1.0))
    return lambda values: np.where(values > 0.0, values, alpha * np.expm1(np.minimum(values, 0.0)))


_FUNCTIONS: dict[str, Callable[[dict[str, Any]], Response]] = {
    "Elu": _elu,
    "Gelu": lambda has: _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda has: lambda values: values * np.clip(values / 6.0 + 0.5, 0.0, 1.0),
    "Relu": lambda has: lambda values: np.maximum(values, 0.0),
    "Sigmoid": lambda has: _sigmoid,
    "Softplus": lambda has: lambda values: np.logaddexp(0.0, values),
    "Tanh": lambda has: np.tanh,
}

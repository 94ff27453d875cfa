"""Biases that take in what changed weights add to outputs on average."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.weighted import Weighted


def shift_bias(graph: Graph, node: Node, one: Weighted, shift: NDArray[Any]) -> None:
    """Add to each output channel's bias, where there is a place for one.

    Args:
        graph: that is rewritten.
        node: the node.
        one: the same, its parts understood.
        shift: shape (output channels,).
    """
    if not one.takes_bias:
        return
    held = None if one.bias is None else graph.constant(one.bias)
    before = np.zeros(len(shift)) if held is None else np.broadcast_to(held.reshape(-1), len(shift))
    bias = np.asarray(before + shift / (one.bias_factor or 1.0), np.float32)
    if one.bias_adder is None:
        graph.set_constant_input(node, 2, bias, f"{one.weight}/bias")
        return
    adder = graph.next(node, "Add")
    assert adder is not None, "a MatMul's bias is added right behind it"
    graph.set_constant_input(adder, adder.inputs.index(one.bias or ""), bias)


def shifted_mean(error: NDArray[np.float64], average: NDArray[np.float64]) -> NDArray[np.float64]:
    """What an error of weights adds to each output channel on average.

    Args:
        error: shape (output channels, inputs).
        average: of the inputs, shape (groups, inputs).
    """
    by_group = error.reshape(len(average), -1, error.shape[1])
    return np.asarray(np.einsum("gci,gi->gc", by_group, average).reshape(-1))

"""Which weights are 2:4 sparse, so that Ampere's sparse Tensor Cores can halve their products.

Source: "Structured Sparsity" in NVIDIA's TensorRT developer guide: of every four weights along the input channels, at each
output channel and place of the kernel, at least two must be 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

_LEAST_CHANNELS = 32
"""Fewer input channels have no sparse kernels worth trying; TensorRT asks for 32 in its samples' check."""


def sparse_nodes(graph: Graph) -> tuple[list[str], int]:
    """Names of convolutions and products with 2:4 sparse weights, and how many have weights at all."""
    found, count = [], 0
    for node in graph.walk():
        weights = _weights(graph, node)
        if weights is None:
            continue
        count += 1
        if is_two_of_four(weights):
            found.append(node.name)
    return found, count


def is_two_of_four(weights: NDArray[np.generic]) -> bool:
    """Whether at least two of every four along the last axis are 0.

    Args:
        weights: last axis the input channels. Channels beyond a multiple of four stand with zeros.
    """
    channels = weights.shape[-1]
    if channels < _LEAST_CHANNELS:
        return False
    padded = np.zeros((*weights.shape[:-1], -(-channels // 4) * 4), bool)
    padded[..., :channels] = weights != 0
    return bool((padded.reshape(*weights.shape[:-1], -1, 4).sum(axis=-1) <= 2).all())


def _weights(graph: Graph, node: Node) -> NDArray[np.generic] | None:
    """Constant weights with the input channels last, as stored: a scale does not move zeros where the zero point is 0."""
    if node.op not in ("Conv", "Gemm", "MatMul") or len(node.inputs) < 2:
        return None
    name = node.inputs[1]
    maker = graph.maker(name, "DequantizeLinear")
    values = graph.constant(maker.inputs[0] if maker else name)
    if values is None or values.ndim < 2:
        return None
    if node.op == "Conv":
        return np.moveaxis(values, 1, -1)
    is_transposed = node.op == "Gemm" and bool(node.get("transB", 0))
    return values if is_transposed else np.moveaxis(values, -2, -1)

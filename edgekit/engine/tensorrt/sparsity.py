"""Which weights are 2:4 sparse, so that Ampere's sparse Tensor Cores can halve their products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.sparsity import inputs_last, is_two_of_four


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


def _weights(graph: Graph, node: Node) -> NDArray[np.generic] | None:
    """Constant weights with the input channels last, as stored: a scale does not move zeros where the zero point is 0."""
    if node.op not in ("Conv", "Gemm", "MatMul") or len(node.inputs) < 2:
        return None
    name = node.inputs[1]
    maker = graph.maker(name, "DequantizeLinear")
    values = graph.constant(maker.inputs[0] if maker else name)
    return None if values is None or values.ndim < 2 else inputs_last(node, values)

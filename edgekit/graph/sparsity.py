"""Two zeros in every four weights along the input channels: the pattern that sparse Tensor Cores and an Ethos-U85 skip.

Source: "Structured Sparsity" in NVIDIA's TensorRT developer guide: of every four weights along the input channels, at each
output channel and place of the kernel, at least two must be 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.node import Node

LEAST_CHANNELS = 32
"""Fewer input channels have no sparse kernels worth trying; TensorRT asks for 32 in its samples' check."""


def inputs_last(node: Node, weights: NDArray[Any]) -> NDArray[Any]:
    """A view of the weights of a Conv, Gemm or MatMul with the input channels along the last axis."""
    if node.op == "Conv":
        return np.moveaxis(weights, 1, -1)
    is_transposed = node.op == "Gemm" and bool(node.get("transB", 0))
    return weights if is_transposed else np.moveaxis(weights, -2, -1)


def is_two_of_four(weights: NDArray[np.generic]) -> bool:
    """Whether at least two of every four along the last axis are 0.

    Args:
        weights: last axis the input channels. Channels beyond a multiple of four stand with zeros.
    """
    if weights.shape[-1] < LEAST_CHANNELS:
        return False
    return bool(((_in_fours(weights) != 0).sum(axis=-1) <= 2).all())


def two_of_four(magnitudes: NDArray[Any]) -> NDArray[np.bool_]:
    """Which weights to keep so that two of every four along the last axis go: those of larger magnitude, the first of equal ones.

    Args:
        magnitudes: of the weights, 0 or more, last axis the input channels.
    """
    fours = _in_fours(magnitudes)
    order = np.argsort(-fours, axis=-1, kind="stable")
    kept = np.zeros(fours.shape, bool)
    np.put_along_axis(kept, order[..., :2], values=True, axis=-1)
    return kept.reshape(*magnitudes.shape[:-1], -1)[..., : magnitudes.shape[-1]]


def _in_fours(values: NDArray[Any]) -> NDArray[Any]:
    channels = values.shape[-1]
    padded = np.zeros((*values.shape[:-1], -(-channels // 4) * 4), values.dtype)
    padded[..., :channels] = values
    return padded.reshape(*values.shape[:-1], -1, 4)

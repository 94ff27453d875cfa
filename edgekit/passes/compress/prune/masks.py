"""Weights that become zero where they are, one by one or two of every four."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.sparsity import LEAST_CHANNELS, inputs_last, two_of_four
from edgekit.graph.structure import Structure, set_structures

if TYPE_CHECKING:
    import onnx

Masks = dict[str, NDArray[np.bool_]]
"""By constant: which of its numbers stay."""


def prunable(proto: onnx.ModelProto, keep: frozenset[str]) -> dict[str, Node]:
    """Weights of products by their names, each with a node that reads it; those of the nodes ``keep`` left out."""
    graph = Graph(proto)
    found: dict[str, Node] = {}
    for node in graph.walk(*PRODUCTS):
        values = graph.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if values is not None and values.ndim >= 2 and values.dtype.kind == "f" and node.name not in keep:
            found.setdefault(node.inputs[1], node)
    return found


def scored(proto: onnx.ModelProto, weights: Mapping[str, Node], powers: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """How much each weight matters: its magnitude, times the root mean square of what it is multiplied with where that is known.

    Args:
        proto: the graph.
        weights: from :func:`prunable`.
        powers: mean squares of each input channel, by weight; empty for magnitudes alone.

    Source:
        Magnitudes: Han et al., "Learning both weights and connections", NIPS 2015; with inputs: Sun et al., "A simple and
        effective pruning approach for large language models" (Wanda), ICLR 2024, eq. 1.
    """
    graph, found = Graph(proto), {}
    for name, node in weights.items():
        values = graph.constant(name)
        assert values is not None, "prunable"
        scores = np.abs(values.astype(np.float64))
        if name in powers:
            last = inputs_last(node, scores)
            if last.shape[-1] == powers[name].size:
                last *= np.sqrt(powers[name])  # a view: the scores change
        found[name] = scores
    return found


def chosen(scores: Mapping[str, NDArray[np.float64]], ratio: float, *, by: Literal["global", "layer"] = "global") -> Masks:
    """Which weights stay if a share of them goes, the least first: of all weights together, or of each tensor by itself.

    Args:
        scores: of each weight, 0 or more.
        ratio: share that goes, 0 to 1; of equal scores those that come first in the tensor go.
        by: what the share is of.
    """
    if by == "layer":
        return {name: one for name, values in scores.items() for one in chosen({name: values}, ratio).values()}
    whole = np.concatenate([values.ravel() for values in scores.values()])
    gone = np.zeros(whole.size, bool)
    gone[np.argsort(whole, kind="stable")[: round(ratio * whole.size)]] = True
    masks, begin = {}, 0
    for name, values in scores.items():
        masks[name] = ~gone[begin : begin + values.size].reshape(values.shape)
        begin += values.size
    return masks


def by_ratios(scores: Mapping[str, NDArray[np.float64]], ratios: Mapping[str, float]) -> Masks:
    """The same with a share of its own for each tensor."""
    return {name: chosen({name: values}, ratios[name])[name] for name, values in scores.items()}


def in_fours(scores: Mapping[str, NDArray[np.float64]], weights: Mapping[str, Node]) -> tuple[Masks, list[str]]:
    """Two of every four along the input channels; and the nodes whose weights have too few channels for it."""
    masks, too_few = {}, []
    for name, values in scores.items():
        last = inputs_last(weights[name], values)
        if weights[name].op == "ConvTranspose" or last.shape[-1] < LEAST_CHANNELS:
            too_few.append(weights[name].name)
            continue
        kept = np.empty_like(values, bool)
        inputs_last(weights[name], kept)[...] = two_of_four(last)
        masks[name] = kept
    return masks, too_few


def zeroed(proto: onnx.ModelProto, masks: Mapping[str, NDArray[np.bool_]]) -> onnx.ModelProto:
    """A copy of the graph with zeros where masks are False; what is zero is noted, so that later steps keep it so."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for tensor in made.graph.initializer:
        if tensor.name in masks:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.where(masks[tensor.name], values, values.dtype.type(0)), tensor.name))
    set_structures(made, {name: Structure("sparse") for name in masks})
    return made


def sparsity(proto: onnx.ModelProto, names: Mapping[str, Any]) -> float:
    """Share of the numbers in some constants that are zero."""
    import onnx

    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if tensor.name in names]
    count = sum(array.size for array in arrays)
    return 1.0 - sum(int(np.count_nonzero(array)) for array in arrays) / count if count else 0.0

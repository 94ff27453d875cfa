"""What reads channels that go takes over, as far as it can, what they carried: from those that stay, by least squares.

    y = W_kept x_kept + W_gone x_gone + b          x_gone ≈ mean_gone + A (x_kept - mean_kept)
      ≈ (W_kept + W_gone A) x_kept + b + W_gone (mean_gone - A mean_kept)

Source:
    He, Zhang, Sun, "Channel pruning for accelerating very deep neural networks", ICCV 2017, section 3.1, solved once for
    channels instead of windows, so that every kernel takes the same part over; at padded edges the constant is a little too large.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.channels import ChannelGroups, Place
from edgekit.graph.edit import Array, Graph
from edgekit.graph.node import Node
from edgekit.numerics.moments import Moments
from edgekit.passes.compress.prune.importance import carried

if TYPE_CHECKING:
    import onnx

F64 = NDArray[np.float64]


def taken_over(found: ChannelGroups, gone: Mapping[int, Collection[int]], seen: Mapping[tuple[str, int], Moments]) -> onnx.ModelProto:
    """The graph before channels are cut, with weights and biases in which nothing of what goes is needed any more.

    Args:
        found: the channels of the graph, which is left alone.
        gone: units that will be cut, by group.
        seen: moments of every tensor they are read off.
    """
    graph = Graph(found.proto)
    readers = {(place.constant, place.axis, place.flow): place for number in gone for place in carried(found.groups[number])}
    users = _users(graph)
    for place in readers.values():
        lost = np.array([unit in gone.get(number, ()) for number, unit in found.unit_of(place.flow, place.flow_axis)], bool)
        weights = graph.constant(place.constant)
        assert weights is not None, "places lie in constants"
        if users[place.constant] == 1 and weights.shape[place.axis] == lost.size and lost.any() and not lost.all():
            _take_over(graph, place, lost, seen[place.flow, place.flow_axis])
    return graph.finish()


def _take_over(graph: Graph, place: Place, lost: NDArray[np.bool_], moments: Moments) -> None:
    weights = graph.constant(place.constant)
    assert weights is not None, "places lie in constants"
    node = next(user for user in graph.users(place.constant))
    rows = np.moveaxis(weights.astype(np.float64), place.axis, 0)
    covariance, mean = moments.covariance()[0], moments.mean[0]
    adds_constant = node.op in ("Conv", "Gemm") and node.inputs[1] == place.constant and float(node.get("beta", 1.0)) == 1.0
    if not adds_constant:
        covariance, mean = covariance + np.outer(mean, mean), np.zeros_like(mean)
    kept = ~lost
    share = np.linalg.solve(covariance[np.ix_(kept, kept)], covariance[np.ix_(kept, lost)])  # (kept, gone)
    new = rows.copy()
    new[kept] += np.tensordot(share, rows[lost], axes=1)
    new[lost] = 0.0
    if adds_constant:
        constant = np.tensordot(mean[lost] - mean[kept] @ share, rows[lost], axes=1)
        _add_to_bias(graph, node, constant, float(node.get("alpha", 1.0)))
    graph.name_constant(place.constant, np.moveaxis(new, 0, place.axis).astype(weights.dtype))


def _add_to_bias(graph: Graph, node: Node, constant: Array, factor: float) -> None:
    """Add what each output channel gets at every place; kernels are summed over."""
    by_output = constant.reshape(constant.shape[0], -1).sum(axis=1) * factor
    bias = graph.constant(node.input(2)) if node.input(2) else np.zeros(by_output.size, np.float32)
    if bias is None or bias.size not in (1, by_output.size):
        return
    graph.set_constant_input(node, 2, (bias.reshape(-1) + by_output).astype(bias.dtype), f"{node.outputs[0]}_bias")


def _users(graph: Graph) -> dict[str, int]:
    return {name: len(graph.users(name)) for node in graph.walk() for name in node.inputs if name}

"""A node's weights as rows, with what is known of their inputs: what every technique that gives them few values goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.graph.edit import Graph
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.model import Model
from edgekit.numerics.moments import Moments
from edgekit.passes.compress.biases import shift_bias, shifted_mean
from edgekit.passes.compress.inputs import looked_at
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize.patches import from_blocks, in_blocks

F64 = NDArray[np.float64]

_LEAST_WEIGHT = 1e-2
"""Of the mean: what is multiplied with inputs that hardly move still is a weight."""

SPARSE = 0.1
"""A weight of which at least this share is exactly 0 was pruned, whether or not anybody noted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A node's weights, and what is known of them.

    Attributes:
        values: shape (rows, inputs): what each output channel multiplies its inputs with.
        channel: of the stored weight, that each row belongs to, shape (rows,).
        groups: of rows; those of a group have the same inputs.
        covariance: of inputs, in blocks, shape (groups x blocks, inputs of a block, the same); None if nothing is known.
        zeros: weights that stay 0, shape of ``values``; None if none has to.
    """

    values: F64
    channel: NDArray[np.intp]
    groups: int
    covariance: F64 | None = None
    zeros: NDArray[np.bool_] | None = None


def importance(rows: Rows) -> F64:
    """How much the squared error of each weight counts, shape of the values; 0 where a zero stays."""
    weights = np.ones_like(rows.values)
    if rows.covariance is not None:
        variances = from_blocks(np.einsum("gii->gi", rows.covariance)[:, None, :], rows.groups, rows.values.shape[1])[:, 0, :]
        mean = max(float(variances.mean()), 1e-300)
        weights *= np.repeat(np.maximum(variances / mean, _LEAST_WEIGHT), len(rows.values) // rows.groups, axis=0)
    return weights if rows.zeros is None else weights * ~rows.zeros


def changed(rows: Rows, values: F64) -> float:
    """What other weights add to the variance of the outputs, summed over all; the squared error where nothing is known of inputs."""
    error = values - rows.values
    if rows.covariance is None:
        return float(np.square(error).sum())
    parts = in_blocks(error.reshape(rows.groups, -1, error.shape[1]))
    return float(np.vdot(parts @ rows.covariance, parts))


def times(rows: Rows, values: F64) -> F64:
    """Values times the covariance of their inputs, shape of the values."""
    assert rows.covariance is not None, "only what was seen can be fitted to"
    parts = in_blocks(values.reshape(rows.groups, -1, values.shape[1])) @ rows.covariance
    return from_blocks(parts, rows.groups, values.shape[1]).reshape(values.shape)


def by_channel(rows: Rows, values: F64) -> F64:
    """Sums over the weights of each stored channel."""
    return np.asarray(np.bincount(rows.channel, values.sum(axis=1)), np.float64)


def looked_at_all(model: Model, view: View, nodes: list[Weighted], supplies: Supplies) -> Mapping[str, Moments]:
    """Moments of all nodes' inputs in blocks, by node; none where there are no samples."""
    if supplies.samples is None:
        return {}
    return {one.node: moments for one, moments in looked_at(model, view, nodes, supplies, blocked=True)}


def rows_of(view: View, one: Weighted, moments: Moments | None, *, is_sparse: bool) -> Rows:
    """A node's weights as rows, with what is known of them.

    Raises:
        SourceError: a weight is infinite or not a number.
    """
    weight = view.value(one.weight)
    values = one.by_channel(weight)
    if not np.all(np.isfinite(values)):
        raise SourceError(f"{one.weight}: a weight is infinite or not a number", hint="check the float model itself")
    channels = weight.shape[one.axis]
    zeros: NDArray[np.bool_] = values == 0.0
    return Rows(
        values=values,
        channel=np.tile(np.arange(channels), len(values) // channels),
        groups=one.groups,
        covariance=None if moments is None else moments.covariance(),
        zeros=zeros if zeros.any() and (is_sparse or zeros.mean() >= SPARSE) else None,
    )


def write_rows(graph: Graph, view: View, one: Weighted, values: NDArray[np.float64], average: NDArray[np.float64] | None) -> None:
    """Put new weights into the place of a node's, and what they add on average into its bias.

    Args:
        graph: that is rewritten.
        view: of the graph as it was.
        one: the node.
        values: shape (rows, inputs), the node's factor included.
        average: of the inputs, shape (groups, inputs); None leaves the bias alone.
    """
    old = view.value(one.weight)
    node = next(node for node in graph.walk(one.op) if node.name == one.node)
    graph.name_constant(one.weight, np.asarray(one.from_channels(values / one.weight_factor, old.shape), np.float32))
    if average is not None:
        shift_bias(graph, node, one, -shifted_mean(values - one.by_channel(old), average))

"""The weights of a graph become few values each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.graph.edit import Graph
from edgekit.graph.structure import Structure, set_structures, structures
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted, weighted_nodes
from edgekit.model import Model
from edgekit.numerics.moments import Moments
from edgekit.passes.compress.biases import shift_bias, shifted_mean
from edgekit.passes.compress.cluster.sharing import Rows, Shared, changed, share
from edgekit.passes.compress.compressed import sizes_of
from edgekit.passes.compress.inputs import average_of, looked_at
from edgekit.passes.contract import Supplies
from edgekit.passes.named import named

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.compress.cluster import Cluster

SPARSE = 0.1
"""A weight of which at least this share is exactly 0 was pruned, whether or not anybody noted it."""


@dataclass(frozen=True, slots=True)
class _Clustered:
    """A node's new weights, as rows, and what they cost: the share of its outputs' variance that they add, or of the weights' square."""

    rows: Rows
    shared: Shared
    loss: float


def clustered(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Cluster) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A graph whose products have weights of few values.

    Args:
        model: the model.
        proto: its graph, all shapes inferred; left alone.
        supplies: samples, if there are some.
        how: options of the pass.

    Returns:
        The new graph, and what was done, for the step's record.
    """
    view, graph = View(proto), Graph(proto)
    noted = structures(proto)
    kept = {*named(view, how.keep, "cluster: keep")}
    weighted = {name: one for name, one in weighted_nodes(view).items() if name not in kept}
    left = {name: f"its weights are {noted[one.weight].kind} already" for name, one in weighted.items() if _is_held(noted, one)}
    wanted = {one.weight: one for name, one in weighted.items() if name not in left}
    seen = dict(looked_at_all(model, view, list(wanted.values()), supplies)) if how.rounding == "compensated" else {}
    made, losses = {}, {}
    for weight, one in wanted.items():
        found = _cluster(view, one, seen.get(one.node), noted, how)
        losses[one.node] = found.loss
        made[weight] = Structure("codebook", None if how.scope == "layer" else one.axis, is_scaled=how.scope == "scaled")
        _write(graph, view, [other for other in weighted.values() if other.weight == weight], found, seen)
    result = graph.finish()
    set_structures(result, made)
    did = {
        "entries": 2**how.bits,
        "nodes": len(made),
        "loss": {name: round(loss, 6) for name, loss in losses.items()},
        "loss_is": "share of the outputs' variance on the samples" if seen else "share of the weights' square",
        "constants": {"before": sizes_of(proto), "after": sizes_of(result)},
        "left_alone": left,
    }
    return result, did


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


def _is_held(noted: Mapping[str, Structure], one: Weighted) -> bool:
    return one.weight in noted and noted[one.weight].kind != "sparse"


def _cluster(view: View, one: Weighted, moments: Moments | None, noted: Mapping[str, Structure], how: Cluster) -> _Clustered:
    rows = rows_of(view, one, moments, is_sparse=one.weight in noted)
    shared = share(rows, 2**how.bits, how.scope)
    whole = changed(rows, np.zeros_like(rows.values))
    return _Clustered(rows, shared, changed(rows, shared.values) / max(whole, 1e-300))


def _write(graph: Graph, view: View, nodes: list[Weighted], found: _Clustered, seen: Mapping[str, Moments]) -> None:
    for one in nodes:
        moments = seen.get(one.node)
        average = None if moments is None else average_of(moments, one, found.rows.values.shape[1])
        write_rows(graph, view, one, found.shared.values, average)

"""The weights of a graph become few values each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.structure import Structure, set_structures, structures
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted, weighted_nodes
from edgekit.model import Model
from edgekit.numerics.moments import Moments
from edgekit.passes.compress.cluster.sharing import Shared, share
from edgekit.passes.compress.compressed import sizes_of
from edgekit.passes.compress.inputs import average_of
from edgekit.passes.compress.rows import Rows, changed, looked_at_all, rows_of, write_rows
from edgekit.passes.compress.some import check_some
from edgekit.passes.contract import Supplies
from edgekit.passes.named import named

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.compress.cluster import Cluster


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

    Raises:
        UsageError: every layer is left alone.
    """
    view, graph = View(proto), Graph(proto)
    noted = structures(proto)
    kept = {*named(view, how.keep, "cluster: keep")}
    weighted = {name: one for name, one in weighted_nodes(view).items() if name not in kept}
    left = {name: f"its weights are {noted[one.weight].kind} already" for name, one in weighted.items() if _is_held(noted, one)}
    wanted = {one.weight: one for name, one in weighted.items() if name not in left}
    check_some("cluster", wanted, left)
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

"""A graph's weights become signs: at once, or while they are learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.extras import extra
from edgekit.graph.edit import Graph
from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.structure import Structure, set_structures
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted, weighted_nodes
from edgekit.model import Model
from edgekit.passes.compress.binarize.activations import Spread, channels_of, spread_of, why_not, with_signs
from edgekit.passes.compress.binarize.signs import Signs, signed
from edgekit.passes.compress.compressed import sizes_of
from edgekit.passes.compress.inputs import average_of, looked_at
from edgekit.passes.compress.rows import Rows, changed, looked_at_all, rows_of, write_rows
from edgekit.passes.compress.some import check_some
from edgekit.passes.contract import Supplies
from edgekit.passes.named import named

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.compress.binarize import Binarize

FIRST_OR_LAST = "the first and the last product keep their weights"


def binarized(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Binarize) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A graph whose products have weights of one magnitude a channel.

    Args:
        model: the model.
        proto: its graph, all shapes inferred; left alone.
        supplies: samples, if there are some; to learn, they are needed.
        how: options of the pass.

    Returns:
        The new graph, and what was done, for the step's record.

    Raises:
        UsageError: every layer is left alone.
    """
    before, view = proto, View(proto)
    weighted = weighted_nodes(view)
    left = _left(view, weighted, how)
    check_some("binarize", weighted.keys() - left.keys(), {name: why for name, why in left.items() if name in weighted})
    if how.activations:
        proto = _reading_signs(model, proto, view, [one for name, one in weighted.items() if name not in left], supplies)
        view = View(proto)
        weighted = weighted_nodes(view)
    wanted = {one.weight: one for name, one in weighted.items() if name not in left}
    is_looking = not how.activations and (how.rounding == "compensated" or how.train)
    seen = dict(looked_at_all(model, view, list(wanted.values()), supplies)) if is_looking else {}
    rows = {weight: rows_of(view, one, seen.get(one.node), is_sparse=weight in view.structures) for weight, one in wanted.items()}
    signs = {weight: signed(one, how.kind) for weight, one in rows.items()}
    did: dict[str, Any] = {
        "nodes": len(wanted),
        "loss": {one.node: round(_loss(rows[weight], signs[weight]), 6) for weight, one in wanted.items()},
        "loss_is": "share of the outputs' variance on the samples" if seen else "share of the weights' square",
    }
    if how.train:
        begun = {weight: (one, _magnitudes(rows[weight], signs[weight], one)) for weight, one in wanted.items()}
        result, learned = _learned(model, proto, supplies, how, begun)
        did |= learned
    else:
        graph = Graph(proto)
        for weight, found in signs.items():
            for one in (other for other in weighted.values() if other.weight == weight):
                average = average_of(seen[one.node], one, found.codes.shape[1]) if one.node in seen else None
                write_rows(graph, view, one, found.values, average)
        result = graph.finish()
    set_structures(result, {weight: Structure(how.kind, one.axis) for weight, one in wanted.items()})
    constants = {"before": sizes_of(before), "after": sizes_of(result)}
    return result, {**did, "constants": constants, "left_alone": {name: why for name, why in left.items() if name in weighted}}


def foreseen(proto: onnx.ModelProto, how: Binarize) -> onnx.ModelProto:
    """The nodes that products would have around them whose activations become signs, as if all inputs were of mean 0 and deviation 1.

    Args:
        proto: the graph, all shapes inferred; left alone.
        how: options of the pass.

    Raises:
        UsageError: every layer is left alone, or ``keep`` names what is not there.
    """
    view = View(proto)
    weighted = weighted_nodes(view)
    left = _left(view, weighted, how)
    check_some("binarize", weighted.keys() - left.keys(), {name: why for name, why in left.items() if name in weighted})
    wanted = {name: one for name, one in weighted.items() if name not in left}
    return with_signs(proto, {name: Spread(*(fill(channels_of(view, one)) for fill in (np.zeros, np.ones))) for name, one in wanted.items()})


def _left(view: View, weighted: Mapping[str, Weighted], how: Binarize) -> dict[str, str]:
    """Nodes that are left alone, each with the reason.

    Raises:
        UsageError: ``keep`` names what is not there.
    """
    left = dict.fromkeys(named(view, how.keep, "binarize: keep"), "kept by the user")
    for name, one in weighted.items():
        if why := _why_not(view, one, how.kind) or (why_not(one) if how.activations else ""):
            left[name] = why
    return left | (dict.fromkeys(sorted(ends(view, weighted)), FIRST_OR_LAST) if how.keep_ends else {})


def _reading_signs(model: Model, proto: onnx.ModelProto, view: View, nodes: list[Weighted], supplies: Supplies) -> onnx.ModelProto:
    """The graph in which these products read signs, by what the samples say of their inputs."""
    seen = looked_at(model, view, nodes, supplies, blocked=True)
    return with_signs(proto, {one.node: spread_of(one, moments, channels_of(view, one)) for one, moments in seen})


def ends(view: View, weighted: Mapping[str, Weighted]) -> set[str]:
    """Products before which there is no other product, and those after which there is none."""
    first, last = set(), set()
    behind: set[str] = set()
    for node in view.nodes:
        reads = any(name in behind for name in node.input)
        if node.op_type in PRODUCTS and not reads:
            first.add(node.name)
        if node.op_type in PRODUCTS or reads:
            behind.update(node.output)
    before: set[str] = set()
    for node in reversed(view.nodes):
        is_read = any(name in before for name in node.output)
        if node.op_type in PRODUCTS and not is_read:
            last.add(node.name)
        if node.op_type in PRODUCTS or is_read:
            before.update(node.input)
    return (first | last) & weighted.keys()


def _why_not(view: View, one: Weighted, kind: str) -> str:
    """Why a node's weights cannot become signs; "" if they can."""
    structure = view.structures.get(one.weight)
    if structure is not None and structure.has_few_values:
        return f"its weights are {structure.kind} already"
    return "its weights are sparse, and two values have no zero: kind = ternary has" if structure is not None and kind == "binary" else ""


def _loss(rows: Rows, signs: Signs) -> float:
    return changed(rows, signs.values) / max(changed(rows, np.zeros_like(rows.values)), 1e-300)


def _magnitudes(rows: Rows, signs: Signs, one: Weighted) -> NDArray[np.float32]:
    """Of each channel of the stored weight, without the node's factor."""
    by_channel = np.zeros(rows.channel.max() + 1, np.float32)
    by_channel[rows.channel] = signs.scale / abs(one.weight_factor)
    return by_channel


def _learned(
    model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Binarize, begun: Mapping[str, tuple[Weighted, NDArray[np.float32]]]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Signs and magnitudes that were trained, the float model being the teacher."""
    from edgekit.graph.trainable import trained
    from edgekit.passes.learn import fit, material_of, require, taught_by

    require(how)
    with extra("torch"):
        import torch

        from edgekit.passes.compress.binarize.latent import Latent
    samples = supplies.samples
    assert samples is not None, "the pass needs samples to train"
    material = material_of(samples, model.signature, taught_by([model], how, samples))
    techniques = [Latent(weight, one.axis, how.kind, torch.from_numpy(scale)) for weight, (one, scale) in begun.items()]
    fitted = fit(proto, material, how, techniques=techniques, watcher=supplies.watcher, what=how.kind)
    return trained(proto, fitted.values), {"samples": material.count, **fitted.record()}

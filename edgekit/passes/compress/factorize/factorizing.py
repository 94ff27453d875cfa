"""A graph's layers become smaller ones: looked at, chosen, split, fitted, written."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.graph.edit import Graph
from edgekit.graph.inspect import layers as inspected
from edgekit.graph.inspect import totals
from edgekit.graph.onnx_file import infer_shapes, save
from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.model import Model, seal_model
from edgekit.numerics.lowrank import refitted, times, variance_of
from edgekit.passes.compress.biases import shift_bias
from edgekit.passes.compress.factorize.choose import Choice, cheapest_within, within
from edgekit.passes.compress.factorize.forms import FORMS, Cost, cost, forms_of, ranks, whole
from edgekit.passes.compress.factorize.layers import Layer, layer_of
from edgekit.passes.compress.factorize.rewrite import take_apart
from edgekit.passes.compress.inputs import covariance_of, looked_at
from edgekit.passes.compress.some import check_some
from edgekit.passes.contract import Supplies
from edgekit.passes.named import named

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.compress.factorize import Factorize

F64 = NDArray[np.float64]

_LEAST_VARIANCE = 1e-3
"""Of the mean over a layer's outputs: what varies less is taken for as large."""

LATENCY_TRIALS = 6
"""Graphs that are timed for a ratio of latency: halving that often leaves a sixty-fourth."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is multiplied with a layer's weights: covariance, or variances alone, and mean; both in files."""

    folder: Path

    def put(self, node: str, covariance: F64, mean: F64) -> None:
        np.savez(self.folder / f"{len(list(self.folder.iterdir()))}.npz", node=node, covariance=covariance.astype(np.float32), mean=mean)

    def get(self) -> dict[str, Path]:
        found = {}
        for path in self.folder.iterdir():
            with np.load(path) as held:
                found[str(held["node"])] = path
        return found


class _Graph:
    """A graph and its layers, looked at once, that can be factorized several times."""

    def __init__(self, model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Factorize, folder: Path) -> None:
        self.proto, self._view, self._how = proto, View(proto), how
        kept = {*named(self._view, how.keep, "factorize: keep")}
        wanted = {name: one for name, one in weighted_nodes(self._view).items() if one.op in how.ops and name not in kept}
        parts = {name: layer_of(self._view, one) for name, one in wanted.items()}
        self.left = {name: part for name, part in parts.items() if isinstance(part, str)}
        noted = {name: self._view.structures[one.weight] for name, one in wanted.items() if one.weight in self._view.structures}
        self.left |= {name: "its weights share values" if one.has_few_values else "its zeros would be lost" for name, one in noted.items()}
        self.layers = {name: part for name, part in parts.items() if not isinstance(part, str) and name not in self.left}
        self._files = self._look(model, supplies, _Seen(folder)) if supplies.samples is not None else {}
        self.choices = {name: self._choices(layer) for name, layer in self.layers.items()}

    @property
    def is_seen(self) -> bool:
        """Whether what inputs are like is known."""
        return bool(self._files)

    def total(self) -> int:
        """What the layers cost as they are."""
        return sum(choices[0].cost for choices in self.choices.values())

    def factorized(self, chosen: Mapping[str, Choice]) -> tuple[onnx.ModelProto, dict[str, float]]:
        """The graph with these choices, and the share of each layer's outputs' variance that it loses."""
        graph, lost = Graph(self.proto), {}
        for name, choice in chosen.items():
            if choice.form:
                lost[name] = self._split(graph, self.layers[name], choice)
        return infer_shapes(graph.finish()), lost

    def _look(self, model: Model, supplies: Supplies, seen: _Seen) -> dict[str, Path]:
        for one, moments in looked_at(model, self._view, [layer.node for layer in self.layers.values()], supplies, blocked=False):
            inputs = self.layers[one.node].matrix.shape[1]
            seen.put(one.node, covariance_of(moments, inputs), moments.mean.reshape(-1)[:inputs])
        return seen.get()

    def _of(self, layer: Layer) -> tuple[F64, F64 | None]:
        """Covariance of a layer's inputs and their mean; where nothing is known, all vary alike."""
        if layer.node.node not in self._files:
            return np.ones(layer.matrix.shape[1]), None
        with np.load(self._files[layer.node.node]) as held:
            return held["covariance"].astype(np.float64), held["mean"]

    def _choices(self, layer: Layer) -> list[Choice]:
        """The layer as it is, and every form at some ranks."""
        of: Cost = "parameters" if self._how.of == "parameters" else "macs"
        found = [Choice("", 0, cost(layer, whole(layer), of), 0.0)]
        covariance = self._of(layer)[0]
        layer = _evened(layer, covariance)[0]
        for form in forms_of(layer, self._how.method):
            at = ranks(form, layer, self._how.multiple_of)
            losses = form.losses(layer, covariance, at) if at else []
            found += [Choice(form.name, rank, cost(layer, form.stages(layer, rank), of), loss) for rank, loss in zip(at, losses, strict=True)]
        return found

    def _split(self, graph: Graph, layer: Layer, choice: Choice) -> float:
        form, (covariance, mean) = FORMS[choice.form], self._of(layer)
        even, sizes = _evened(layer, covariance)
        kernels, before_last = form.split(even, covariance, choice.rank)
        last = refitted(even.matrix, before_last, covariance)
        loss = variance_of(last @ before_last - even.matrix, covariance) / max(variance_of(even.matrix, covariance), 1e-300)
        last = last * sizes[:, None]
        kernels[-1] = last.reshape(kernels[-1].shape)
        node = take_apart(graph, layer, form.stages(layer, choice.rank), kernels)
        if mean is not None:
            shift_bias(graph, node, layer.node, -((last @ before_last - layer.matrix) @ mean))
        return loss


def _evened(layer: Layer, covariance: F64) -> tuple[Layer, F64]:
    """The layer with outputs that vary more alike, and what these have to be multiplied with to be the layer's.

    What a network makes of a channel goes neither by its size alone nor by what it tells whatever its size. Measured, no
    training behind: MobileNetV2 with 0.9 of its multiply-adds has 1.1 dB with the sizes as they are, 1.6 dB with all alike and
    1.8 dB with their roots (40 samples); dense layers of a small classifier lost 0.2 points more with all alike than as they are.
    """
    variances = np.einsum("oi,oi->o", layer.matrix, times(covariance, layer.matrix.T).T)
    sizes = np.maximum(variances, _LEAST_VARIANCE * max(float(variances.mean()), 1e-30)) ** 0.25
    return replace(layer, kernel=layer.kernel / sizes[:, None, None, None]), sizes


def factorized(model: Model, proto: onnx.ModelProto, supplies: Supplies, how: Factorize) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A graph whose layers are taken apart where that is worth it.

    Args:
        model: the model.
        proto: its graph, all shapes inferred; left alone.
        supplies: samples and, for a ratio of latency, who times.
        how: options of the pass.

    Returns:
        The new graph, and what was done, for the step's record.

    Raises:
        UsageError: the ratio cannot be reached, every layer is left alone, or nobody times.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-factorize-") as folder:
        graph = _Graph(model, proto, supplies, how, Path(folder))
        check_some("factorize", graph.layers, graph.left)
        if not graph.layers:
            return proto, {"layers": {}, "left_alone": graph.left}
        if how.of == "latency" and how.max_loss is None:
            chosen, timed = _by_latency(graph, model, supplies, how)
        else:
            chosen, timed = _chosen(graph, how, how.left), {}
        made, lost = graph.factorized(chosen)
    taken = {name: choice for name, choice in chosen.items() if choice.form}
    did = {
        "layers": {name: {"form": one.form, "rank": one.rank, "loss": round(lost[name], 6)} for name, one in taken.items()},
        "loss_is": f"share of the outputs' {'variance on the samples' if graph.is_seen else 'squared weights'}, small ones weighed up",
        "forms": dict(sorted(Counter(one.form for one in taken.values()).items())),
        **_counted(proto, made),
        **timed,
        "left_alone": graph.left,
    }
    return made, did


def _chosen(graph: _Graph, how: Factorize, left: float) -> dict[str, Choice]:
    names, choices = list(graph.choices), list(graph.choices.values())
    if how.max_loss is not None:
        return {name: cheapest_within(of_layer, how.max_loss) for name, of_layer in graph.choices.items()}
    found = within(choices, left * graph.total())
    if found is None:
        least = sum(min(one.cost for one in of_layer) for of_layer in choices) / max(graph.total(), 1)
        raise UsageError(
            f"factorize: ratio = {1.0 - left:g}: with the lowest ranks {1.0 - least:.2f} of the {how.of} of these layers go",
            hint=f"{_less(1.0 - least)}another method, or a smaller multiple_of",
        )
    return dict(zip(names, found, strict=True))


def _less(most: float) -> str:
    """The largest ratio of two digits that the lowest ranks reach, as an option; nothing where there is none."""
    reached = np.floor(100 * most) / 100
    return f"--set factorize.ratio={reached:g}, " if reached > 0.0 else ""


def _by_latency(graph: _Graph, model: Model, supplies: Supplies, how: Factorize) -> tuple[dict[str, Choice], dict[str, Any]]:
    """The mildest of some shares of the multiply-accumulates at which the graph is as fast as asked."""
    if supplies.cost is None:
        raise UsageError("factorize: of = latency: nobody times graphs here", hint="--set factorize.of=macs")
    before = supplies.cost(model)
    low, high, best = 0.0, 1.0, None
    for _ in range(LATENCY_TRIALS):
        middle = (low + high) / 2.0
        try:
            chosen = _chosen(graph, how, middle)
        except UsageError:  # lower than the lowest ranks
            low = middle
            continue
        took = _timed(graph.factorized(chosen)[0], model, supplies)
        if took <= how.left * before:
            low, best = middle, (chosen, took)
        else:
            high = middle
    if best is None:
        least = f"no ranks that were tried take {how.left:g} of {before:.3g} ms"
        raise UsageError(f"factorize: ratio = {1.0 - how.left:g}: {least}", hint="a ratio nearer to 0, or of = macs")
    return best[0], {"latency_ms": {"before": before, "after": best[1]}}


def _timed(proto: onnx.ModelProto, model: Model, supplies: Supplies) -> float:
    assert supplies.cost is not None, "looked at before"
    with tempfile.TemporaryDirectory(prefix="edgekit-factorized-") as folder:
        save(proto, Path(folder))
        return supplies.cost(seal_model(Path(folder), model.signature, model.history))


def _counted(before: onnx.ModelProto, after: onnx.ModelProto) -> dict[str, Any]:
    sums = [totals(inspected(one)) for one in (before, after)]
    return {name: {"before": getattr(sums[0], name), "after": getattr(sums[1], name)} for name in ("parameters", "macs")}

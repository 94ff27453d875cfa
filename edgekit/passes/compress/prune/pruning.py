"""One pruning from the whole graph to the pruned one, in as many steps as were asked for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.extras import extra
from edgekit.graph.channels import ChannelGroups, channel_groups, cut
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.shapes import infer_shapes
from edgekit.graph.trainable import trained
from edgekit.model import Model
from edgekit.passes.compress.prune import latency, masks
from edgekit.passes.compress.prune.biases import with_own_biases
from edgekit.passes.compress.prune.costs import COUNTED, cost_of
from edgekit.passes.compress.prune.options import CUTTING
from edgekit.passes.compress.prune.sensitivity import SHARES, Trial
from edgekit.passes.compress.prune.structured import Chosen, Cost, choose, scheduled, spared

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.passes.compress.prune import Prune
    from edgekit.passes.contract import Supplies
    from edgekit.passes.streaming import Feed

_NEAR = 0.03
"""Share of the latency asked for, by which what is measured may miss it."""
_ROUNDS = 3
"""Times that channels are chosen anew because layers alone took another time than together."""


def pruned(proto: onnx.ModelProto, model: Model, supplies: Supplies, how: Prune) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The pruned graph, shapes inferred, and what the step's record says of it."""
    one = _Pruning(proto, model, supplies, how)
    if how.kind == "soft":
        return one.softly()
    learned = []
    for step in range(1, how.steps + 1):
        proto, did = one.step(proto, scheduled(how.ratio, step, how.steps))
        if step < how.steps:
            proto, found = one.learn(proto, step)
            learned.append(found)
    return proto, {**did, **({"learned": learned} if learned else {})}


class _Pruning:
    """What every step needs: the samples, and what the whole graph costs."""

    def __init__(self, proto: onnx.ModelProto, model: Model, supplies: Supplies, how: Prune) -> None:
        self._whole, self._model, self._supplies, self._how = proto, model, supplies, how
        samples = supplies.samples
        self._feeds: list[Feed] = []
        if samples is not None and (how.uses or how.importance != "magnitude" or how.scope == "sensitivity"):
            self._feeds = list(itertools.islice(samples.feeds("calibrating", model.signature), how.samples))
        self._multiple = how.multiple_of or supplies.channel_multiple
        self._whole_cost: float | None = None

    def step(self, proto: onnx.ModelProto, ratio: float) -> tuple[onnx.ModelProto, dict[str, Any]]:
        """A graph of which so much of the whole is gone."""
        if self._how.kind not in CUTTING:
            return self._zeroed(proto, ratio)
        proto = with_own_biases(proto)
        if self._how.of == "latency":
            return self._faster(proto, ratio)
        chosen = self._chosen(proto, ratio)
        return chosen.cut(repair=self._how.repair), self._record(chosen)

    def learn(self, proto: onnx.ModelProto, step: int) -> tuple[onnx.ModelProto, dict[str, Any]]:
        """The graph after some epochs of learning from the model as it was."""
        return self._fitted(proto, f"learn after step {step}", ())

    def softly(self) -> tuple[onnx.ModelProto, dict[str, Any]]:
        """Channels zeroed while the graph learns, and cut when it has."""
        with extra("torch"):
            from edgekit.passes.compress.prune.soft import Soft
        whole = self._whole
        found = channel_groups(whole)

        def select(values: Mapping[str, NDArray[Any]]) -> Mapping[int, tuple[int, ...]]:
            return self._chosen(trained(whole, values), self._how.ratio).gone

        soft = Soft(found, select, self._how.epochs)
        proto, learned = self._fitted(whole, "learn softly", (soft,))
        gone = soft.gone() or select({})
        small = cut(channel_groups(proto), gone)
        kept = [group.units - len(gone.get(number, ())) for number, group in enumerate(found.groups)]
        return small, {**self._record(Chosen(found, dict(gone), kept, None)), "learned": [learned]}

    # --- channels

    def _chosen(self, proto: onnx.ModelProto, ratio: float) -> Chosen:
        def budget(found: ChannelGroups) -> tuple[Cost, float]:
            cost = cost_of(found, self._how.of)
            return cost, (1.0 - ratio) * self._whole_costs()

        return choose(proto, self._how, self._multiple, self._feeds, budget)

    def _whole_costs(self) -> float:
        if self._whole_cost is None:
            found = channel_groups(self._whole)
            self._whole_cost = cost_of(found, self._how.of)([group.units for group in found.groups])
        return self._whole_cost

    def _faster(self, proto: onnx.ModelProto, ratio: float) -> tuple[onnx.ModelProto, dict[str, Any]]:
        """By latency: what is chosen by layers alone is measured as a whole, and chosen anew where that is another time."""
        measure = self._supplies.cost
        assert measure is not None, "asked for before"
        if self._whole_cost is None:
            self._whole_cost = latency.whole_ms(self._whole, measure)
        most = (1.0 - ratio) * self._whole_cost
        table = latency.table_of(channel_groups(proto), measure, self._supplies.watcher)
        aim = most
        for _ in range(_ROUNDS):
            chosen = choose(proto, self._how, self._multiple, self._feeds, lambda _, aim=aim: (table, aim))  # type: ignore[misc]
            small = chosen.cut(repair=self._how.repair)
            found_ms = latency.whole_ms(small, measure)
            if abs(found_ms - most) <= _NEAR * most or (found_ms < most * (1.0 - _NEAR) and aim > most):
                break
            aim *= most / found_ms
        figures = {"ms_before": round(self._whole_cost, 4), "ms_after": round(found_ms, 4)}
        return small, {**self._record(chosen), **figures}

    def _record(self, chosen: Chosen) -> dict[str, Any]:
        whole = channel_groups(self._whole)
        units = [group.units for group in whole.groups]
        figures = {}
        for of in COUNTED:
            figures[f"{of}_before"], figures[f"{of}_after"] = round(cost_of(whole, of)(units)), round(cost_of(chosen.found, of)(chosen.kept))
        return {"kind": self._how.kind, "channel_multiple": self._multiple, **figures, **chosen.record()}

    # --- zeros

    def _zeroed(self, proto: onnx.ModelProto, ratio: float) -> tuple[onnx.ModelProto, dict[str, Any]]:
        weights = masks.prunable(proto, spared(proto, self._how.keep))
        scores = masks.scored(proto, weights, self._powers(proto, weights) if self._how.importance == "activation" else {})
        too_few: list[str] = []
        if self._how.kind == "2:4":
            found, too_few = masks.in_fours(scores, weights)
        elif self._how.scope == "sensitivity":
            found = masks.by_ratios(scores, self._ratios(proto, scores, ratio))
        else:
            found = masks.chosen(scores, ratio, by="layer" if self._how.scope == "layer" else "global")
        made = masks.zeroed(proto, found)
        layers = {weights[name].name: round(1.0 - float(mask.mean()), 4) for name, mask in found.items()}
        return made, {
            "kind": self._how.kind,
            "sparsity": round(masks.sparsity(made, weights), 4),
            "layers": layers,
            **({"too_few_channels": too_few} if too_few else {}),
        }

    def _powers(self, proto: onnx.ModelProto, weights: Mapping[str, Node]) -> dict[str, NDArray[np.float64]]:
        """Mean squares of each input channel of each weight, over the samples."""
        from edgekit.graph.run import Runner

        graph = Graph(proto)
        axes = {name: 1 if node.op in ("Conv", "ConvTranspose") else -1 for name, node in weights.items()}
        read = {node.inputs[0] for node in weights.values()} - set(graph.inputs)
        runner = Runner(proto.SerializeToString(), outputs=sorted(read))
        sums: dict[str, NDArray[np.float64]] = {}
        for feed in self._feeds:
            made = {**feed, **runner({**feed})}
            for name, node in weights.items():
                rows = np.moveaxis(made[node.inputs[0]], axes[name], -1)
                powers = np.square(rows.reshape(-1, rows.shape[-1]), dtype=np.float64).mean(axis=0)
                sums[name] = sums.get(name, 0.0) + powers / len(self._feeds)
        return sums

    def _ratios(self, proto: onnx.ModelProto, scores: Mapping[str, NDArray[np.float64]], ratio: float) -> dict[str, float]:
        """Shares by layer, so that those that the outputs feel least lose most: all at the same error when pruned alone."""
        trial = Trial(proto, self._feeds)
        shares = (*SHARES, 0.9, 0.95)
        wanted = [(name, share) for name in scores for share in shares]
        makes = [lambda name=name, share=share: masks.zeroed(proto, masks.chosen({name: scores[name]}, share)) for name, share in wanted]
        errors = dict(zip(wanted, trial.errors(makes), strict=True))
        curves = {name: np.maximum.accumulate([0.0, *(errors[name, share] for share in shares)]) for name in scores}
        counts = {name: values.size for name, values in scores.items()}
        low, high = 0.0, max(curve[-1] for curve in curves.values())
        for _ in range(40):
            middle = (low + high) / 2
            found = {name: float(np.interp(middle, curve, [0.0, *shares])) for name, curve in curves.items()}
            gone = sum(counts[name] * share for name, share in found.items()) / sum(counts.values())
            low, high = (low, middle) if gone >= ratio else (middle, high)
        return found

    # --- learning

    def _fitted(self, proto: onnx.ModelProto, what: str, techniques: Sequence[Any]) -> tuple[onnx.ModelProto, dict[str, Any]]:
        from edgekit.passes.learn import TrainOptions, fit, material_of, taught_by

        samples = self._supplies.samples
        assert samples is not None, "asked for before"
        options = TrainOptions(epochs=self._how.epochs, rate=self._how.rate)
        teachers = taught_by([self._supplies.teacher or self._model], options, samples)
        folder = self._supplies.unfinished
        checkpoints = Path(folder, what.replace(" ", "-")) if folder is not None else None
        material = material_of(samples, self._model.signature, teachers)
        fitted = fit(proto, material, options, techniques=techniques, watcher=self._supplies.watcher, checkpoints=checkpoints, what=what)
        return infer_shapes(trained(proto, fitted.values)), fitted.record()

"""The layers of a graph, and the options by which a pass compresses one of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.graph.channels import channel_groups
from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.passes.named import literally
from edgekit.pipeline.levels import Level

if TYPE_CHECKING:
    import onnx

    from edgekit.target import Scheme

_SLACK = 1e-9
"""So little fewer channels are asked for that roundings of the ratio do not cost one more."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What is compressed alone.

    Attributes:
        name: of the node.
        op: its operator.
        parameters: numbers in its weights.
        units: of channels that can be cut; 0 where none can.
        share: of all channels that can be cut, its own.
        with_layers: other nodes that make channels which go with its own.
    """

    name: str
    op: str
    parameters: int
    units: int = 0
    share: float = 0.0
    with_layers: tuple[str, ...] = ()

    def gone(self, share: float) -> float:
        """Share of all channels that can be cut, if so much of its own goes: whole units, at least one and not all."""
        units = max(min(round(share * self.units), self.units - 1), 1)
        return self.share * units / self.units * (1.0 - _SLACK)


class Layers:
    """A graph's layers: nodes with weights, and groups of channels that hang together.

    Args:
        proto: the graph, all shapes inferred.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._view = View(proto)
        self._ops = {node.name: node.op_type for node in self._view.nodes}
        self._weighted = weighted_nodes(self._view)
        self.weighted = {name: Layer(name, one.op, self._view.numbers(one.weight)) for name, one in self._weighted.items() if one.op in PRODUCTS}
        self.groups = self._groups(proto)

    def _groups(self, proto: onnx.ModelProto) -> dict[str, Layer]:
        """Groups by their first nodes; those that begin at the same node are cut together."""
        groups = channel_groups(proto).groups
        total = sum(group.units * group.width for group in groups)
        channels: dict[str, int] = {}
        units: dict[str, int] = {}
        makers: dict[str, dict[str, None]] = {}
        for group in groups:
            channels[group.name] = channels.get(group.name, 0) + group.units * group.width
            units[group.name] = units.get(group.name, 0) + group.units
            makers.setdefault(group.name, {}).update(dict.fromkeys(place.node for place in group.places if place.role == "makes"))
        return {
            name: Layer(
                name,
                self._ops.get(name, ""),
                self.weighted[name].parameters if name in self.weighted else 0,
                units=units[name],
                share=count / total,
                with_layers=tuple(maker for maker in makers[name] if maker != name),
            )
            for name, count in channels.items()
        }

    def options(self, layer: Layer, level: Level, given: Mapping[str, Any], scheme: Scheme | None) -> dict[str, Any]:
        """Options of the level's pass by which it works on one layer alone.

        Args:
            layer: one of :attr:`weighted`, or of :attr:`groups` where channels go.
            level: the technique, and how far it goes.
            given: what the user set of the pass besides.
            scheme: of a target, for what is quantized.
        """
        if level.technique == "quantize":
            return {**given, **self._quantized(layer, int(level.value), scheme)}
        if level.technique == "prune" and given.get("kind", "structured") == "structured":
            makers = {layer.name, *layer.with_layers}
            keep = tuple(literally(name) for name in self.groups if name not in makers)
            return {**given, "ratio": layer.gone(int(level.value) / 100), "of": "channels", "multiple_of": 1, "keep": keep}
        keep = tuple(literally(name) for name in self.weighted if name != layer.name)
        if level.technique == "prune":
            return {**given, "ratio": int(level.value) / 100, "keep": keep}
        if level.technique == "factorize":
            return {"multiple_of": 1, **given, "ratio": int(level.value) / 100, "of": "parameters", "keep": keep}
        if level.technique == "cluster":
            return {**given, "bits": int(level.value), "keep": keep}
        return {**given, "kind": level.value, "keep_ends": False, "keep": keep}

    def _quantized(self, layer: Layer, bits: int, scheme: Scheme | None) -> dict[str, Any]:
        """Integers for a layer's inputs, weights and outputs; for its weights alone where the runtime has no such product of so few bits."""
        if bits < 8 and scheme is not None and (bits == 2 or layer.op not in scheme.low_bit_static_ops):
            keep = tuple(literally(name) for name in self.weighted if name != layer.name)
            return {"mode": "weight_only", "weight_bits": bits, "keep_float": keep}
        behind = {layer.name, *self._behind(layer.name)}
        keep = tuple(literally(name) for name in self._ops if name not in behind)
        return {"weight_bits": bits, "keep_float": keep, "float_if_free": False}

    def _behind(self, name: str) -> list[str]:
        """Nodes that do no more than shape what a layer gives, one number each: kernels have them in the layer."""
        found: list[str] = []
        output = self._weighted[name].output
        adder = self._weighted[name].bias_adder
        if adder is not None:
            found.append(adder)
        while (node := self._view.only_reader(output)) is not None and node.name not in self._weighted:
            computed = [each for each in node.input if each and each not in self._view.constants]
            if computed != [output] or self._view.shape(node.output[0]) != self._view.shape(output):
                break
            found.append(node.name)
            output = node.output[0]
        return found

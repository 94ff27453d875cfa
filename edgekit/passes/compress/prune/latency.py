"""Latency by what is kept: each layer measured by itself at a few sizes, the rest on straight lines between them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.graph.channels import ChannelGroups
from edgekit.graph.channels.groups import Term
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.onnx_file import save
from edgekit.graph.opset import IR_VERSION, OPSET
from edgekit.graph.shapes import infer_shapes
from edgekit.graph.signature import signature_of
from edgekit.model import Model, seal_model
from edgekit.passes.compress.prune.costs import Axis, channels, part_of
from edgekit.watch import Watcher

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.compress.prune.choose import Kept

Measure = Callable[[Model], float]
"""Milliseconds of a model on the target."""

_SHARES = (1.0, 0.5)
"""Of the channels of each axis, at which a layer is measured."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Milliseconds of one product at each corner, and the axes that its channels lie along.

    Attributes:
        axes: as the costs have them.
        corners: channels along each axis at each corner, and the time.
    """

    axes: tuple[Axis, ...]
    corners: dict[tuple[int, ...], float]

    def at(self, kept: Kept) -> float:
        """Time by the channels left, on straight lines through the corners, beyond them too; never negative."""
        wanted = [channels(whole, groups, kept) for whole, groups in self.axes]
        sides = [sorted({corner[axis] for corner in self.corners}) for axis in range(len(self.axes))]
        total = 0.0
        for corner, time_ms in self.corners.items():
            share = 1.0
            for value, here, side in zip(wanted, corner, sides, strict=True):
                if len(side) == 2:
                    other = side[0] if here == side[1] else side[1]
                    share *= (value - other) / (here - other)
            total += share * time_ms
        return max(total, 0.0)


def table_of(found: ChannelGroups, measure: Measure, watcher: Watcher) -> Callable[[Kept], float]:
    """Milliseconds of the whole graph by what is kept: the layers' sum, scaled to what the whole takes.

    Args:
        found: the channels of the graph.
        measure: runs a model on the target.
        watcher: told about every measurement.
    """
    graph = Graph(found.proto)
    nodes = {node.name or node.outputs[0]: node for node in graph.nodes}
    # where a layer reads and makes the same units, its two axes are one: no other sizes occur
    parts = [part_of(Term(term.name, term.count, tuple(dict.fromkeys(term.axes))), found) for term in found.macs]
    whole = [group.units for group in found.groups]
    known: dict[bytes, float] = {}
    watcher.begin("measure layers", len(parts))
    layers = []
    for part in parts:
        corners: dict[tuple[int, ...], float] = {}
        full = [channels(fixed, groups, whole) for fixed, groups in part.axes]
        for shares in itertools.product(_SHARES, repeat=len(part.axes)):
            sizes = tuple(
                round(fixed + share * (size - fixed)) if groups else round(size)
                for (fixed, groups), share, size in zip(part.axes, shares, full, strict=True)
            )
            if sizes not in corners:
                corners[sizes] = _time(found, graph, nodes[part.name], sizes, measure, known)
        layers.append(_Layer(part.axes, corners))
        watcher.advance()
    watcher.end()
    total_ms = whole_ms(found.proto, measure)
    sum_ms = sum(layer.at(whole) for layer in layers)
    return lambda kept: total_ms * sum(layer.at(kept) for layer in layers) / sum_ms


def whole_ms(proto: onnx.ModelProto, measure: Measure) -> float:
    """Milliseconds of a graph on the target."""
    with tempfile.TemporaryDirectory(prefix="edgekit-layer-") as folder:
        save(proto, Path(folder))
        return measure(seal_model(Path(folder), signature_of(proto), ()))


def _time(found: ChannelGroups, graph: Graph, node: Node, sizes: tuple[int, ...], measure: Measure, known: dict[bytes, float]) -> float:
    """Time of one node alone with so many channels along its axes; equal layers are measured once."""
    proto = _alone(found, graph, node, sizes)
    key = proto.SerializeToString(deterministic=True)
    if key not in known:
        known[key] = whole_ms(proto, measure)
    return known[key]


def _alone(found: ChannelGroups, graph: Graph, node: Node, sizes: tuple[int, ...]) -> onnx.ModelProto:
    """A graph of one node whose axes with channels have other sizes; its weights are ones, its names those of no graph."""
    import onnx

    term = next(term for term in found.macs if term.name == (node.name or node.outputs[0]))
    by_axis = dict(zip(dict.fromkeys(term.axes), sizes, strict=True))
    helper, inputs, constants = onnx.helper, [], []
    for place, name in enumerate(node.inputs):
        shape = [
            by_axis.get(found.unit_of(name, axis), size) if labels is not None else size
            for axis, (size, labels) in enumerate(zip(graph.shape(name) or (), found.labels(name), strict=True))
        ]
        fixed = [size if isinstance(size, int) else 1 for size in shape]
        if graph.is_constant(name):
            constants.append(onnx.numpy_helper.from_array(np.ones(fixed, np.float32), f"i{place}"))
        elif name:
            inputs.append(helper.make_tensor_value_info(f"i{place}", onnx.TensorProto.FLOAT, fixed))
    made = Node(node.proto())
    made.inputs = [f"i{place}" if name else "" for place, name in enumerate(node.inputs)]
    made.outputs, made.name = ["o"], "layer"
    if int(node.get("group", 1)) > 1:
        channels_in = next(one for one in inputs if one.name == "i0").type.tensor_type.shape.dim[1].dim_value
        each = next(tensor for tensor in constants if tensor.name == "i1").dims[1]
        made.attributes["group"] = helper.make_attribute("group", max(1, channels_in // each))
    output = helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, None)
    body = helper.make_graph([made.proto()], "layer", inputs, [output], constants)
    return infer_shapes(helper.make_model(body, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]))

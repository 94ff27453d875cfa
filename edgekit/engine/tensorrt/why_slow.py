"""Why an int8 engine is no faster than a float16 one: which layers stayed float, which only store numbers anew, which did not
fuse, and the edge of the graph whose Q/DQ is to blame.

An int8 convolution saves its time only where both of its sides are int8 and what reads it is, too. Everything here follows
from three things: the layers as TensorRT tells them, their times, and the Q/DQ of the graph they were made from.

Sources: "Working with Quantized Types" in NVIDIA's TensorRT developer guide; NVIDIA/TensorRT issues 993, 1992, 2204, 3197,
3492, 4366, where users met each of these.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from edgekit.engine.tensorrt.layers import Layer
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
_FUSED_BEHIND = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "Add"})
_INT8_CHANNELS = 4
"""Int8 kernels read channels four at a time; a first convolution of three channels has none that are faster than float16."""


class Finding(msgspec.Struct, frozen=True):
    """A layer that costs what it need not.

    Attributes:
        layer: its name.
        ms: mean time of a query; None if it was not profiled.
        what: what it does.
        edge: the tensor or node of the graph to blame; "" if none is.
        remedy: what can be done.
    """

    layer: str
    ms: float | None
    what: str
    edge: str
    remedy: str

    def line(self) -> str:
        """All of it in one line."""
        cost = "" if self.ms is None else f" ({self.ms:.3f} ms)"
        return f"{self.layer}{cost}: {self.what}{f'; to blame: {self.edge}' if self.edge else ''}; {self.remedy}"


class Explanation(msgspec.Struct, frozen=True):
    """Where an engine's time goes.

    Attributes:
        ms: mean time of a query by what is done: ``int8``, ``float16``, ``float32``, …, ``reformat``.
        findings: what costs what it need not, the costliest first.
        slower: nodes that take longer than in the other engine, with both times; empty if there is none to compare.
    """

    ms: dict[str, float]
    findings: tuple[Finding, ...]
    slower: dict[str, tuple[float, float]] = {}

    def sentence(self) -> str:
        """Shares of the time in one line."""
        whole = sum(self.ms.values())
        if not whole:
            return f"{len(self.findings)} layers cost what they need not; nothing was timed: python3 build_engine.py --run-only"
        parts = sorted(self.ms.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{ms / whole:.0%} {name}" for name, ms in parts)
        return f"{whole:.3f} ms a query: {shares}; {len(self.findings)} layers cost what they need not"


def explain(layers: tuple[Layer, ...], graph: Graph, other: tuple[Layer, ...] = ()) -> Explanation:
    """Look for what keeps an int8 engine from being fast.

    Args:
        layers: of the int8 engine.
        graph: that it was made from, with its Q/DQ.
        other: layers of the float16 engine of the same model, if there is one.
    """
    by_name = {node.name: node for node in graph.walk()}
    is_quantized = any(node.op in _QDQ for node in by_name.values())
    spent: dict[str, float] = defaultdict(float)
    findings = []
    for layer in layers:
        spent["reformat" if layer.is_reformat else layer.kind] += layer.ms or 0.0
        nodes = [by_name[name] for name in layer.nodes if name in by_name]
        if layer.is_reformat:
            found = _reformat(layer, graph)
        else:
            found = (_in_float(layer, nodes, graph) if is_quantized else None) or _alone(layer, nodes, graph)
        if found is not None:
            findings.append(found)
    findings.sort(key=lambda finding: -(finding.ms or 0.0))
    return Explanation(ms={name: ms for name, ms in spent.items() if ms}, findings=tuple(findings), slower=_slower(layers, other, by_name))


def _in_float(layer: Layer, nodes: list[Node], graph: Graph) -> Finding | None:
    """A product that is not computed in int8."""
    product = next((node for node in nodes if node.op in _PRODUCTS), None)
    if product is None or layer.kind in ("int8", "float8", "other"):
        return None
    edge, remedy = blame(product, graph)
    return Finding(layer=layer.name, ms=layer.ms, what=f"{product.name} ({product.op}) is computed in {layer.kind}", edge=edge, remedy=remedy)


def blame(product: Node, graph: Graph) -> tuple[str, str]:
    """The edge that keeps a product from being int8, and what to do about it."""
    for place, what in ((0, "what it reads is float"), (1, "its weights are float")):
        name = product.input(place)
        if name and graph.maker(name, "DequantizeLinear") is None:
            maker = graph.maker(name)
            made_by = f", made by {maker.name} ({maker.op})," if maker is not None else ""
            return f"{name}{made_by} has no Q/DQ: {what}", "quantize it: static_wi8_ai8 does, unless the node was kept in float"
    shape = graph.shape(product.input(0))
    channels = shape[1] if product.op == "Conv" and shape and len(shape) > 1 else None
    if isinstance(channels, int) and channels < _INT8_CHANNELS:
        return "", f"its {channels} input channels are too few for int8 kernels: this is as it should be"
    made, readers = _fused_end(product, graph)
    if readers and not any(reader.op == "QuantizeLinear" for reader in readers):
        first = readers[0]
        return f"{made}, read by {first.name} ({first.op}), has no Q behind it", "quantize what it makes too, so that it stays int8"
    return "", "both of its sides are int8 in the graph: TensorRT found a float kernel faster; keep it in float, and save the Q/DQ around it"


def _fused_end(product: Node, graph: Graph) -> tuple[str, list[Node]]:
    """What a product makes once the activation and the Add behind it are fused into it, and who reads that."""
    made = product.outputs[0]
    while (reader := graph.users(made)) and len(reader) == 1 and reader[0].op in _FUSED_BEHIND:
        made = reader[0].outputs[0]
    return made, graph.users(made)


def _reformat(layer: Layer, graph: Graph) -> Finding | None:
    if not layer.inputs or not layer.outputs:
        return None
    before, after = layer.inputs[0], layer.outputs[0]
    if before.kind == after.kind:
        what = f"numbers are stored anew, {before.form} as {after.form}"
        remedy = "int8 wants channels in multiples of 32, float16 of 8; an input may be handed over in that form"
        return Finding(layer=layer.name, ms=layer.ms, what=what, edge=before.name, remedy=remedy)
    users = graph.users(before.name)
    qdq = next((node for node in users if node.op in _QDQ), None)
    edge = f"{before.name}, at {qdq.name} ({qdq.op})" if qdq is not None else before.name
    what = f"numbers go from {before.kind} to {after.kind}"
    return Finding(layer=layer.name, ms=layer.ms, what=what, edge=edge, remedy="keep the layers on both sides in one format")


def _alone(layer: Layer, nodes: list[Node], graph: Graph) -> Finding | None:
    """Q/DQ that became a layer of its own, and a residual Add that did not go into the convolution before it."""
    if nodes and all(node.op in _QDQ for node in nodes):
        node = nodes[0]
        maker = graph.maker(node.inputs[0])
        edge = f"{node.inputs[0]}{f', made by {maker.name} ({maker.op})' if maker is not None else ''}"
        remedy = "quantize what stands before and behind it, or neither"
        return Finding(layer=layer.name, ms=layer.ms, what=f"{node.name} ({node.op}) is a layer of its own", edge=edge, remedy=remedy)
    add = next((node for node in nodes if node.op == "Add"), None)
    if add is None or layer.kind == "other" or any(node.op in _PRODUCTS for node in nodes):
        return None
    makers = [graph.maker(name) for name in add.inputs]
    if not any(maker is not None and maker.op in _PRODUCTS for maker in makers):
        return None
    skip = next((name for name, maker in zip(add.inputs, makers, strict=True) if maker is None or maker.op not in _PRODUCTS), add.inputs[0])
    is_stored = graph.maker(skip, "DequantizeLinear") is not None
    edge = skip if is_stored else f"{skip}, the skip branch, has no Q/DQ"
    remedy = (
        "its other branch must have no Q/DQ, and no second reader" if is_stored else 'put Q/DQ on the skip branch: residual = "skip" in the scheme'
    )
    return Finding(layer=layer.name, ms=layer.ms, what=f"{add.name} (Add) did not go into the convolution before it", edge=edge, remedy=remedy)


def _slower(layers: tuple[Layer, ...], other: tuple[Layer, ...], by_name: dict[str, Node]) -> dict[str, tuple[float, float]]:
    """Products by the time of the layer that holds them, in both engines, where it got longer."""
    here, there = (_by_product(each, by_name) for each in (layers, other))
    both = {name: (here[name], there[name]) for name in here if name in there and here[name] > there[name]}
    return dict(sorted(both.items(), key=lambda item: item[1][1] - item[1][0]))


def _by_product(layers: tuple[Layer, ...], by_name: dict[str, Node]) -> dict[str, float]:
    found = {}
    for layer in layers:
        for name in layer.nodes:
            if name in by_name and by_name[name].op in _PRODUCTS and layer.ms is not None:
                found[name] = layer.ms
    return found

"""Pad with zeros before a Conv becomes the Conv's own padding."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.padding import own_pads, spatial_pads


@dataclass(frozen=True, slots=True)
class Found:
    """The padding, the Conv, and what the Conv is to pad."""

    pad: Node
    conv: Node
    pads: list[int]


def match(graph: Graph, node: Node) -> Found | None:
    """Zeros, on spatial axes only, nothing cut off; the Conv must not work out its padding by itself."""
    conv = graph.next(node, "Conv")
    spatial = spatial_pads(graph, node, value=0.0)
    own = own_pads(graph, conv) if conv else None
    if conv is None or conv.inputs[0] != node.outputs[0] or spatial is None or own is None:
        return None
    return Found(node, conv, [a + b for a, b in zip(spatial, own, strict=True)])


def rewrite(graph: Graph, found: Found) -> None:
    """The Conv reads what Pad read."""
    graph.set_attributes(found.conv, auto_pad=None, pads=found.pads)
    graph.bypass(found.pad, found.pad.inputs[0])


RULE = Rule("pad-conv", ("Pad",), match, rewrite)

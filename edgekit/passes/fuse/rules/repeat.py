"""Unsqueeze, Tile and Reshape that repeat each row or column of a picture, as tf2onnx writes UpSampling2D, become Resize."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.rules.reshapes import PLAIN


@dataclass(frozen=True, slots=True)
class Found:
    """The Tile, the picture's sizes, and how often each axis of it is repeated."""

    tile: Node
    sizes: tuple[int, ...]
    scales: tuple[float, ...]


def match(graph: Graph, node: Node) -> Found | None:
    """A picture with an axis of size 1 put in behind the one that is repeated; reshaped before and after."""
    shape, repeats = graph.static_shape(node.inputs[0]), graph.constant(node.inputs[1])
    reshaped = graph.maker(node.inputs[0], *PLAIN) and graph.next(node, *PLAIN)
    if shape is None or len(shape) != 5 or repeats is None or not reshaped:
        return None
    repeated = [axis for axis, count in enumerate(repeats) if count != 1]
    if len(repeated) != 1 or repeated[0] == 0 or shape[repeated[0]] != 1:
        return None
    axis = repeated[0]
    sizes = shape[:axis] + shape[axis + 1 :]
    return Found(node, sizes, tuple(float(repeats[axis]) if place == axis - 1 else 1.0 for place in range(4)))


def rewrite(graph: Graph, found: Found) -> None:
    """Resize between two Reshapes, which the rule reshapes takes into those that are there."""
    tile, output = found.tile, found.tile.outputs[0]
    picture, resized = graph.unused_name(f"{output}_picture"), graph.unused_name(f"{output}_resized")
    kind, shape = graph.elem_type(tile.inputs[0]), graph.static_shape(output) or ()
    into = graph.add_constant(np.array(found.sizes, np.int64), f"{picture}_shape")
    scales = graph.add_constant(np.array(found.scales, np.float32), f"{resized}_scales")
    back = graph.add_constant(np.array(shape, np.int64), f"{output}_shape")
    graph.add("Reshape", [tile.inputs[0], into], picture, before=tile)
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    graph.add("Resize", [picture, "", scales], resized, before=tile, **nearest)
    graph.set_type(picture, kind, found.sizes)
    graph.set_type(resized, kind, tuple(size * int(scale) for size, scale in zip(found.sizes, found.scales, strict=True)))
    graph.replace([tile], "Reshape", [resized, back], output)


RULE = Rule("repeat", ("Tile",), match, rewrite)

"""Mul and Add by constants after LayerNormalization become its scale and shift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.linear import Affine, arithmetic


@dataclass(frozen=True, slots=True)
class Found:
    """The normalization, the arithmetic after it, and what that does."""

    norm: Node
    arithmetic: Node
    affine: Affine


def match(graph: Graph, node: Node) -> Found | None:
    """Normalization over the last axis, constants that differ along it only, nobody else who sees what is between."""
    for source in node.inputs:
        norm, rank = graph.maker(source, "LayerNormalization"), graph.rank(source)
        if norm is None or rank is None or not graph.alone(source) or len(norm.outputs) > 1 or norm.get("axis", -1) not in (-1, rank - 1):
            continue
        constants = [graph.constant(name) for name in norm.inputs[1:] if name]
        affine = arithmetic(graph, node, source, rank - 1)
        if affine is not None and all(array is not None and array.dtype.kind == "f" for array in constants):
            return Found(norm, node, affine)
    return None


def rewrite(graph: Graph, found: Found) -> None:
    """The normalization makes what the arithmetic made."""
    scale = graph.constant(found.norm.inputs[1])
    assert scale is not None, "matched as a constant"
    old = graph.constant(found.norm.input(2)) if found.norm.input(2) else None
    shift = np.zeros(scale.shape) if old is None else old.astype(np.float64)
    shift = shift * found.affine.scale + found.affine.shift
    if shift.any() or old is not None:
        graph.set_constant_input(found.norm, 2, shift.astype(scale.dtype), like=f"{found.norm.outputs[0]}_shift")
    graph.set_constant_input(found.norm, 1, (scale.astype(np.float64) * found.affine.scale).astype(scale.dtype))
    graph.take_output(found.norm, found.arithmetic)


RULE = Rule("layer-norm-affine", ("Mul", "Div", "Add", "Sub"), match, rewrite)

"""Smaller layers take the place of one in a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.weighted import Window
from edgekit.passes.compress.factorize.forms import Stage
from edgekit.passes.compress.factorize.layers import Layer

F64 = NDArray[np.float64]


def take_apart(graph: Graph, layer: Layer, stages: Sequence[Stage], kernels: Sequence[F64]) -> Node:
    """Put stages into the place of a layer's node.

    Args:
        graph: that is rewritten.
        layer: of the graph.
        stages: at least two.
        kernels: of each, shape (outputs, inputs of a group, height, width).

    Returns:
        The last node, which adds the bias as the old one did.
    """
    one = layer.node
    node = next(node for node in graph.walk(one.op) if node.name == one.node)
    source, output = node.inputs[0], node.outputs[0]
    for at, (stage, kernel) in enumerate(zip(stages, kernels, strict=True), start=1):
        is_last = at == len(stages)
        weight = graph.add_constant(_stored(one.op, kernel), f"{one.weight}/{at}")
        made = output if is_last else graph.unused_name(f"{output}/{at}")
        inputs = [source, weight, *(node.inputs[2:] if is_last else [])]
        if is_last:
            return graph.replace([node], one.op, inputs, made, **_attributes(one.op, stage, one.window, node, is_last=True))
        graph.add(one.op, inputs, made, before=node, **_attributes(one.op, stage, one.window, node, is_last=False))
        source = made
    raise ValueError("a layer is taken apart into at least two")


def _stored(op: str, kernel: F64) -> NDArray[np.float32]:
    if op in ("Gemm", "MatMul"):
        matrix = kernel[:, :, 0, 0]
        return np.ascontiguousarray(matrix if op == "Gemm" else matrix.T, np.float32)
    return np.ascontiguousarray(kernel, np.float32)


def _attributes(op: str, stage: Stage, window: Window | None, node: Node, *, is_last: bool) -> dict[str, object]:
    if op == "Gemm":
        return {"transB": 1, "beta": float(node.get("beta", 1.0))} if is_last else {"transB": 1}
    if window is None:
        return {}
    takes = (stage.down, stage.across)

    def of(numbers: Sequence[int], otherwise: int) -> list[int]:
        return [number if taken else otherwise for number, taken in zip(numbers, takes, strict=True)]

    return {
        "kernel_shape": of(window.kernel, 1),
        "strides": of(window.strides, 1),
        "dilations": of(window.dilations, 1),
        "pads": [*of(window.begins, 0), *of(window.ends, 0)],
        "group": stage.groups,
    }

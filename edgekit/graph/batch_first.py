"""Recurrent layers whose batch comes first (``layout=1``), which ONNX Runtime has no kernels for, between Transposes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_STATES = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}
"""Places of the inputs that hold a first state, by operator."""
_SWAPPED = (1, 0, 2)
_OF_SEQUENCE = (2, 0, 1, 3)


def has_batch_first(graph: onnx.GraphProto) -> bool:
    """Whether a recurrent layer of a graph has its batch first."""
    return any(_is_batch_first(node) for node in graph.node)


def _is_batch_first(node: onnx.NodeProto) -> bool:
    return node.op_type in _STATES and node.domain in ("", "ai.onnx") and any(one.name == "layout" and one.i == 1 for one in node.attribute)


def to_sequence_first(graph: onnx.GraphProto) -> None:
    """Put every such layer between Transposes, in place.

    The sequence is (batch, steps, features) outside and (steps, batch, features) inside, a state (batch, directions,
    hidden) outside and (directions, batch, hidden) inside; the sequence of outputs, (batch, steps, directions, hidden)
    outside, is (steps, directions, batch, hidden) inside.
    """
    import onnx

    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if not _is_batch_first(node):
            nodes.append(node)
            continue
        for place in (0, *_STATES[node.op_type]):
            if place < len(node.input) and node.input[place]:
                inner = f"{node.output[0] or node.output[1]}_input_{place}"
                nodes.append(onnx.helper.make_node("Transpose", [node.input[place]], [inner], name=inner, perm=_SWAPPED))
                node.input[place] = inner
        after = []
        for place, name in enumerate(node.output):
            if name:
                perm = _OF_SEQUENCE if place == 0 else _SWAPPED
                node.output[place] = f"{name}_sequence_first"
                after.append(onnx.helper.make_node("Transpose", [node.output[place]], [name], name=name, perm=perm))
        kept = [one for one in node.attribute if one.name != "layout"]
        del node.attribute[:]
        node.attribute.extend(kept)
        nodes += [node, *after]
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(made)

"""A graph of the opset edgekit keeps models in becomes one of the older opset that a TensorRT release reads.

Most operators that changed since only took more element types: what a node says is then good in the older opset as it
stands, if it uses no attribute or input that came later. The few that are written otherwise have a rule here. onnx's
own version_converter was left aside: it refuses a whole model at the first node it has no adapter for, without naming it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node

if TYPE_CHECKING:
    import onnx

_CHANGED_MEANING = {"GroupNormalization": 21}
"""Opset in which an operator began to mean something else: scale and bias a channel instead of a group."""


def lower(graph: Graph, opset: int) -> dict[Node, str]:
    """Rewrite every node to ``opset``.

    Args:
        graph: of a newer opset; changed in place.
        opset: to be reached.

    Returns:
        Nodes that cannot be said in ``opset``, each with the reason.
    """
    faults: dict[Node, str] = {}
    for node in graph.walk():
        if node.domain in ("", "ai.onnx") and (fault := _lower_node(graph, node, opset)):
            faults[node] = fault
    return faults


def set_opset(proto: onnx.ModelProto, opset: int) -> None:
    """Declare a model whose nodes are all of ``opset`` to be so."""
    import onnx

    del proto.opset_import[:]
    proto.opset_import.append(onnx.helper.make_opsetid("", opset))
    proto.ir_version = min(proto.ir_version, onnx.helper.find_min_ir_version_for(proto.opset_import))


def _lower_node(graph: Graph, node: Node, opset: int) -> str:
    """Rewrite one node; why that cannot be done, if so."""
    old, new = _schema(node.op, opset), _schema(node.op, 21)
    if old is None:
        since = "" if new is None else f", which came with opset {new.since_version}"
        return f"opset {opset} has no {node.op}{since}"
    if new is None or new.since_version == old.since_version:
        return ""
    if opset < _CHANGED_MEANING.get(node.op, 0):
        return f"{node.op} meant something else before opset {_CHANGED_MEANING[node.op]}"
    return _REWRITES.get(node.op, _as_it_stands)(graph, node, old) or _drop_newer(graph, node, old, new, opset)


def _drop_newer(graph: Graph, node: Node, old: Any, new: Any, opset: int) -> str:
    """Take away what says nothing and the older opset does not know; why that cannot be done, if so."""
    for name in [name for name in node.attributes if name not in old.attributes]:
        if not _says_nothing(new, node, name):
            return f"opset {opset} has no attribute {name} of {node.op}"
        graph.set_attributes(node, **{name: None})
    if any(node.inputs[old.max_input :]):
        return f"{node.op} has {len(node.inputs)} inputs, in opset {opset} at most {old.max_input}"
    del node.inputs[old.max_input :]
    return ""


def _schema(op: str, opset: int) -> Any:
    """What onnx says of an operator in an opset; None if it is not in it."""
    import onnx

    try:
        return onnx.defs.get_schema(op, max_inclusive_version=opset, domain="")
    except onnx.defs.SchemaError:
        return None


def _says_nothing(schema: Any, node: Node, name: str) -> bool:
    """Whether an attribute has the value that leaving it out means."""
    import onnx

    value = node.get(name)
    if name == "dilations":
        return all(one == 1 for one in value)
    default = schema.attributes[name].default_value
    if default.type == onnx.AttributeProto.UNDEFINED:
        return False
    held = onnx.helper.get_attribute_value(default)
    return bool(value == (held.decode() if isinstance(held, bytes) else held))


def _as_it_stands(graph: Graph, node: Node, old: Any) -> str:
    return ""


def _reduce(graph: Graph, node: Node, old: Any) -> str:
    """Before opset 18 the axes are an attribute."""
    if "axes" not in old.attributes:
        return ""
    keeps_all = bool(node.get("noop_with_empty_axes", 0))
    axes = graph.constant(node.input(1)) if node.input(1) else np.zeros(0, np.int64)
    if axes is None:
        return "its axes are computed"
    if keeps_all and not axes.size:
        return "it reduces nothing (noop_with_empty_axes)"
    graph.set_input(node, 1, "")
    graph.set_attributes(node, noop_with_empty_axes=None, axes=[int(axis) for axis in axes] or None)
    return ""


def _split(graph: Graph, node: Node, old: Any) -> str:
    """Before opset 18 a split into so many parts has to say their sizes."""
    parts = node.get("num_outputs")
    if parts is None or "num_outputs" in old.attributes:
        return ""
    shape = graph.shape(node.inputs[0])
    size = None if shape is None else shape[node.get("axis", 0)]
    if not isinstance(size, int):
        return "the size of what it splits is not known"
    whole = -(-size // parts)
    sizes = np.array([whole] * (parts - 1) + [size - whole * (parts - 1)], np.int64)
    graph.set_input(node, 1, graph.add_constant(sizes, f"{node.name}_sizes"))
    graph.set_attributes(node, num_outputs=None)
    return ""


def _grid_sample(graph: Graph, node: Node, old: Any) -> str:
    """Opset 20 renamed the modes of interpolation."""
    if old.since_version < 20:
        mode = node.get("mode", "linear")
        graph.set_attributes(node, mode={"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode))
    return ""


def _pad(graph: Graph, node: Node, old: Any) -> str:
    """Before opset 18 the pads cover all axes; ``wrap`` came with opset 19."""
    if old.since_version < 19 and node.get("mode", "constant") == "wrap":
        return "the mode wrap came with opset 19"
    if old.since_version >= 18 or not node.input(3):
        return ""
    pads, axes, rank = graph.constant(node.input(1)), graph.constant(node.input(3)), graph.rank(node.inputs[0])
    if pads is None or axes is None or rank is None:
        return "its pads or axes are computed"
    full = np.zeros((2, rank), np.int64)
    full[:, [int(axis) % rank for axis in axes]] = pads.reshape(2, -1)
    graph.set_input(node, 1, graph.add_constant(full.reshape(-1), f"{node.name}_pads"))
    graph.set_input(node, 3, "")
    return ""


_Rewrite = Callable[[Graph, Node, Any], str]
_REWRITES: dict[str, _Rewrite] = {
    "Split": _split,
    "GridSample": _grid_sample,
    "Pad": _pad,
    **{f"Reduce{kind}": _reduce for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")},
}

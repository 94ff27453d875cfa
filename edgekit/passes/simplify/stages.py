"""The stages of simplifying: store form, edgekit's own rules, onnx-simplifier, the rules again, shapes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edgekit.graph.edit import Graph
from edgekit.graph.opset import to_store_form
from edgekit.graph.rules import apply_rules
from edgekit.graph.shapes import infer_shapes
from edgekit.passes.simplify.onnxsim_process import run_onnxsim
from edgekit.passes.simplify.rules import RULES

if TYPE_CHECKING:
    import onnx


def simplify(proto: onnx.ModelProto, *, use_onnxsim: bool = True) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Simplify a graph.

    Returns:
        A new model, shapes inferred, and what was done: nodes before and after, in all and by operator, and how often
        each rule of edgekit fired.
    """
    simplified, fired = tidy(to_store_form(proto))
    if use_onnxsim:
        simplified, again = tidy(run_onnxsim(simplified))
        fired += again
    did = {
        "nodes_before": len(proto.graph.node),
        "nodes_after": len(simplified.graph.node),
        "ops_before": _ops(proto),
        "ops_after": _ops(simplified),
        "opset_before": next((entry.version for entry in proto.opset_import if not entry.domain), 0),
        "rules": dict(sorted(fired.items())),
    }
    return simplified, did


def tidy(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, Counter[str]]:
    """Apply edgekit's own rules until shapes inferred anew tell them nothing more.

    Returns:
        A new model with shapes inferred, and how often each rule fired.
    """
    fired: Counter[str] = Counter()
    proto = infer_shapes(proto)
    while True:
        graph = Graph(proto)
        now = apply_rules(graph, RULES)
        proto = infer_shapes(graph.finish())
        fired.update(now)
        if not now:
            return proto, fired


def _ops(proto: onnx.ModelProto) -> dict[str, int]:
    return dict(sorted(Counter(node.op_type for node in proto.graph.node).items()))

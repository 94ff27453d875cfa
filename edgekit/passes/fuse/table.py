"""All rules of fusing in the order they are tried, and how they are applied."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edgekit import strict
from edgekit.errors import UsageError
from edgekit.graph.edit import Graph
from edgekit.graph.rules import Rule, apply_rules
from edgekit.graph.shapes import infer_shapes
from edgekit.passes.fuse.rules import (
    batchnorm_after,
    batchnorm_alone,
    batchnorm_before,
    clamp,
    gelu,
    hard_sigmoid,
    hard_swish,
    layer_norm,
    layer_norm_affine,
    matmul,
    pad_conv,
    pad_pool,
    prelu,
    reduce_mean,
    repeat,
    reshape_transpose,
    reshapes,
    resizes,
    scale_shift_after,
    scale_shift_before,
    squeezes,
    transpose_reduce,
    transpose_region,
    transposes,
    turned,
)

if TYPE_CHECKING:
    import onnx

RULES: tuple[Rule[Any], ...] = (
    turned.RULE,
    transposes.RULE,
    transpose_reduce.RULE,
    transpose_region.RULE,
    reshapes.RULE,
    squeezes.RULE,
    reshape_transpose.RULE,
    repeat.RULE,
    resizes.RULE,
    prelu.RULE,
    clamp.RULE,
    gelu.RULE,
    hard_swish.RULE,
    hard_sigmoid.RULE,
    layer_norm.RULE,
    layer_norm_affine.RULE,
    matmul.RULE,
    batchnorm_after.RULE,
    scale_shift_after.RULE,
    batchnorm_before.RULE,
    scale_shift_before.RULE,
    pad_conv.RULE,
    pad_pool.RULE,
    reduce_mean.RULE,
)
"""Tried again and again until none of them matches."""

LAST_RULES: tuple[Rule[Any], ...] = (batchnorm_alone.RULE,)
"""What to do with what the others left."""


def fuse(proto: onnx.ModelProto, *, without: tuple[str, ...] = ()) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Fuse a simplified graph.

    Args:
        proto: the model; it is left alone.
        without: names of rules to leave out.

    Returns:
        A new model, shapes inferred, and what was done: nodes before and after, in all and by operator, and how often
        each rule fired.

    Raises:
        UsageError: there is no rule of that name.
    """
    names = [rule.name for rule in (*RULES, *LAST_RULES)]
    for name in without:
        if name not in names:
            raise UsageError(f"fuse.without: {name}: no such rule{strict.nearest(name, names)}", hint=f"rules are {', '.join(names)}")
    graph = Graph(infer_shapes(proto))
    fired = Counter(apply_rules(graph, [rule for rule in RULES if rule.name not in without]))
    fired += Counter(apply_rules(graph, [rule for rule in LAST_RULES if rule.name not in without]))
    fused = infer_shapes(graph.finish())
    did = {
        "nodes_before": len(proto.graph.node),
        "nodes_after": len(fused.graph.node),
        "ops_before": _ops(proto),
        "ops_after": _ops(fused),
        "rules": dict(sorted(fired.items())),
    }
    return fused, did


def _ops(proto: onnx.ModelProto) -> dict[str, int]:
    return dict(sorted(Counter(node.op_type for node in proto.graph.node).items()))

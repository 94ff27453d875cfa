"""Weight-only: weights as integers of 8, 4 or 2 bits, all arithmetic in float."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edgekit.graph.edit import Graph
from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.passes.named import named
from edgekit.passes.quantize.reasons import BY_USER
from edgekit.passes.quantize.stored import Form, Storing
from edgekit.target import Scheme

if TYPE_CHECKING:
    import onnx


def quantize_weights_alone(
    proto: onnx.ModelProto, scheme: Scheme, *, bits: int, block: int, symmetric: bool, keep_float: tuple[str, ...] = ()
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A graph whose products read their weights from integers.

    Args:
        proto: the float graph, all types inferred.
        scheme: which weights the runtime reads so.
        bits: of each weight: 8, 4 or 2; 8 where the runtime takes an operator's weights in no fewer.
        block: inputs that share a scale; 0 if all of a channel do, and where the runtime knows no blocks.
        symmetric: without a zero point.
        keep_float: nodes whose weights stay float: names, patterns or operators.

    Returns:
        The new graph, and what was done: ``eight_bits`` and ``left_float`` have every product that differs from what was
        asked for, with the reason.

    Raises:
        UsageError: ``keep_float`` names what is not there.
    """
    view, graph = View(proto), Graph(proto)
    weighted = weighted_nodes(view)
    kept = {*named(view, keep_float, "quantize: keep_float")}
    storing = Storing(graph, view)
    per_tensor = scheme.weights == "int8 symmetric per-tensor"
    left_float: dict[str, str] = {}
    eight_bits: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for node in graph.walk(*sorted(PRODUCTS)):
        one = weighted.get(node.name)
        if node.name in kept:
            left_float[node.name] = BY_USER
            continue
        if one is None or node.op not in scheme.weight_only_ops:
            computed = "its weights are computed, or of a form that is not understood"
            left_float[node.name] = computed if one is None else f"this runtime reads no integer weights for a {node.op} in float"
            continue
        its_bits = bits if node.op in scheme.low_bit_ops else 8
        if its_bits != bits:
            eight_bits[node.name] = f"this runtime reads weights of {node.op} in no fewer than 8 bits"
        its_block = block if node.op in scheme.blocked_ops and not per_tensor else 0
        storing.store(node, one, Form(bits=its_bits, block=its_block, symmetric=symmetric, per_tensor=per_tensor))
        taken[f"int{its_bits}"] += 1
    return graph.finish(), {"weights": dict(sorted(taken.items())), "eight_bits": eight_bits, "left_float": left_float}

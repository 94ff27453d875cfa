"""The rules of simplifying, in the order they are tried."""

from __future__ import annotations

from typing import Any

from edgekit.graph.rules import Rule
from edgekit.passes.simplify.rules import (
    auto_pad,
    cast_like,
    constant,
    dequantize_moved,
    fold,
    nothing,
    quantize_constant,
    recurrent,
    reverse,
    safe_softmax,
    shape,
)

RULES: tuple[Rule[Any], ...] = (
    constant.RULE,
    cast_like.RULE,
    shape.RULE,
    fold.RULE,
    quantize_constant.RULE,
    dequantize_moved.RULE,
    reverse.RULE,
    recurrent.RULE,
    safe_softmax.RULE,
    nothing.RULE,
    auto_pad.RULE,
)

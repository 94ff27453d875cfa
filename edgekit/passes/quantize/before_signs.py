"""What decides a sign stays float: rounding is small beside a number, but not beside its distance from 0."""

from __future__ import annotations

from edgekit.graph.view import View
from edgekit.passes.quantize.reasons import DECIDES_SIGN
from edgekit.target import Scheme

_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})


def before_signs(view: View, scheme: Scheme) -> dict[str, str]:
    """Nodes that shift or scale by constants what a Sign reads, each with the reason to keep it in float.

    A Sign of ``x - 0.01`` in integers of a step of 0.1 is 0 where x is 0. Measured: a small classifier of Fashion-MNIST whose
    products read such signs had 80 % of the test pictures right, and in int8 with rounded differences 10 %.
    """
    found: dict[str, str] = {}
    for node in view.nodes:
        tensor = node.input[0] if node.op_type == "Sign" and "Sign" not in scheme.integer_ops else ""
        while (maker := view.maker(tensor)) is not None and maker.op_type in _AFFINE:
            moving = [name for name in maker.input if name not in view.constants]
            if len(moving) != 1:
                break
            found[maker.name] = DECIDES_SIGN
            tensor = moving[0]
    return found

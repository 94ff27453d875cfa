"""Where training looks at a graph: its outputs, and of probabilities the logits they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit.graph.view import View, attributes

if TYPE_CHECKING:
    import onnx

Kind = Literal["classes", "values"]

_SAME_NUMBERS = frozenset({"Identity", "Dropout", "QuantizeLinear", "DequantizeLinear"})
_PROBABILITIES = frozenset({"Softmax", "LogSoftmax"})


@dataclass(frozen=True, slots=True)
class Head:
    """One output.

    Attributes:
        output: its name.
        tensor: the tensor that training compares: logits, where the output is made of them by a Softmax.
        kind: ``classes``: what a softmax over ``axis`` makes counts. ``values``: the numbers themselves do.
        axis: of the classes.
    """

    output: str
    tensor: str
    kind: Kind
    axis: int = -1


def heads(proto: onnx.ModelProto, *, first: Literal["auto", "classes", "values"] = "auto", has_labels: bool = False) -> tuple[Head, ...]:
    """The outputs of a graph, in order.

    Args:
        proto: in store form, shapes inferred.
        first: what the first output holds, if that is known.
        has_labels: whether labels count the first output's classes.
    """
    view = View(proto)
    return tuple(
        _head(view, value.name, first if place == 0 else "auto", counts=has_labels and place == 0) for place, value in enumerate(proto.graph.output)
    )


def _head(view: View, output: str, known: Literal["auto", "classes", "values"], *, counts: bool) -> Head:
    tensor = output
    while (node := view.maker(tensor)) is not None and node.op_type in _SAME_NUMBERS:
        tensor = node.input[0]
    if known == "values":
        return Head(output, output, "values")
    if node is not None and node.op_type in _PROBABILITIES:
        return Head(output, node.input[0], "classes", int(attributes(node).get("axis", -1)))
    if known == "classes" or counts:
        return Head(output, output, "classes", _wide_axis(view.shape(output)))
    return Head(output, output, "values")


def _wide_axis(shape: tuple[int | str, ...] | None) -> int:
    """The only axis behind the batch that is wider than 1; the last where that is not known."""
    wide = [axis for axis, size in enumerate(shape or ()) if axis and size != 1]
    return wide[0] - len(shape or ()) if len(wide) == 1 else -1

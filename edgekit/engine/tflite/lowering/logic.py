"""Comparisons, truth values, choices between two tensors, and changes of type."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Fault, Graph, Node
from edgekit.engine.tflite.lowering.arithmetic import operand

_MOST_BROADCAST = {"SELECT_V2": 5, "FLOOR_MOD": 4}
"""Axes that LiteRT's kernels broadcast over; four in comparisons and in logic."""


def check(op: str, node: Node, graph: Graph) -> Fault | None:
    """Why an operation on several tensors cannot be lowered."""
    most = _MOST_BROADCAST.get(op, 4)
    shapes = {graph.shape(name) for name in node.inputs}
    if not graph.computed(node):
        return Fault("all its inputs are constant", "run the pass simplify")
    if len(shapes) > 1 and len(graph.shape(node.outputs[0])) > most:
        return Fault(f"TFLite broadcasts over {most} axes in it", "reshape what it reads to fewer axes")
    return None


def _lower(op: str, node: Node, to: Emitter) -> None:
    order = to.order(node.outputs[0])
    to.add(op, [operand(node, to, index, order) for index in range(len(node.inputs))], [to.write(node, order)])


def lowering(op: str) -> Callable[[Node, Emitter], None]:
    """A lowering to this builtin operator of several inputs, which are broadcast."""
    return partial(_lower, op)


def checking(op: str) -> Callable[[Node, Graph], Fault | None]:
    """What is to be asked before :func:`lowering`."""
    return partial(check, op)


def lower_cast(node: Node, to: Emitter) -> None:
    """Lower a Cast."""
    order = to.order(node.outputs[0])
    cast(to, to.read(node, 0, order), to.write(node, order))


def cast(to: Emitter, source: int, result: int) -> None:
    """Convert a tensor to the type of another."""
    before, after = to.draft.dtype(source), to.draft.dtype(result)
    if before == after:
        to.reshape(source, result)
    else:
        to.add("CAST", [source], [result], inDataType=before.upper(), outDataType=after.upper())

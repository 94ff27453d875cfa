"""Rows whose number depends on the numbers that are read, such as the boxes that NonMaxSuppression selects.

TFLite's sizes are fixed where XNNPACK and kernels with a shape in a constant shall work. So such rows are computed at the
most there can be, beside a mask of those that are meant, through everything that takes each row by itself; where they leave
the engine, the mask cuts them. What comes out has as many rows as the source's, and nothing stands in for a missing one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from edgekit.engine.tflite.graph import Fault, Graph, Node, NotConstantError, Selected, Value

_CUT = "end the model before it and do this step outside, on the outputs"
_NAMES = """
    Abs Add And Cast Ceil Clip Cos DequantizeLinear Div Equal Exp Floor Greater GreaterOrEqual HardSigmoid Identity LeakyRelu
    Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pow QuantizeLinear Reciprocal Relu Round Sigmoid Sign Sin Sqrt Sub Tanh
    Where Xor
"""
_ELEMENTWISE = frozenset(_NAMES.split())


def close(graph: Graph) -> dict[Node, Fault]:
    """Give every such value the most rows it can have, in place, and say of which axis and mask they are.

    Returns:
        The nodes that would read across rows, with the reason.
    """
    faults: dict[Node, Fault] = {}
    for node in graph.nodes:
        if node.op == "NonMaxSuppression":
            _begin(node, graph)
            continue
        read = {graph.selected[name].mask for name in node.inputs if name in graph.selected}
        if not read:
            continue
        axis = _axis_after(node, graph) if len(read) == 1 else None
        if axis is None:
            faults[node] = Fault("how many rows it reads depends on the numbers, and it does not take each by itself", _CUT)
        for name in filter(None, node.outputs if axis is not None else ()):
            assert axis is not None
            _mark(graph, name, Selected(read.copy().pop(), axis))
    return faults


def most_of_each(node: Node, graph: Graph) -> int:
    """How many boxes of each class of each picture a NonMaxSuppression can select; 0 if it selects none.

    Raises:
        NotConstantError: that is computed.
    """
    most = graph.numbers(node, 2)
    return 0 if most is None else max(0, min(int(most.reshape(())), graph.shape(node.inputs[0])[1]))


def _begin(node: Node, graph: Graph) -> None:
    """The rows that a NonMaxSuppression selects; a second output is their mask."""
    try:
        each = most_of_each(node, graph)
    except NotConstantError:
        each = 0
    pictures, classes = graph.shape(node.inputs[1])[:2]
    name, mask = node.outputs[0], f"{node.outputs[0]}_selected"
    rows = pictures * classes * max(each, 1)  # one stands for none, which is refused
    graph.values[name] = Value((rows, 3), "int64")
    graph.values[mask] = Value((rows,), "bool")
    graph.selected[name] = Selected(mask, 0)
    node.outputs.append(mask)


def _mark(graph: Graph, name: str, selected: Selected) -> None:
    value = graph.values[name]
    assert value.shape is not None
    rows = graph.shape(selected.mask)[0]
    value.shape = (*value.shape[: selected.axis], rows, *value.shape[selected.axis + 1 :])
    graph.selected[name] = selected


def _axis_after(node: Node, graph: Graph) -> int | None:
    """The axis of a node's outputs along which the rows lie; ``None`` if it does not take each row by itself."""
    shape = graph.values[node.outputs[0]].shape
    if shape is None:
        return None
    rule = _elementwise if node.op in _ELEMENTWISE else _RULES.get(node.op)
    return None if rule is None else rule(node, graph, len(shape))


def _elementwise(node: Node, graph: Graph, rank: int) -> int | None:
    """The axis, counted from the end, is the same for all, and what has no such rows is repeated along it."""
    found = {rank - len(graph.shape(name)) + graph.selected[name].axis for name in node.inputs if name in graph.selected}
    axis = found.pop()
    others = [graph.shape(name) for name in node.inputs if name and name not in graph.selected]
    repeats = all(len(shape) < rank - axis or shape[axis - rank] == 1 for shape in others)
    return axis if not found and repeats else None


def _gather(node: Node, graph: Graph, rank: int) -> int | None:
    data, places = node.inputs
    axis = int(node.attrs.get("axis", 0)) % len(graph.shape(data))
    if data not in graph.selected:
        return axis + graph.selected[places].axis
    rows = graph.selected[data].axis
    if places in graph.selected or rows == axis:
        return None
    return rows if rows < axis else rows + len(graph.shape(places)) - 1


def _gather_nd(node: Node, graph: Graph, rank: int) -> int | None:
    data, places = node.inputs
    if data in graph.selected or node.attrs.get("batch_dims", 0):
        return None
    axis = graph.selected[places].axis
    return axis if axis < len(graph.shape(places)) - 1 else None


def _concat(node: Node, graph: Graph, rank: int) -> int | None:
    axes = {graph.selected[name].axis if name in graph.selected else None for name in node.inputs}
    return axes.pop() if len(axes) == 1 and int(node.attrs["axis"]) % rank not in axes else None


def _only(node: Node, graph: Graph) -> int | None:
    """The axis of the rows of the first input, where only that has some."""
    return graph.selected[node.inputs[0]].axis if [name in graph.selected for name in node.inputs].count(True) == 1 else None


def _slice(node: Node, graph: Graph, rank: int) -> int | None:
    rows = _only(node, graph)
    try:
        given = graph.numbers(node, 3)
        starts = graph.numbers(node, 1)
    except NotConstantError:
        return None
    assert starts is not None
    axes = range(starts.size) if given is None else [int(axis) % rank for axis in given]
    return None if rows in axes else rows


def _split(node: Node, graph: Graph, rank: int) -> int | None:
    rows = _only(node, graph)
    return None if int(node.attrs.get("axis", 0)) % rank == rows else rows


def _transpose(node: Node, graph: Graph, rank: int) -> int | None:
    by: Sequence[int] = node.attrs.get("perm") or range(rank)[::-1]
    rows = _only(node, graph)
    return None if rows is None else list(by).index(rows)


def _reshape(node: Node, graph: Graph, rank: int) -> int | None:
    """As many elements before the rows' axis, and behind it, as there were."""
    rows = _only(node, graph)
    shape = graph.values[node.outputs[0]].shape
    before = graph.shape(node.inputs[0])
    if rows is None or shape is None:
        return None
    parts = prod(before[:rows]), prod(before[rows + 1 :])
    for axis in range(rank):
        others = (shape[:axis], shape[axis + 1 :])
        sizes = [[size for size in sides if isinstance(size, int)] for sides in others]
        if all(len(found) == len(sides) for found, sides in zip(sizes, others, strict=True)) and tuple(map(prod, sizes)) == parts:
            return axis
    return None


_RULES: dict[str, Callable[[Node, Graph, int], int | None]] = {
    "Concat": _concat,
    "Gather": _gather,
    "GatherND": _gather_nd,
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshape),
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
}

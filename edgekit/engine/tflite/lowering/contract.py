"""What a row of the table of lowerings says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Fault, Graph, Node
from edgekit.engine.tflite.layout import Wish
from edgekit.engine.tflite.orders import Order

Question = Callable[[Node, Graph], bool]

FLOAT = frozenset({"float32"})
INT32 = FLOAT | {"int32"}
NUMBERS = INT32 | {"int64"}
TRUTHS = frozenset({"bool"})
ANY = NUMBERS | TRUTHS
"""Element types that LiteRT has kernels for, besides what is quantized."""


def never(node: Node, graph: Graph) -> bool:
    """No, whatever the node."""
    return False


def always(node: Node, graph: Graph) -> bool:
    """Yes, whatever the node."""
    return True


def all_quantized(node: Node, graph: Graph) -> bool:
    """Whether all that a node reads and writes is stored as integers, constants at one scale each."""
    names = [name for name in (*node.inputs, *node.outputs) if name]
    quants = [graph.quant(name) for name in names]
    return all(quant is not None and quant.is_per_tensor for quant in quants)


def flow_quantized(node: Node, graph: Graph) -> bool:
    """Whether what is computed before and by a node is stored as integers; constants may be anything."""
    names = [*graph.computed(node), *filter(None, node.outputs)]
    return all(graph.quant(name) is not None for name in names)


def integers_of(node: Node, graph: Graph) -> str:
    """The integers that a node makes, where it makes some: int8 or int16."""
    quant = graph.quant(node.outputs[0])
    return "int8" if quant is None else quant.dtype


def is_of_one_width(node: Node, graph: Graph) -> bool:
    """Whether all that is computed before and by a node is stored in one type."""
    quants = [graph.quant(name) for name in (*graph.computed(node), *filter(None, node.outputs))]
    return len({quant.dtype for quant in quants if quant is not None}) <= 1


def fine(node: Node, graph: Graph) -> Fault | None:
    """Nothing to find fault with."""
    return None


def elementwise(node: Node, graph: Graph) -> Wish:
    """Any order, the same for all; even that of flattened pictures."""
    return Wish("elementwise")


def same(node: Node, graph: Graph) -> Wish:
    """Any order, the same for all."""
    return Wish("same")


def channels_last(node: Node, graph: Graph) -> Wish:
    """First input and outputs with their channels last."""
    return Wish("channels last")


def plain(node: Node, graph: Graph) -> Wish:
    """As ONNX has it."""
    return Wish("plain")


def _unmoved(node: Node, graph: Graph, order: Order) -> Order | None:
    return order


def unmoved(node: Node, graph: Graph) -> Wish:
    """The output as the first input is."""
    return Wish("follows", _unmoved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """How one ONNX operation becomes TFLite operators.

    Attributes:
        lower: writes them.
        check: why it cannot be lowered; asked of float and of quantized graphs alike, before anything is written.
        wish: the order of axes it asks for.
        integer: whether this node is computed in integers; otherwise it is computed in float32.
        slow_integer: whether it has an integer kernel that takes longer than float32 and both conversions; taken only where
            the options ask for it.
        dynamic: whether what flows into this node may be rounded to 8 bits within it, while it reads and writes float32.
        activation: whether the lowering applies the node's ``activation``.
        moves: whether the node only moves values, so that input and output may share one scale.
        wide: whether a node that is computed in integers may be so in int16.
        types: element types of what it reads and writes, where that is not quantized.
    """

    lower: Callable[[Node, Emitter], None]
    check: Callable[[Node, Graph], Fault | None] = fine
    wish: Callable[[Node, Graph], Wish] = elementwise
    integer: Question = never
    slow_integer: Question = never
    dynamic: Question = never
    activation: Question = never
    moves: Question = never
    wide: bool = True
    types: frozenset[str] = FLOAT

    def in_integers(self, node: Node, graph: Graph, *, slowly: bool = False) -> bool:
        """Whether a node is computed in integers, all of one width; ``slowly``: also where float32 is faster."""
        has_kernel = self.integer(node, graph) or (slowly and self.slow_integer(node, graph))
        return has_kernel and is_of_one_width(node, graph) and (self.wide or integers_of(node, graph) == "int8")

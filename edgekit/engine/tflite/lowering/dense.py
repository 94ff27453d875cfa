"""Gemm and MatMul: FULLY_CONNECTED where one side is constant, BATCH_MATMUL where none is."""

from __future__ import annotations

from collections.abc import Collection

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Array, Fault, Graph, Node
from edgekit.engine.tflite.layout import Wish
from edgekit.engine.tflite.lowering.contract import all_quantized, flow_quantized
from edgekit.engine.tflite.lowering.convolution import STATIC, filters, has_integer_weights


def is_dense(node: Node, graph: Graph) -> bool:
    """Whether a product is by one constant matrix."""
    return graph.is_constant(node.inputs[1]) and len(graph.shape(node.inputs[1])) == 2 and not graph.is_constant(node.inputs[0])


def wish(node: Node, graph: Graph) -> Wish:
    """Rows, in whatever order a constant matrix can be sorted into."""
    return Wish("rows") if is_dense(node, graph) and not node.attrs.get("transA") else Wish("plain")


def check_gemm(node: Node, graph: Graph) -> Fault | None:
    """Why a Gemm cannot be lowered."""
    if not is_dense(node, graph):
        return Fault("its second input is computed", "use MatMul and Add")
    if node.attrs.get("alpha", 1.0) != 1.0 or node.attrs.get("beta", 1.0) != 1.0:
        return Fault("it multiplies what is computed by alpha or beta", "use Mul, MatMul and Add")
    return None


def check_matmul(node: Node, graph: Graph) -> Fault | None:
    """Why a MatMul cannot be lowered."""
    if any(len(graph.shape(name)) < 2 for name in node.inputs[:2]):
        return Fault("one side is a vector", "Unsqueeze it to a matrix")
    return None


def _transposed(node: Node) -> bool:
    """Whether the constant is stored as TFLite wants it: (outputs, inputs)."""
    return bool(node.attrs.get("transB"))


def integer_gemm(node: Node, graph: Graph) -> bool:
    """Whether a Gemm has an integer kernel."""
    return is_dense(node, graph) and _integer_dense(node, graph)


def integer_matmul(node: Node, graph: Graph) -> bool:
    """Whether a MatMul is computed in integers; one of two computed sides is not, see the table."""
    return is_dense(node, graph) and _integer_dense(node, graph)


def integer_of_two(node: Node, graph: Graph) -> bool:
    """Whether a MatMul of two computed sides has an integer kernel."""
    return len(graph.computed(node)) == 2 and all_quantized(node, graph)


def _integer_dense(node: Node, graph: Graph) -> bool:
    return flow_quantized(node, graph) and _has_integer_matrix(node, graph, STATIC)


def _has_integer_matrix(node: Node, graph: Graph, types: Collection[str]) -> bool:
    return has_integer_weights(node, graph, channel_axis=0 if _transposed(node) else 1, types=types)


def dynamic(node: Node, graph: Graph) -> bool:
    """Whether LiteRT has a kernel for it that rounds what flows."""
    return is_dense(node, graph) and _has_integer_matrix(node, graph, ("int8",))


def lower_gemm(node: Node, to: Emitter) -> None:
    """Lower a Gemm by a constant matrix."""
    source = _read(node, to)
    if node.attrs.get("transA"):
        source = to.transposed(source, f"{node.inputs[0]}_transposed", (1, 0))
    _connect(node, to, source, to.write(node, orders.plain(2)))


def lower_matmul(node: Node, to: Emitter) -> None:
    """Lower a MatMul; a third input is a bias that was joined to it."""
    graph = to.graph
    rank = len(graph.shape(node.outputs[0]))
    if is_dense(node, graph):
        _connect(node, to, _read(node, to), to.write(node, orders.plain(rank)))
        return
    sides = [_side(node, to, index) for index in (0, 1)]
    to.add("BATCH_MATMUL", sides, [to.write(node, orders.plain(rank))], adjX=False, adjY=False)


def _side(node: Node, to: Emitter, index: int) -> int:
    order = orders.plain(len(to.graph.shape(node.inputs[index])))
    return to.number(node, index, order) if to.graph.is_constant(node.inputs[index]) else to.read(node, index, order)


def _read(node: Node, to: Emitter) -> int:
    """The rows; a flattened picture stays in the order it is stored in."""
    name = node.inputs[0]
    order = to.order(name)
    return to.read(node, 0, order if order.picture else orders.plain(len(order.axes)))


def _connect(node: Node, to: Emitter, source: int, result: int) -> None:
    graph = to.graph
    order = to.order(node.inputs[0])
    is_stored = _transposed(node)

    def arrange(array: Array) -> Array:
        matrix = array if is_stored else array.transpose()
        return orders.arranged(matrix, order) if order.picture else matrix

    weights, bias = filters(node, to, arrange, 0)
    keep = {"keepNumDims": True} if len(graph.shape(node.outputs[0])) > 2 else {}
    if node.dynamic:
        keep["asymmetricQuantizeInputs"] = True  # as DynamicQuantizeLinear does
    to.add("FULLY_CONNECTED", [source, weights, bias], [result], fusedActivationFunction=node.activation, **keep)

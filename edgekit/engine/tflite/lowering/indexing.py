"""What picks elements by their places, or says at which places they are."""

from __future__ import annotations

import numpy as np

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Fault, Graph, Node
from edgekit.engine.tflite.layout import Wish
from edgekit.engine.tflite.lowering.arithmetic import operand
from edgekit.engine.tflite.lowering.logic import cast
from edgekit.engine.tflite.lowering.shape import needs_constants, scale_of
from edgekit.engine.tflite.orders import Order

_MOST_EXPANDED = 8


def _axis(node: Node, graph: Graph) -> int:
    return int(node.attrs.get("axis", 0)) % len(graph.shape(node.inputs[0]))


def _through_gather(node: Node, graph: Graph, order: Order) -> Order | None:
    rank = len(graph.shape(node.inputs[1]))
    if rank == 0:
        return orders.through_reduction([_axis(node, graph)], order)
    return order if rank == 1 and not order.picture else None


def gather_wish(node: Node, graph: Graph) -> Wish:
    """One row of places leaves the order as it is, one place takes an axis away."""
    return Wish("follows", _through_gather)


def integer_gather(node: Node, graph: Graph) -> bool:
    """Whether what it takes from is stored as integers, at one scale."""
    quants = [graph.quant(name) for name in (node.inputs[0], node.outputs[0])]
    return all(quant is not None and quant.is_per_tensor for quant in quants)


def moves_gather(node: Node, graph: Graph) -> bool:
    """Whether nothing else is computed that it reads."""
    return graph.computed(node) == [node.inputs[0]]


def lower_gather(node: Node, to: Emitter) -> None:
    """Lower a Gather: a SLICE of neighbours, which XNNPACK takes, otherwise GATHER.

    Places that are computed are counted from 0; see ``normal``.
    """
    graph = to.graph
    axis, order = _axis(node, graph), to.order(node.inputs[0])
    found = _through_gather(node, graph, order)
    if found is None:
        order, found = orders.plain(len(order.axes)), orders.plain(len(graph.shape(node.outputs[0])))
    source, size, place = to.read(node, 0, order), graph.shape(node.inputs[0])[axis], order.where(axis)
    first = _neighbours(node, graph, size)
    if first is not None:
        count = int(np.prod(graph.shape(node.inputs[1]), dtype=int))
        sizes = [count if at == place else length for at, length in enumerate(to.draft.shape(source))]
        result = to.write(node, found, quant=scale_of(node, to))
        taken = result if to.draft.shape(result) == tuple(sizes) else to.like(source, f"{node.outputs[0]}_taken", sizes)
        begin = to.integers("begin", [first if at == place else 0 for at in range(len(sizes))])
        to.add("SLICE", [source, begin, to.integers("size", sizes)], [taken])
        if taken != result:
            to.reshape(taken, result)
        return
    places = _places(node, to, size)
    to.add("GATHER", [source, places], [to.write(node, found, quant=scale_of(node, to))], axis=place, batchDims=0)


def _neighbours(node: Node, graph: Graph, size: int) -> int | None:
    """Where the elements begin that are picked, if they follow one another."""
    constant = graph.constants.get(node.inputs[1])
    if constant is None or constant.stored.size == 0:
        return None
    places = constant.stored.reshape(-1) % size
    return int(places[0]) if bool((places == places[0] + np.arange(places.size)).all()) else None


def _places(node: Node, to: Emitter, sizes: object) -> int:
    """The places that a node picks, those that are constant counted from 0."""
    constant = to.graph.constants.get(node.inputs[1])
    if constant is None:
        return to.read(node, 1, orders.plain(len(to.graph.shape(node.inputs[1]))))
    return to.integers("places", np.where(constant.stored < 0, constant.stored + np.asarray(sizes), constant.stored))


def lower_gather_nd(node: Node, to: Emitter) -> None:
    """Lower a GatherND without batch axes."""
    graph = to.graph
    shape = graph.shape(node.inputs[0])
    places = _places(node, to, shape[: graph.shape(node.inputs[1])[-1]])
    source = to.read(node, 0, orders.plain(len(shape)))
    to.add("GATHER_ND", [source, places], [to.write(node, orders.plain(len(graph.shape(node.outputs[0]))))])


def lower_scatter(node: Node, to: Emitter) -> None:
    """Lower a sum of updates into zeros: places, which are int32, and updates."""
    graph = to.graph
    shape = graph.shape(node.outputs[0])
    sides = [to.value(name, orders.plain(len(graph.shape(name))), real=True) for name in node.inputs]
    to.add("SCATTER_ND", [*sides, to.integers("shape", shape)], [to.write(node, orders.plain(len(shape)))])


def lower_suppression(node: Node, to: Emitter) -> None:
    """Lower the selection of one class's boxes: their places, zeros behind the last, and how many they are."""
    sides = [to.value(name, orders.plain(len(to.graph.shape(name))), real=True) for name in node.inputs]
    limits = [to.integers("most", np.asarray(node.attrs["most"]))]
    limits += [to.constant(name, np.asarray(node.attrs[name], np.float32)) for name in ("overlap", "least")]
    places, count = to.write(node, orders.plain(1)), to.write(node, orders.plain(0), index=1)
    to.add("NON_MAX_SUPPRESSION_V4", [*sides, *limits], [places, count])


def _last(order: Order, axis: int) -> Order:
    return order if order.axes[-1] == axis else Order((*(one for one in order.axes if one != axis), axis))


def lower_top_k(node: Node, to: Emitter) -> None:
    """Lower a TopK of the greatest, which TFLite finds along the last stored axis."""
    graph = to.graph
    axis = int(node.attrs.get("axis", -1)) % len(graph.shape(node.inputs[0]))
    order = _last(to.order(node.inputs[0]), axis)
    source = to.read(node, 0, order)
    results = [name for name in (*node.outputs, "")[:2] if name]
    shape = orders.stored_shape(graph.shape(results[0]), order)
    values = to.write(node, order) if node.outputs[0] else to.like(source, f"{results[0]}_values", shape)
    places = to.temporary(f"{results[-1]}_places", shape, dtype="int32")
    to.add("TOPK_V2", [source, to.integers("k", np.asarray(shape[-1]))], [values, places])
    if len(node.outputs) > 1 and node.outputs[1]:
        cast(to, places, to.write(node, order, index=1))


def _through_arg(node: Node, graph: Graph, order: Order) -> Order | None:
    return order if node.attrs.get("keepdims", 1) else orders.through_reduction([_axis(node, graph)], order)


def arg_wish(node: Node, graph: Graph) -> Wish:
    """The output's order is what is left of the input's."""
    return Wish("follows", _through_arg)


def check_arg(node: Node, graph: Graph) -> Fault | None:
    """Why an ArgMax or ArgMin cannot be lowered."""
    name = node.inputs[0]
    is_wide = not graph.is_constant(name) and graph.values[name].dtype == "int64"
    return Fault("TFLite compares no int64 in it", "cast to int32 before it") if is_wide else None


def lower_arg(node: Node, to: Emitter) -> None:
    """Lower an ArgMax or ArgMin that takes the first of several."""
    order, axis = to.order(node.inputs[0]), _axis(node, to.graph)
    source = to.read(node, 0, order)
    result = to.write(node, _through_arg(node, to.graph, order))
    place = order.where(axis)
    shape = to.draft.shape(source)
    bare = (*shape[:place], *shape[place + 1 :])
    found = result if bare == to.draft.shape(result) else to.like(result, f"{node.outputs[0]}_bare", bare)
    to.add("ARG_MAX" if node.op == "ArgMax" else "ARG_MIN", [source, to.integers("axis", np.asarray(place))], [found], outputType="INT64")
    if found != result:
        to.reshape(found, result)


check_one_hot = needs_constants(1, 2)


def lower_one_hot(node: Node, to: Emitter) -> None:
    """Lower a OneHot whose places are counted from 0."""
    graph = to.graph
    rank = len(graph.shape(node.outputs[0]))
    values = graph.constants[node.inputs[2]].real()
    axis = int(node.attrs.get("axis", -1)) % rank
    depth = to.integers("depth", np.asarray(graph.shape(node.outputs[0])[axis]))
    sides = [to.constant(name, np.asarray(values[place])) for name, place in (("on", 1), ("off", 0))]
    places = to.value(node.inputs[0], orders.plain(rank - 1), real=True)
    to.add("ONE_HOT", [places, depth, *sides], [to.write(node, orders.plain(rank))], axis=axis)


check_sums = needs_constants(1)


def lower_sums(node: Node, to: Emitter) -> None:
    """Lower a CumSum."""
    order = to.order(node.outputs[0])
    axis = to.graph.constants[node.inputs[1]].stored
    place = order.where(int(axis.reshape(())))
    options = {"exclusive": bool(node.attrs.get("exclusive")), "reverse": bool(node.attrs.get("reverse"))}
    to.add("CUMSUM", [to.read(node, 0, order), to.integers("axis", np.asarray(place))], [to.write(node, order)], **options)


def lower_tile(node: Node, to: Emitter) -> None:
    """Lower a Tile."""
    order = to.order(node.outputs[0])
    source = to.read(node, 0, order)
    result = to.write(node, order, quant=scale_of(node, to))
    times = [after // before for before, after in zip(to.draft.shape(source), to.draft.shape(result), strict=True)]
    to.add("TILE", [source, to.integers("multiples", times)], [result])


def check_expand(node: Node, graph: Graph) -> Fault | None:
    """Why an Expand cannot be lowered."""
    many = len(graph.shape(node.outputs[0])) > _MOST_EXPANDED
    return Fault(f"TFLite expands {_MOST_EXPANDED} axes at most", "reshape it to fewer axes") if many else None


def lower_expand(node: Node, to: Emitter) -> None:
    """Lower an Expand."""
    order = to.order(node.outputs[0])
    source = operand(node, to, 0, order)
    result = to.write(node, order)
    if to.draft.shape(source) == to.draft.shape(result):
        to.reshape(source, result)
    else:
        to.add("BROADCAST_TO", [source, to.integers("shape", to.draft.shape(result))], [result])


def check_neighbours(node: Node, graph: Graph) -> Fault | None:
    """Why an LRN cannot be lowered."""
    if len(graph.shape(node.inputs[0])) != 4:
        return Fault("TFLite has it for pictures (4 axes) alone", "reshape what it reads to pictures")
    return Fault("it looks at an even number of channels", "use an odd size") if node.attrs["size"] % 2 == 0 else None


def lower_neighbours(node: Node, to: Emitter) -> None:
    """Lower an LRN; ONNX divides alpha by the number of channels, TFLite does not."""
    order, size = orders.channels_last(4), node.attrs["size"]
    numbers = {"bias": node.attrs.get("bias", 1.0), "alpha": node.attrs.get("alpha", 1e-4) / size, "beta": node.attrs.get("beta", 0.75)}
    to.add("LOCAL_RESPONSE_NORMALIZATION", [to.read(node, 0, order)], [to.write(node, order)], radius=size // 2, **numbers)

"""What moves values and changes none: Reshape and its kin, Transpose, Concat, Split, Slice, Pad, DepthToSpace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from edgekit.engine.tflite import orders
from edgekit.engine.tflite.emitter import Emitter
from edgekit.engine.tflite.graph import Array, Fault, Graph, Node, NotConstantError, Quant
from edgekit.engine.tflite.layout import Wish
from edgekit.engine.tflite.orders import Order


def needs_constants(*indices: int) -> Callable[[Node, Graph], Fault | None]:
    """A check that these inputs are constant or left out."""

    def check(node: Node, graph: Graph) -> Fault | None:
        try:
            for index in indices:
                graph.numbers(node, index)
        except NotConstantError as error:
            return Fault(f"{error} is computed", "fix the shapes (--shape) and run the pass simplify")
        return None

    return check


def _through_reshape(node: Node, graph: Graph, order: Order) -> Order | None:
    before, after = graph.shape(node.inputs[0]), graph.shape(node.outputs[0])
    return orders.through_reshape(before, after, order) or orders.flattened(before, after, order)


def reshape_wish(node: Node, graph: Graph) -> Wish:
    """The output's order is what the input's becomes when nothing is moved."""
    return Wish("follows", _through_reshape)


def lower_reshape(node: Node, to: Emitter) -> None:
    """Lower a Reshape, Flatten, Squeeze or Unsqueeze: a RESHAPE, after a TRANSPOSE where the order forbids it."""
    graph, name, result = to.graph, node.inputs[0], node.outputs[0]
    home = to.order(result)
    stored = to.order(name)
    before, after = graph.shape(name), graph.shape(result)
    found = orders.through_reshape(before, after, stored)
    if found is None and home.picture:
        found = orders.flattened(before, after, stored)
    if found is None:
        # Moved once, into the order that a free reshape leads from to where the output is wanted.
        turned = orders.through_reshape(after, before, home)
        stored, found = (turned, home) if turned is not None else (orders.plain(len(before)), orders.plain(len(after)))
    order = home if orders.same_memory(after, found, home) else found
    source = to.read(node, 0, stored)
    to.reshape(source, to.write(node, order, quant=scale_of(node, to)))


def scale_of(node: Node, to: Emitter, index: int = 0) -> Quant | None:
    """The scale that an operator which only moves values has to write at: its input's."""
    return to.graph.quant(node.inputs[index]) if node.integer else None


def _through_transpose(node: Node, graph: Graph, order: Order) -> Order | None:
    return orders.through_transpose(transposition(node, graph), order)


def transposition(node: Node, graph: Graph) -> tuple[int, ...]:
    """By what a Transpose sorts the axes."""
    rank = len(graph.shape(node.inputs[0]))
    return tuple(node.attrs.get("perm") or reversed(range(rank)))


def transpose_wish(node: Node, graph: Graph) -> Wish:
    """The output's order is what the input's becomes when nothing is moved."""
    return Wish("follows", _through_transpose)


def lower_transpose(node: Node, to: Emitter) -> None:
    """Lower a Transpose: to nothing, if input and output are stored alike."""
    graph, name, result = to.graph, node.inputs[0], node.outputs[0]
    by = transposition(node, graph)
    stored = to.order(name)
    natural = orders.through_transpose(by, stored)
    assert natural is not None
    source = to.value(name, stored, real=not node.integer and graph.quant(result) is None)
    home = to.order(result)
    if not home.picture and home != natural:
        shape = graph.shape(result)
        if orders.same_memory(shape, natural, home):
            source = to.reshaped(source, result, orders.stored_shape(shape, home))
        else:
            source = to.transposed(source, result, orders.permutation(natural, home))
        natural = home
    to.provide(result, source, natural, to.draft.quant(source))


def lower_concat(node: Node, to: Emitter) -> None:
    """Lower a Concat; its integer inputs are brought to the output's scale, as LiteRT prescribes."""
    order = to.order(node.outputs[0])
    quant = to.graph.quant(node.outputs[0]) if node.integer else None
    sources = [_part(node, to, index, order) for index in range(len(node.inputs))]
    for index, source in enumerate(sources):
        if quant is not None and to.draft.quant(source) != quant:
            sources[index] = to.temporary(f"{node.inputs[index]}_rescaled", to.draft.shape(source), quant)
            to.add("QUANTIZE", [source], [sources[index]])
    axis = order.where(node.attrs["axis"])
    to.add("CONCATENATION", sources, [to.write(node, order)], axis=axis, fusedActivationFunction="NONE")


def _part(node: Node, to: Emitter, index: int, order: Order) -> int:
    if not to.graph.is_constant(node.inputs[index]):
        return to.read(node, index, order)
    constant = to.arranged(node, index, order)
    shape = orders.stored_shape(to.graph.shape(node.inputs[index]), order)
    return to.constant(node.inputs[index], constant.stored.reshape(shape), constant.quant)


def integer_concat(node: Node, graph: Graph) -> bool:
    """Whether all parts are integers."""
    quants = [graph.quant(name) for name in (*node.inputs, *node.outputs)]
    return all(quant is not None and quant.is_per_tensor for quant in quants) and len({quant.dtype for quant in quants if quant is not None}) == 1


def alike(node: Node, graph: Graph) -> bool:
    """Whether all inputs are computed and those that are quantized have one scale, so that nothing is rescaled."""
    return len(graph.computed(node)) == len(node.inputs) and len({graph.quant(name) for name in node.inputs} - {None}) <= 1


_MOST_SPLIT = 4
_SPLIT_TYPES = frozenset({"float32", "int8", "int16", "int32"})
_SLICED_TYPES = frozenset({"float32", "int8"})


def lower_split(node: Node, to: Emitter) -> None:
    """Lower a Split: SPLIT into a few equal parts, a SLICE for each of others, SPLIT_V of what XNNPACK does not compute.

    XNNPACK has SPLIT into two, three and four parts and no SPLIT_V, where each ends the part of the graph that it takes.
    """
    order = to.order(node.inputs[0])
    place = order.where(node.attrs.get("axis", 0))
    source = to.read(node, 0, order)
    results = [to.write(node, order, index=index, quant=scale_of(node, to)) for index in range(len(node.outputs))]
    sizes = [to.draft.shape(result)[place] for result in results]
    dtype = to.draft.dtype(source)
    if len(set(sizes)) == 1 and 2 <= len(sizes) <= _MOST_SPLIT and dtype in _SPLIT_TYPES:
        to.add("SPLIT", [to.integers("axis", np.asarray(place)), source], results, numSplits=len(sizes))
    elif dtype in _SLICED_TYPES:
        first = 0
        for result, size in zip(results, sizes, strict=True):
            begin = [first if axis == place else 0 for axis in range(len(to.draft.shape(source)))]
            to.add("SLICE", [source, to.integers("begin", begin), to.integers("size", to.draft.shape(result))], [result])
            first += size
    else:
        to.add("SPLIT_V", [source, to.integers("sizes", sizes), to.integers("axis", np.asarray(place))], results, numSplits=len(sizes))


def check_slice(node: Node, graph: Graph) -> Fault | None:
    """Why a Slice cannot be lowered."""
    return needs_constants(1, 2, 3, 4)(node, graph)


def ranges(node: Node, graph: Graph) -> list[tuple[int, int, int]]:
    """First index, end and step of a Slice, for each of the input's axes."""
    shape = graph.shape(node.inputs[0])
    found = [(0, size, 1) for size in shape]
    starts, ends, axes, steps = (graph.numbers(node, index) for index in (1, 2, 3, 4))
    assert starts is not None
    assert ends is not None
    for number in range(starts.size):
        axis = int(axes[number]) % len(shape) if axes is not None else number
        step = int(steps[number]) if steps is not None else 1
        first, end, _ = slice(int(starts[number]), int(ends[number]), step).indices(shape[axis])
        found[axis] = (first, end, step)
    return found


def lower_slice(node: Node, to: Emitter) -> None:
    """Lower a Slice: SLICE where its steps are 1, STRIDED_SLICE otherwise."""
    order = to.order(node.outputs[0])
    parts = [ranges(node, to.graph)[axis] for axis in order.axes]
    source = to.read(node, 0, order)
    result = to.write(node, order, quant=scale_of(node, to))
    first = to.integers("begin", [part[0] for part in parts])
    if all(step == 1 for _, _, step in parts):
        to.add("SLICE", [source, first, to.integers("size", to.draft.shape(result))], [result])
        return
    # A slice that runs down to the first element ends before it: -1, which TFLite counts from the end; its mask says so.
    mask = sum(1 << axis for axis, part in enumerate(parts) if part[1] < 0)
    inputs = [source, first, to.integers("end", [part[1] for part in parts]), to.integers("steps", [part[2] for part in parts])]
    to.add("STRIDED_SLICE", inputs, [result], endMask=mask)


def check_pad(node: Node, graph: Graph) -> Fault | None:
    """Why a Pad cannot be lowered."""
    fault = needs_constants(1, 2, 3)(node, graph)
    mode = node.attrs.get("mode", "constant")
    if fault is None and mode not in ("constant", "reflect"):
        return Fault(f"TFLite has no padding of mode {mode}", "pad with constant or reflect")
    if fault is None and any(before < 0 or after < 0 for before, after in paddings(node, graph)):
        return Fault("negative padding", "crop with a Slice")
    return fault


def paddings(node: Node, graph: Graph) -> list[tuple[int, int]]:
    """Padding before and after, for each of the input's axes."""
    rank = len(graph.shape(node.inputs[0]))
    pads, axes = graph.numbers(node, 1), graph.numbers(node, 3)
    assert pads is not None
    found = [(0, 0)] * rank
    which: Sequence[int] = range(rank) if axes is None else [int(axis) % rank for axis in axes.ravel()]
    for number, axis in enumerate(which):
        found[axis] = (int(pads[number]), int(pads[number + len(which)]))
    return found


def _filling(node: Node, graph: Graph) -> float:
    number = graph.numbers(node, 2)
    return 0.0 if number is None or node.attrs.get("mode", "constant") != "constant" else float(number.reshape(()))


def moves_pad(node: Node, graph: Graph) -> bool:
    """Whether a Pad adds nothing but 0.0, which every scale holds exactly, or what is there already."""
    return _filling(node, graph) == 0.0


def lower_pad(node: Node, to: Emitter) -> None:
    """Lower a Pad: PAD with zeros, PADV2 with another number, MIRROR_PAD."""
    order = to.order(node.outputs[0])
    around = [paddings(node, to.graph)[axis] for axis in order.axes]
    source = to.read(node, 0, order)
    filling = _filling(node, to.graph)
    result = to.write(node, order, quant=scale_of(node, to))
    table = to.integers("paddings", np.asarray(around))
    if node.attrs.get("mode", "constant") == "reflect":
        to.add("MIRROR_PAD", [source, table], [result], mode="REFLECT")
    elif filling == 0.0:
        to.add("PAD", [source, table], [result])
    else:
        quant = to.draft.quant(source)
        to.add("PADV2", [source, table, to.constant("fill", stored_number(filling, quant), quant)], [result])


def stored_number(number: float, quant: Quant | None) -> Array:
    """A number as a tensor with this scale, or without one, stores it."""
    if quant is None:
        return np.asarray(number, np.float32)
    return quant.stored(number)


def check_depth_to_space(node: Node, graph: Graph) -> Fault | None:
    """Why a DepthToSpace cannot be lowered."""
    if node.attrs.get("mode", "DCR") != "DCR":
        return Fault("TFLite has DepthToSpace in the mode DCR only", "sort the channels of the convolution before it")
    return None


def _blocks(op: str, node: Node, to: Emitter) -> None:
    order = orders.channels_last(4)
    source = to.read(node, 0, order)
    result = to.write(node, order, quant=scale_of(node, to))
    if not to.npu:
        to.add(op, [source], [result], blockSize=node.attrs["blocksize"])
        return
    # Rows of a block trade places with columns of blocks; what is further in stays together.
    (batch, height, width, depth), block = to.draft.shape(source), int(node.attrs["blocksize"])
    parted = [width, block, depth // block] if op == "DEPTH_TO_SPACE" else [block, width // block, block * depth]
    rows = batch * height * width * depth // (parted[0] * parted[1] * parted[2])
    swapped = to.transposed(to.reshaped(source, f"{node.outputs[0]}_parted", [rows, *parted]), f"{node.outputs[0]}_swapped", (0, 2, 1, 3))
    to.reshape(swapped, result)


lower_depth_to_space = partial(_blocks, "DEPTH_TO_SPACE")
lower_space_to_depth = partial(_blocks, "SPACE_TO_DEPTH")


def lower_quantize(node: Node, to: Emitter) -> None:
    """Lower a QuantizeLinear that stayed: from one scale to another, or beside readers of the real value."""
    name, order = node.inputs[0], to.order(node.inputs[0])
    tensor = to.value(name, order, real=False)
    to.provide(node.outputs[0], tensor, order, to.draft.quant(tensor))

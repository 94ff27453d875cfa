"""What products read becomes signs, times a magnitude for each place of the output, in nodes that every runtime has.

``I * W ~ (sign(I) * sign(W)) K a``: signs on both sides, so that a runtime with kernels for bits would count them; none of
edgekit's has, and multiplies signs as it does any number.

Source:
    Rastegari, Ordonez, Redmon, Farhadi, "XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks",
    ECCV 2016, eq. 8 to 11; inputs are normalized by channel before, as in section 3.2 ("Training XNOR-Networks").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.onnx_file import infer_shapes
from edgekit.graph.structure import set_structures
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted, Window
from edgekit.numerics.moments import Moments
from edgekit.passes.quantize.patches import from_blocks

if TYPE_CHECKING:
    import onnx

F64 = NDArray[np.float64]

_LEAST_DEVIATION = 1e-3
"""Of the mean over the channels: one that hardly varies is not made as loud as the others."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a product's inputs are spread, one number a channel, shape (channels,) each.

    Attributes:
        mean: in the unit of the inputs.
        deviation: likewise, always > 0.
    """

    mean: F64
    deviation: F64


def why_not(one: Weighted) -> str:
    """Why a product's inputs cannot become signs; "" if they can."""
    if one.window is None:
        return ""
    kinds = {"a convolution with groups": one.groups > 1, "a transposed convolution": one.window.is_transposed}
    kinds["a dilated convolution"] = max(one.window.dilations) > 1  # TensorRT pools without dilation alone
    kind = next((kind for kind, is_so in kinds.items() if is_so), "")
    return f"{kind} keeps its weights where activations become signs, too" if kind else ""


def channels_of(view: View, one: Weighted) -> int:
    """Channels that a product of one group reads."""
    return view.numbers(one.weight) // int(view.constants[one.weight].dims[one.axis]) // _taps(one)


def spread_of(one: Weighted, moments: Moments, channels: int) -> Spread:
    """From what a product was multiplied with: of a window the middle, which sees hardly any padding.

    Args:
        one: the product, of one group.
        moments: of its inputs, in blocks.
        channels: that it reads, see :func:`channels_of`.
    """
    taps = _taps(one)
    inputs = channels * taps
    mean = from_blocks(moments.mean[:, None, :], 1, inputs)[0, 0]
    square = from_blocks((np.einsum("gii->gi", moments.total) / moments.rows)[:, None, :], 1, inputs)[0, 0]
    middle = slice(_middle(one.window), None, taps)
    deviation = np.sqrt(np.maximum(square[middle] - np.square(mean[middle]), 0.0))
    least = max(_LEAST_DEVIATION * float(deviation.mean()), 1e-12)
    return Spread(mean[middle], np.maximum(deviation, least))


def with_signs(proto: onnx.ModelProto, spreads: Mapping[str, Spread]) -> onnx.ModelProto:
    """A graph in which some products read signs; their weights are still to become signs.

    In the place of ``I * W + b`` stands ``(sign(J) * V) K + c``: ``J`` is ``I`` normalized by channel, ``V`` and ``c`` take that
    back, so that ``J * V + c`` is ``I * W + b``, and ``K`` is the mean of ``|J|`` over all that an output looks at. Products keep
    their names; their weights have others, each its own.

    Args:
        proto: all shapes inferred; left alone.
        spreads: of the inputs, by the product's name; of products that :func:`why_not` has nothing against.
    """
    from edgekit.graph.weighted import weighted_nodes

    view, graph = View(proto), Graph(proto)
    weighted, renamed = weighted_nodes(view), {}
    for name, spread in spreads.items():
        one = weighted[name]
        weight = _rewritten(graph, view, one, spread)
        if one.weight in view.structures:
            renamed[weight] = view.structures[one.weight]
    made = infer_shapes(graph.finish())
    set_structures(made, renamed)
    return made


def _rewritten(graph: Graph, view: View, one: Weighted, spread: Spread) -> str:
    """Put signs before a product; the name of its new weight."""
    node = next(node for node in graph.walk(one.op) if node.name == one.node)
    output, rows = node.outputs[0], one.by_channel(view.value(one.weight))
    normal = _normalized(graph, one, spread, node)
    signs = _added(graph, "Sign", [normal], f"{one.node}/signs", node)
    size = _size(graph, one, normal, node)
    stored = one.from_channels(rows * np.repeat(spread.deviation, _taps(one)) / one.weight_factor, tuple(view.value(one.weight).shape))
    weight = graph.add_constant(np.asarray(stored, np.float32), f"{one.weight}/signed")
    product = graph.add(one.op, [signs, weight], graph.unused_name(f"{one.node}/product"), before=node, **_attributes(one, node))
    shift = rows @ np.repeat(spread.mean, _taps(one))
    if one.bias_adder is not None:
        adder = graph.next(node, "Add")
        assert adder is not None, "a MatMul's bias is added right behind it"
        place = adder.inputs.index(one.bias or "")
        graph.set_constant_input(adder, place, np.asarray(view.value(one.bias or "") + shift, np.float32))
        graph.replace([node], "Mul", [product.outputs[0], size], output)
    else:
        held = 0.0 if one.bias is None else one.bias_factor * view.value(one.bias).reshape(-1)
        scaled = _added(graph, "Mul", [product.outputs[0], size], f"{one.node}/scaled", node)
        around = (-1, *(1,) * (len(one.window.kernel) if one.window is not None else 0))
        bias = graph.add_constant(np.asarray(held + shift, np.float32).reshape(around), f"{one.node}/bias")
        graph.replace([node], "Add", [scaled, bias], output)
    product.name = one.node
    return weight


def _normalized(graph: Graph, one: Weighted, spread: Spread, node: Node) -> str:
    """Inputs less their mean, by their deviation; padding is put around them before, since it is no 0 afterwards."""
    source, window = node.inputs[0], one.window
    around = (1, -1, *(1,) * len(window.kernel)) if window is not None else (-1,)
    if window is not None and any((*window.begins, *window.ends)):
        pads = graph.add_constant(np.array([0, 0, *window.begins, 0, 0, *window.ends], np.int64), f"{one.node}/pads")
        source = _added(graph, "Pad", [source, pads], f"{one.node}/padded", node)
    mean = graph.add_constant(np.asarray(spread.mean, np.float32).reshape(around), f"{one.node}/mean")
    factor = graph.add_constant(np.asarray(1.0 / spread.deviation, np.float32).reshape(around), f"{one.node}/factor")
    centered = _added(graph, "Sub", [source, mean], f"{one.node}/centered", node)
    return _added(graph, "Mul", [centered, factor], f"{one.node}/normal", node)


def _size(graph: Graph, one: Weighted, normal: str, node: Node) -> str:
    """The mean magnitude of all that each output looks at: over channels, then over the window (eq. 11)."""
    magnitude = _added(graph, "Abs", [normal], f"{one.node}/magnitude", node)
    axes = graph.add_constant(np.array([-1 if one.window is None else 1], np.int64), f"{one.node}/axes")
    size = _added(graph, "ReduceMean", [magnitude, axes], f"{one.node}/size", node, keepdims=1)
    window = one.window
    if window is None or max(*window.kernel, *window.strides) == 1:
        return size
    how = {"kernel_shape": list(window.kernel), "strides": list(window.strides)}
    return _added(graph, "AveragePool", [size], f"{one.node}/around", node, **how)


def _added(graph: Graph, op: str, inputs: list[str], like: str, before: Node, **attributes: Any) -> str:
    return graph.add(op, inputs, graph.unused_name(like), before=before, **attributes).outputs[0]


def _attributes(one: Weighted, node: Node) -> dict[str, Any]:
    """What the product has to be told; the padding is around its input already."""
    window = one.window
    if window is not None:
        return {"kernel_shape": list(window.kernel), "strides": list(window.strides)}
    return {"transB": int(node.get("transB", 0)), "alpha": one.weight_factor} if one.op == "Gemm" else {}


def _taps(one: Weighted) -> int:
    return int(np.prod(one.window.kernel)) if one.window is not None else 1


def _middle(window: Window | None) -> int:
    """Which tap of a window is its middle, counted as the weight lies."""
    return int(np.ravel_multi_index(tuple(size // 2 for size in window.kernel), window.kernel)) if window is not None else 0

"""Nodes with constant weights: what is weight, channel and bias of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.quantized import PRODUCTS
from edgekit.graph.view import View, attributes

if TYPE_CHECKING:
    import onnx

F64 = NDArray[np.float64]

ACTIVATIONS = frozenset({"Relu", "Clip"})
"""They stay between a node and its QuantizeLinear: every runtime computes them with the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Where a convolution reads, each attribute one number a spatial axis.

    Attributes:
        kernel, strides, dilations: as ONNX has them.
        begins, ends: padding before and after each axis.
        is_transposed: whether it writes there instead.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    is_transposed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """A node whose weights are constant.

    Attributes:
        node: its name.
        op: its ONNX operator.
        input, weight: tensors it reads.
        bias: constant added to each output channel; None if there is none.
        bias_adder: name of the Add behind it that adds the bias, if it has no input for one.
        output: what it makes, bias included.
        axis: of the weight, along which output channels lie.
        groups: of channels.
        weight_factor, bias_factor: numbers the node multiplies them with.
        window: of a convolution.
    """

    node: str
    op: str
    input: str
    weight: str
    bias: str | None
    bias_adder: str | None
    output: str
    axis: int
    groups: int = 1
    weight_factor: float = 1.0
    bias_factor: float = 1.0
    window: Window | None = None

    @property
    def takes_bias(self) -> bool:
        """Whether there is a place for a bias: a MatMul has one only in the Add behind it."""
        return self.op != "MatMul" or self.bias_adder is not None

    def by_channel(self, weight: NDArray[Any]) -> F64:
        """The weight as (output channels, inputs to each): what each output channel multiplies its inputs with."""
        weight = np.asarray(weight, np.float64) * self.weight_factor
        if self.window is not None and self.window.is_transposed:
            per_group = weight.reshape(self.groups, weight.shape[0] // self.groups, *weight.shape[1:])
            return np.moveaxis(per_group, 2, 1).reshape(self.groups * weight.shape[1], -1)
        return np.moveaxis(weight, self.axis, 0).reshape(weight.shape[self.axis], -1)

    def from_channels(self, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """The opposite of :meth:`by_channel`, without the factor: rows back in the shape of the weight."""
        if self.window is not None and self.window.is_transposed:
            per_group = rows.reshape(self.groups, shape[1], shape[0] // self.groups, *shape[2:])
            return np.ascontiguousarray(np.moveaxis(per_group, 1, 2).reshape(shape))
        moved = (shape[self.axis], *shape[: self.axis], *shape[self.axis + 1 :])
        return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, self.axis))


def is_inside(view: View, tensor: str) -> bool:
    """Whether a tensor lies between a convolution or Gemm and its activation, where no scheme stores it."""
    maker, reader = view.maker(tensor), view.only_reader(tensor)
    return maker is not None and reader is not None and maker.op_type in ("Conv", "ConvTranspose", "Gemm") and reader.op_type in ACTIVATIONS


def weighted_nodes(view: View) -> dict[str, Weighted]:
    """Every node with constant weights whose parts are understood, by name."""
    found = (_weighted(view, node) for node in view.nodes)
    return {one.node: one for one in found if one is not None}


def _weighted(view: View, node: onnx.NodeProto) -> Weighted | None:
    if node.op_type not in PRODUCTS or len(node.input) < 2:
        return None
    if node.input[1] not in view.constants or not view.is_float(node.input[1]) or node.input[0] in view.constants:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        return _convolution(view, node)
    return _gemm(view, node) if node.op_type == "Gemm" else _matmul(view, node)


def _convolution(view: View, node: onnx.NodeProto) -> Weighted | None:
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    window = _window(view, node)
    if window is None or (bias is not None and bias not in view.constants):
        return None
    return Weighted(
        node=node.name,
        op=node.op_type,
        input=node.input[0],
        weight=node.input[1],
        bias=bias,
        bias_adder=None,
        output=node.output[0],
        axis=1 if window.is_transposed else 0,
        groups=int(attributes(node).get("group", 1)),
        window=window,
    )


def _gemm(view: View, node: onnx.NodeProto) -> Weighted | None:
    has = attributes(node)
    axis = 0 if has.get("transB", 0) else 1
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if has.get("transA", 0) or not _fits_channels(view, bias, view.constants[node.input[1]].dims[axis]):
        return None
    return Weighted(
        node=node.name,
        op=node.op_type,
        input=node.input[0],
        weight=node.input[1],
        bias=bias,
        bias_adder=None,
        output=node.output[0],
        axis=axis,
        weight_factor=float(has.get("alpha", 1.0)),
        bias_factor=float(has.get("beta", 1.0)),
    )


def _matmul(view: View, node: onnx.NodeProto) -> Weighted | None:
    weight = view.constants[node.input[1]]
    if len(weight.dims) != 2:
        return None
    adder = view.only_reader(node.output[0])
    bias = None
    if adder is not None and adder.op_type == "Add":
        other = adder.input[1] if adder.input[0] == node.output[0] else adder.input[0]
        bias = other if other in view.constants and list(view.constants[other].dims) == [weight.dims[1]] else None
    return Weighted(
        node=node.name,
        op=node.op_type,
        input=node.input[0],
        weight=node.input[1],
        bias=bias,
        bias_adder=adder.name if adder is not None and bias is not None else None,
        output=adder.output[0] if adder is not None and bias is not None else node.output[0],
        axis=1,
    )


def _fits_channels(view: View, bias: str | None, channels: int) -> bool:
    """Whether a bias is one number a channel, or one for all."""
    if bias is None:
        return True
    if bias not in view.constants:
        return False
    dims = list(view.constants[bias].dims)
    return all(dim == 1 for dim in dims[:-1]) and (not dims or dims[-1] in (1, channels))


def _window(view: View, node: onnx.NodeProto) -> Window | None:
    """Where a convolution reads; None if that depends on sizes that are not known."""
    has = attributes(node)
    kernel = tuple(int(size) for size in view.constants[node.input[1]].dims[2:])
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    strides, dilations = tuple(has.get("strides", ones)), tuple(has.get("dilations", ones))
    pads = tuple(has.get("pads", zeros + zeros))
    begins, ends = pads[: len(kernel)], pads[len(kernel) :]
    transposed = node.op_type == "ConvTranspose"
    more = np.array(has.get("output_padding", zeros) if transposed else zeros)
    ends = tuple((np.array(ends, np.int64) - more).tolist())
    automatic = has.get("auto_pad", b"NOTSET").decode()
    if automatic.startswith("SAME") or "output_shape" in has:
        before, after = _sizes(view, node.input[0]), _sizes(view, node.output[0])
        if before is None or after is None:
            return None
        wide, narrow = (np.array(has.get("output_shape", before * strides))[-len(kernel) :], before) if transposed else (before, after)
        total = np.maximum((narrow - 1) * strides + (np.array(kernel) - 1) * dilations + 1 + more - wide, 0)
        first = total // 2 if automatic == "SAME_UPPER" else (total + 1) // 2
        begins, ends = tuple(first.tolist()), tuple((total - first - more).tolist())
    return Window(kernel=kernel, strides=strides, dilations=dilations, begins=begins, ends=ends, is_transposed=transposed)


def _sizes(view: View, tensor: str) -> NDArray[np.int64] | None:
    """Spatial sizes, if all are known."""
    shape = view.shape(tensor)
    if shape is None or not all(isinstance(size, int) for size in shape[2:]):
        return None
    return np.array(shape[2:], np.int64)

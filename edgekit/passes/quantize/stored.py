"""A constant weight becomes integers behind a DequantizeLinear; nothing is calibrated here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import SourceError
from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.numerics.affine import INT2_SYMMETRIC, INT4_SYMMETRIC, INT8_REDUCED, INT8_SYMMETRIC, UINT2, UINT4, UINT8, IntGrid
from edgekit.numerics.scales import round_rows

_GRIDS = {
    (8, True): INT8_SYMMETRIC,
    (8, False): UINT8,
    (4, True): INT4_SYMMETRIC,
    (4, False): UINT4,
    (2, True): INT2_SYMMETRIC,
    (2, False): UINT2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How weights are stored.

    Attributes:
        bits: of each number: 8, 4 or 2.
        block: inputs that share a scale; 0 if all of a channel do.
        symmetric: without a zero point.
        reduced: 7 bits, for processors whose int8 products saturate.
        per_tensor: one scale for all.
    """

    bits: int = 8
    block: int = 0
    symmetric: bool = True
    reduced: bool = False
    per_tensor: bool = False

    @property
    def grid(self) -> IntGrid:
        """The integers used."""
        return INT8_REDUCED if self.reduced else _GRIDS[self.bits, self.symmetric]


class Storing:
    """Stores weights of one graph, each once however many nodes read it.

    Args:
        graph: what is rewritten.
        view: the same graph as it was.
    """

    def __init__(self, graph: Graph, view: View) -> None:
        self._graph = graph
        self._view = view
        self._stored: dict[tuple[str, int, float, Form], str] = {}

    def store(self, node: Node, one: Weighted, form: Form) -> None:
        """Let a node read its weights from integers; the factors of a Gemm go into its constants.

        Raises:
            SourceError: a weight is infinite or not a number.
        """
        if form.block >= self._inputs(one):
            form = replace(form, block=0)
        structure = self._view.structures.get(one.weight)
        if structure is not None and structure.is_of_one_scale:
            form = replace(form, block=0, per_tensor=True)
        key = (one.weight, one.axis, one.weight_factor, form)
        if key not in self._stored:
            self._stored[key] = self._dequantized(node, one, form)
        self._graph.set_input(node, 1, self._stored[key])
        if one.op == "Gemm":
            self._graph.set_attributes(node, alpha=None, beta=None)
            if one.bias is not None and one.bias_factor != 1.0:
                bias = np.asarray(self._view.value(one.bias) * one.bias_factor, np.float32)
                self._graph.set_constant_input(node, 2, bias, f"{one.bias}/times_beta")

    def _inputs(self, one: Weighted) -> int:
        """How many numbers a channel's weights are multiplied with."""
        shape = self._view.constants[one.weight].dims
        return int(np.prod(shape)) // int(shape[one.axis])

    def _dequantized(self, node: Node, one: Weighted, form: Form) -> str:
        weight = np.asarray(self._view.value(one.weight) * np.float32(one.weight_factor), np.float32)
        try:
            arrays, attributes = stored(weight, one.axis, form)
        except ValueError as error:
            raise SourceError(f"{one.weight}: {error}: no integers can hold it", hint="check the float model itself") from error
        names = ("quantized", "scale", "zero_point")
        inputs = [self._graph.add_constant(array, f"{one.weight}/{name}") for name, array in zip(names, arrays, strict=False)]
        result = self._graph.unused_name(f"{one.weight}/dequantized")
        self._graph.add("DequantizeLinear", inputs, result, before=node, **attributes)
        return result


def stored(weight: NDArray[Any], axis: int, form: Form) -> tuple[list[NDArray[Any]], dict[str, int]]:
    """Integers, scales and, unless symmetric, zero points of a weight, with the attributes of the DequantizeLinear over them.

    Opset 21 has no type of 2 bits: such numbers, -1 to 1 or 0 to 3, are stored as int4 or uint4, and whoever writes an
    engine sees by their values that 2 bits hold them.

    Args:
        weight: float32; of two axes if it is stored in blocks.
        axis: of the output channels.
        form: how it is stored. In blocks, the last one of a channel may be shorter.

    Raises:
        ValueError: a number is not finite.
    """
    channels = weight.shape[axis]
    rows = weight.reshape(1, -1) if form.per_tensor else np.moveaxis(weight, axis, 0).reshape(channels, -1)
    width = rows.shape[1]
    if form.block:
        count = -(-width // form.block)
        rows = np.pad(rows, ((0, 0), (0, count * form.block - width))).reshape(-1, form.block)
    integers, affine = round_rows(rows, form.grid, symmetric=form.symmetric)
    numbers = [affine.scale] if form.symmetric else [affine.scale, affine.zero_point]
    if form.per_tensor:
        return _typed([integers.reshape(weight.shape), *(one.reshape(()) for one in numbers)], form), {}
    moved = (channels, *weight.shape[:axis], *weight.shape[axis + 1 :])
    if not form.block:
        return _typed([np.moveaxis(integers.reshape(moved), 0, axis), *numbers], form), {"axis": axis}
    whole = integers.reshape(channels, -1)[:, :width].reshape(moved)
    blocks = [np.moveaxis(one.reshape(channels, -1), 0, axis) for one in numbers]
    return _typed([np.moveaxis(whole, 0, axis), *blocks], form), {"axis": 1 - axis, "block_size": form.block}


def _typed(arrays: list[NDArray[Any]], form: Form) -> list[NDArray[Any]]:
    """Integers and zero points in the type that the file has for them."""
    if form.bits == 8:
        return arrays
    import ml_dtypes

    kind = ml_dtypes.int4 if form.symmetric else ml_dtypes.uint4
    return [one if one.dtype == np.float32 else one.astype(kind) for one in arrays]

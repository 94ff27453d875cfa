"""A TFLite graph as delegates look at it: a draft of edgekit's, or a file of anybody's, in the same plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.engine.tflite.draft import Draft, DraftTensor
from edgekit.engine.tflite.graph import Array
from edgekit.engine.tflite.versions import operator_version

_MOST_NUMBERS = 64
"""Constants that rules look into are axes, sizes and the like: a few numbers."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as its file describes it.

    Attributes:
        name: as in the file.
        shape: sizes; what is left open is 1, as LiteRT takes it until it is told.
        dtype: element type as numpy names it; ``int4`` and ``int2`` besides.
        scales: one, or one a channel; empty where its numbers are no quantized ones.
        zero_points: as many.
        axis: of the channels.
        is_constant: whether its numbers are in the file.
        numbers: these, of a small constant of int32 or int64, in order.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    is_constant: bool = False
    numbers: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        node: what the reader knows it by: the node of the model it was lowered from, or the tensor it makes.
        op: TFLite's builtin name; of a custom one, ``CUSTOM:`` and its own.
        version: of the builtin operator.
        inputs, outputs: tensors by index; -1 is left out.
        options: fields of its options table by the schema's names, enums by theirs.
    """

    node: str
    op: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Network:
    """Tensors, and operators in an order in which they can be computed."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]

    def inputs(self, operator: Operator) -> list[Tensor | None]:
        """What an operator reads, ``None`` for what is left out."""
        return [self.tensors[index] if index >= 0 else None for index in operator.inputs]

    def outputs(self, operator: Operator) -> list[Tensor]:
        """What an operator makes."""
        return [self.tensors[index] for index in operator.outputs if index >= 0]

    def makers(self) -> dict[int, int]:
        """For each tensor that is computed, the operator that makes it."""
        return {tensor: at for at, operator in enumerate(self.operators) for tensor in operator.outputs}

    def readers(self, tensor: int) -> list[Operator]:
        """The operators that read a tensor."""
        return [operator for operator in self.operators if tensor in operator.inputs]


def network_of(draft: Draft) -> Network:
    """A draft, as it will be read from its file."""
    operators = tuple(
        Operator(
            node=one.node or draft.tensors[one.outputs[0]].name,
            op=one.op,
            version=operator_version(one, draft.tensors),
            inputs=one.inputs,
            outputs=one.outputs,
            options=one.options,
        )
        for one in draft.operators
    )
    return Network(tuple(_tensor(one, draft.buffers) for one in draft.tensors), operators)


def _tensor(one: DraftTensor, buffers: Sequence[Array]) -> Tensor:
    quant, is_constant = one.quant, one.buffer > 0 and buffers[one.buffer].size > 0  # LiteRT takes an empty one for no constant
    return Tensor(
        name=one.name,
        shape=one.shape,
        dtype=one.dtype,
        scales=() if quant is None else quant.scale,
        zero_points=() if quant is None else quant.zero_point,
        axis=0 if quant is None else quant.axis,
        is_constant=is_constant,
        numbers=few_numbers(buffers[one.buffer], one.dtype, math.prod(one.shape)) if is_constant else None,
    )


def few_numbers(content: Array, dtype: str, size: int) -> tuple[int, ...] | None:
    """The numbers of a small constant of whole numbers; ``None`` of any other.

    Args:
        content: its bytes.
        dtype: their type.
        size: how many numbers they are.
    """
    if dtype not in ("int32", "int64") or size > _MOST_NUMBERS:
        return None
    return tuple(int(number) for number in np.frombuffer(content.tobytes(), dtype)[:size])

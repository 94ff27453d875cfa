"""A TFLite model under construction: tensors, operators and constants, in plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.engine.tflite.graph import Array, Quant
from edgekit.errors import EdgekitError

_BITS = {"int4": 4, "int2": 2}


@dataclass(slots=True)
class DraftTensor:
    """One tensor: ``buffer`` 0 is what is computed; ``open_axis`` the axis whose size is the most that it can become."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: Quant | None = None
    buffer: int = 0
    open_axis: int | None = None


@dataclass(frozen=True, slots=True)
class DraftOperator:
    """One operator: TFLite's builtin name, tensors by index (-1: left out), the fields of its options table, and the node
    it was lowered from; "" for what stands between nodes and ports."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]
    node: str = ""


@dataclass(slots=True)
class Draft:
    """Tensors, operators and the bytes of constants; equal bytes are kept once."""

    tensors: list[DraftTensor] = field(default_factory=list)
    operators: list[DraftOperator] = field(default_factory=list)
    buffers: list[Array] = field(default_factory=lambda: [np.empty(0, np.uint8)])
    _names: set[str] = field(default_factory=set)
    _constants: dict[tuple[Any, ...], int] = field(default_factory=dict)
    _contents: dict[bytes, int] = field(default_factory=dict)

    def tensor(self, name: str, shape: Sequence[int], dtype: str, quant: Quant | None = None, buffer: int = 0) -> int:
        """A new tensor; its name gets a number if it is taken.

        Raises:
            EdgekitError: a scale is not above zero or not finite, on which LiteRT ends the whole process.
        """
        if quant is not None and not quant.has_sound_scales:
            message = f"{name}: its scale would be {min(quant.scale)}, TFLite needs one above zero"
            raise EdgekitError(message, hint="quantize the model again, or leave this tensor in float32")
        unique, number = name, 1
        while unique in self._names:
            unique, number = f"{name}_{number}", number + 1
        self._names.add(unique)
        self.tensors.append(DraftTensor(unique, tuple(int(size) for size in shape), dtype, quant, buffer))
        return len(self.tensors) - 1

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> int:
        """The tensor of a constant; a new one only if none is alike."""
        buffer = self._buffer(array)
        key = (buffer, array.shape, array.dtype.name, quant)
        if key not in self._constants:
            self._constants[key] = self.tensor(name, array.shape, array.dtype.name, quant, buffer)
        return self._constants[key]

    def own_constant(self, name: str, array: Array, quant: Quant | None = None) -> int:
        """The tensor of a constant that is an output: never one that anything else is or reads."""
        return self.tensor(name, array.shape, array.dtype.name, quant, self._buffer(array))

    def _buffer(self, array: Array) -> int:
        flat = np.ascontiguousarray(array).reshape(-1)
        content = _packed(flat, _BITS[array.dtype.name]) if array.dtype.name in _BITS else flat.view(np.uint8)
        digest = hashlib.blake2b(content.data, digest_size=16).digest()
        if digest not in self._contents:
            self.buffers.append(content)
            self._contents[digest] = len(self.buffers) - 1
        return self._contents[digest]

    def operator(self, op: str, inputs: Sequence[int], outputs: Sequence[int], options: dict[str, Any], node: str = "") -> None:
        """Append an operator."""
        self.operators.append(DraftOperator(op, tuple(inputs), tuple(outputs), options, node))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Sizes of a tensor."""
        return self.tensors[tensor].shape

    def stated_shape(self, tensor: int) -> tuple[int | str, ...]:
        """Sizes of a tensor; a question mark for one that turns out when the engine runs."""
        axis = self.tensors[tensor].open_axis
        return tuple("?" if place == axis else size for place, size in enumerate(self.tensors[tensor].shape))

    def dtype(self, tensor: int) -> str:
        """Element type of a tensor, as numpy names it."""
        return self.tensors[tensor].dtype

    def quant(self, tensor: int) -> Quant | None:
        """How a tensor is quantized."""
        return self.tensors[tensor].quant

    def rename(self, tensor: int, name: str) -> None:
        """Call a tensor otherwise, if nobody else is called so."""
        if name not in self._names:
            self._names.discard(self.tensors[tensor].name)
            self._names.add(name)
            self.tensors[tensor].name = name


def _packed(numbers: Array, bits: int) -> Array:
    """Small numbers in bytes, the first in the lowest bits; rows do not begin a byte."""
    each = 8 // bits
    unsigned = numbers.astype(np.int8).astype(np.uint8) & (2**bits - 1)
    filled = np.pad(unsigned, (0, -unsigned.size % each)).reshape(-1, each)
    return np.asarray(np.bitwise_or.reduce(filled << (bits * np.arange(each, dtype=np.uint8)), axis=1), np.uint8)

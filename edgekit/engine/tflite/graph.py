"""The graph between ONNX and TFLite: plain values that no file format knows of.

Every tensor here stands for real numbers. Where ONNX puts QuantizeLinear and DequantizeLinear around one, it carries
a :class:`Quant` instead, which is how TFLite sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quant:
    """Integers that stand for ``scale * (integer - zero_point)``.

    Attributes:
        scale: one value, or one a channel.
        zero_point: as many.
        axis: the channels' axis, where there is more than one scale.
        dtype: the integers of what is computed: int8, or int16 with zero point 0. Constants know their own.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0
    dtype: str = "int8"

    @property
    def is_per_tensor(self) -> bool:
        """Whether one scale holds for everything."""
        return len(self.scale) == 1

    @property
    def is_symmetric(self) -> bool:
        """Whether integer 0 stands for 0.0 everywhere."""
        return not any(self.zero_point)

    @property
    def has_sound_scales(self) -> bool:
        """Whether every scale is finite and above zero in float32, as files store it."""
        with np.errstate(over="ignore", under="ignore"):
            scales = np.asarray(self.scale, np.float32)
        return bool(np.all(np.isfinite(scales) & (scales > 0)))

    def real_range(self) -> tuple[float, float]:
        """The least and the greatest real value that the integers hold at this scale (per tensor)."""
        scale, zero, limits = self.scale[0], self.zero_point[0], np.iinfo(self.dtype)
        return scale * (limits.min - zero), scale * (limits.max - zero)

    def stored(self, number: npt.ArrayLike) -> Array:
        """Real numbers as what is computed stores them (per tensor)."""
        limits = np.iinfo(self.dtype)
        integers = np.rint(np.asarray(number) / self.scale[0]) + self.zero_point[0]
        return np.asarray(np.clip(integers, limits.min, limits.max), self.dtype)

    def along(self, rank: int) -> tuple[F32, F32]:
        """Scale and zero point, shaped to be broadcast over an array of this rank."""
        shape = [1] * rank
        if not self.is_per_tensor:
            shape[self.axis] = len(self.scale)
        elif rank == 0:
            shape = []
        return np.asarray(self.scale, np.float32).reshape(shape), np.asarray(self.zero_point, np.float32).reshape(shape)


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant as the file stores it: float32, float16, or integers with their :class:`Quant`."""

    stored: Array
    quant: Quant | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""
        return self.stored.shape

    def real(self) -> Array:
        """What it stands for: float32, or integers that are no quantized numbers as they are."""
        if self.quant is not None:
            scale, zero_point = self.quant.along(self.stored.ndim)
            return np.asarray((self.stored.astype(np.float32) - zero_point) * scale, dtype=np.float32)
        return self.stored.astype(np.float32) if self.stored.dtype.kind == "f" else self.stored


@dataclass(slots=True)
class Value:
    """A tensor that is computed: its shape and element type in ONNX, and how its numbers are stored."""

    shape: tuple[int | str | None, ...] | None
    dtype: str
    quant: Quant | None = None


@dataclass(slots=True, eq=False)
class Node:
    """One operation.

    Attributes:
        op: as ONNX names it; with its domain where that is not ONNX's own.
        inputs, outputs: names; an empty one stands for what is left out.
        activation: TFLite's name of what is applied to the output on its way.
        integer: whether it is computed in integers.
        dynamic: whether what flows into it is rounded to 8 bits within it, by the range it turns out to have.
        kept_float: whether somebody wants it computed in float, whatever it reads and makes.
    """

    name: str
    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    activation: str = "NONE"
    integer: bool = False
    dynamic: bool = False
    kept_float: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a node cannot be lowered, and what can be done about it."""

    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Selected:
    """Rows of which only some are meant.

    Attributes:
        mask: the value that says which: bool, one a row.
        axis: the axis they lie along.
    """

    mask: str
    axis: int


@dataclass(slots=True)
class Graph:
    """Nodes in an order in which they can be computed.

    Attributes:
        inputs: names of what is handed in.
        outputs: names of what comes out, each with the value that holds it.
        port_dtypes: element types of inputs and outputs, as the source has them.
        selected: values that have more rows here than in the source; see :mod:`edgekit.engine.tflite.selecting`.
    """

    nodes: list[Node]
    values: dict[str, Value]
    constants: dict[str, Constant]
    inputs: list[str]
    outputs: dict[str, str]
    port_dtypes: dict[str, str]
    selected: dict[str, Selected] = field(default_factory=dict)

    def is_constant(self, name: str) -> bool:
        """Whether a name stands for a constant."""
        return name in self.constants

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of a constant or value. Only for graphs of which :func:`unknown_shapes` found none."""
        if name in self.constants:
            return self.constants[name].shape
        shape = self.values[name].shape
        assert shape is not None
        return tuple(int(size) for size in shape if size is not None)

    def quant(self, name: str) -> Quant | None:
        """How a constant or value is quantized."""
        return self.constants[name].quant if name in self.constants else self.values[name].quant

    def computed(self, node: Node) -> list[str]:
        """The node's inputs that are no constants."""
        return [name for name in node.inputs if name and name not in self.constants]

    def consumers(self) -> dict[str, list[Node]]:
        """For each name, the nodes that read it."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def numbers(self, node: Node, index: int) -> Array | None:
        """Input ``index`` of a node as an array if it is given and constant; ``None`` if it is left out.

        Raises:
            NotConstantError: it is computed.
        """
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        constant = self.constants.get(node.inputs[index])
        if constant is None:
            raise NotConstantError(node.inputs[index])
        return constant.real()


class NotConstantError(Exception):
    """An input must be known when the engine is built, and is computed."""


def is_open(graph: Graph, name: str) -> bool:
    """Whether a name's shape is unknown or has a size that is left open."""
    if name in graph.constants:
        return False
    shape = graph.values[name].shape if name in graph.values else None
    return shape is None or any(not isinstance(size, int) for size in shape)

"""Which channels of a graph's tensors may be scaled together without changing what the graph computes.

Every channel of a tensor that is known to carry a scale through has a slot; channels that must be scaled alike (both
sides of an Add, what a ReLU reads and makes) have the same one. What makes a slot's numbers is written down as a writer,
whose constants can be multiplied, what multiplies them with constant weights as a reader, whose weights can be divided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.view import View, attributes
from edgekit.graph.weighted import Weighted, weighted_nodes

if TYPE_CHECKING:
    import onnx

Slots = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Carried:
    """The channels of a tensor: along which axis they lie, and the slot of each."""

    axis: int
    slots: Slots


@dataclass(frozen=True, slots=True)
class Clipped:
    """A Clip to [0, high] between two tensors of the same slots."""

    source: str
    result: str
    high: float


@dataclass(frozen=True, slots=True)
class Flow:
    """What a node that carries scales through makes of a tensor.

    Attributes:
        source, result: the two tensors.
        averaged: how many numbers of the source are averaged into one of the result.
        origin: for each channel of the result, that of the source it comes from, -1 if none; None where both are the same.
    """

    source: str
    result: str
    averaged: int = 1
    origin: Slots | None = None


@dataclass(slots=True)
class Channels:
    """What may be scaled in a graph.

    Attributes:
        carried: by tensor.
        readers: nodes that multiply a tensor's channels with constant weights, as (node, tensor).
        writers: constants that are to be multiplied where a slot is scaled, as (constant, its axis of channels, tensor).
        makers: nodes with constant weights whose output channels can be scaled, as (node, tensor).
        flows: from tensor to tensor, without weights.
        clips: where channels end at a number that scaling must respect.
        captured: tensors that subgraphs read.
    """

    carried: dict[str, Carried] = field(default_factory=dict)
    readers: list[tuple[Weighted, str]] = field(default_factory=list)
    writers: list[tuple[str, int, str]] = field(default_factory=list)
    makers: list[tuple[Weighted, str]] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    clips: list[Clipped] = field(default_factory=list)
    captured: frozenset[str] = frozenset()
    _parents: list[int] = field(default_factory=list)
    _frozen: set[int] = field(default_factory=set)

    def new(self, tensor: str, axis: int, size: int) -> None:
        """Give a tensor slots of its own."""
        first = len(self._parents)
        self._parents.extend(range(first, first + size))
        self.carried[tensor] = Carried(axis, np.arange(first, first + size))

    def join(self, one: Carried, other: Carried) -> None:
        """Let two tensors be scaled alike."""
        for left, right in zip(one.slots.tolist(), other.slots.tolist(), strict=True):
            a, b = self.root(left), self.root(right)
            if a != b:
                self._parents[b] = a
                if b in self._frozen:
                    self._frozen.add(a)

    def freeze(self, tensor: str) -> None:
        """Let a tensor's channels never be scaled."""
        if tensor in self.carried:
            self._frozen.update(self.root(slot) for slot in self.carried[tensor].slots.tolist())

    def root(self, slot: int) -> int:
        """The slot that stands for all that are scaled like this one."""
        while self._parents[slot] != slot:
            self._parents[slot] = self._parents[self._parents[slot]]
            slot = self._parents[slot]
        return slot

    def roots(self, tensor: str) -> Slots:
        """The slots of a tensor's channels, each as the one that stands for it."""
        return np.array([self.root(slot) for slot in self.carried[tensor].slots.tolist()], np.intp)

    def is_frozen(self, roots: Slots) -> NDArray[np.bool_]:
        """Which of these must not be scaled."""
        return np.array([self.root(root) in self._frozen for root in roots.tolist()], np.bool_)


def channels_of(view: View) -> Channels:
    """Walk a graph, all shapes inferred, and find its channels; what is not understood is frozen."""
    walk = _Walk(view)
    for node in view.nodes:
        walk.visit(node)
    for tensor in [*view.outputs, *walk.channels.captured]:
        walk.channels.freeze(tensor)
    return walk.channels


class _Walk:
    def __init__(self, view: View) -> None:
        from edgekit.graph.node import Node

        self.channels = Channels(captured=frozenset(name for node in view.nodes for name in Node(node).captured()))
        self._view = view
        self._weighted = weighted_nodes(view)

    def visit(self, node: onnx.NodeProto) -> None:
        """Carry the channels of what a node reads over to what it makes, or freeze them."""
        data = [name for name in node.input if name and name not in self._view.constants]
        if not data:
            return
        one = self._weighted.get(node.name)
        rule = _RULES.get(node.op_type)
        if one is not None and self._is_own(one.weight):
            is_done = self._product(node, one)
        else:
            is_done = rule is not None and node.domain in ("", "ai.onnx") and rule(self, node, data)
        if not is_done:
            for name in data:
                self.channels.freeze(name)

    def _is_own(self, constant: str) -> bool:
        return len(self._view.readers(constant)) == 1 and constant not in self._view.outputs and constant not in self.channels.captured

    def _sizes(self, tensor: str) -> tuple[int, ...] | None:
        """All sizes of a tensor, if they are known; an open batch counts as 1."""
        shape = self._view.shape(tensor)
        if shape is None:
            return None
        sizes = [1 if at == 0 and not isinstance(size, int) else size for at, size in enumerate(shape)]
        return tuple(size for size in sizes if isinstance(size, int)) if all(isinstance(size, int) for size in sizes) else None

    def _product(self, node: onnx.NodeProto, one: Weighted) -> bool:
        sizes, made = self._view.shape(one.input), self._view.shape(node.output[0])
        if sizes is None or made is None:
            return False
        axis = 1 if one.window is not None else len(sizes) - 1
        held = self.channels.carried.get(one.input)
        if held is not None and held.axis == axis:
            self.channels.readers.append((one, one.input))
        else:
            self.channels.freeze(one.input)
        made_axis = 1 if one.window is not None else len(made) - 1
        if isinstance(made[made_axis], int) and (one.bias is None or one.bias_adder is not None or self._is_own(one.bias)):
            self.channels.new(node.output[0], made_axis, int(made[made_axis]))
            self.channels.makers.append((one, node.output[0]))
        return True

    def _passes(self, source: str, result: str, axis: int | None = None, *, averaged: int = 1, times: int = 1) -> bool:
        """Let ``result`` have the channels of ``source`` if it has any, perhaps along another axis, each perhaps several times."""
        held = self.channels.carried.get(source)
        if held is not None:
            self.channels.carried[result] = Carried(held.axis if axis is None else axis, np.repeat(held.slots, times))
            origin = np.repeat(np.arange(len(held.slots)), times) if times > 1 else None
            self.channels.flows.append(Flow(source, result, averaged, origin))
        return True

    def same(self, node: onnx.NodeProto, data: list[str]) -> bool:
        """A node that is positively homogeneous in each element."""
        return self._passes(data[0], node.output[0])

    def clip(self, node: onnx.NodeProto, data: list[str]) -> bool:
        bounds = [self._scalar(node, at, far) for at, far in ((1, -math.inf), (2, math.inf))]
        if bounds[0] != 0.0 or bounds[1] is None or data[0] not in self.channels.carried:
            return False
        if math.isfinite(bounds[1]):
            self.channels.clips.append(Clipped(data[0], node.output[0], bounds[1]))
        return self._passes(data[0], node.output[0])

    def _scalar(self, node: onnx.NodeProto, at: int, missing: float) -> float | None:
        if len(node.input) <= at or not node.input[at]:
            return missing
        return float(self._view.value(node.input[at]).reshape(())) if node.input[at] in self._view.constants else None

    def pool(self, node: onnx.NodeProto, data: list[str]) -> bool:
        """Pooling over what lies behind axis 1."""
        held = self.channels.carried.get(data[0])
        if held is not None and held.axis != 1:
            return False
        sizes, made = self._sizes(data[0]), self._sizes(node.output[0])
        averaged = math.prod(sizes) // max(math.prod(made), 1) if sizes and made and "Max" not in node.op_type else 1
        return self._passes(data[0], node.output[0], averaged=max(averaged, 1))

    def reduce(self, node: onnx.NodeProto, data: list[str]) -> bool:
        held, sizes = self.channels.carried.get(data[0]), self._sizes(data[0])
        if held is None or sizes is None or len(node.input) < 2 or node.input[1] not in self._view.constants:
            return held is None
        axes = {int(axis) % len(sizes) for axis in self._view.value(node.input[1]).reshape(-1)}
        if held.axis in axes or not axes:
            return False
        gone = 0 if attributes(node).get("keepdims", 1) else sum(axis < held.axis for axis in axes)
        averaged = math.prod(sizes[axis] for axis in axes) if node.op_type == "ReduceMean" else 1
        return self._passes(data[0], node.output[0], held.axis - gone, averaged=averaged)

    def resize(self, node: onnx.NodeProto, data: list[str]) -> bool:
        held, sizes, made = self.channels.carried.get(data[0]), self._sizes(data[0]), self._sizes(node.output[0])
        if held is None:
            return True
        has = attributes(node)
        is_linear = has.get("coordinate_transformation_mode", b"") != b"tf_crop_and_resize"
        return is_linear and sizes is not None and made is not None and sizes[held.axis] == made[held.axis] and self._passes(data[0], node.output[0])

    def pad(self, node: onnx.NodeProto, data: list[str]) -> bool:
        value = self._scalar(node, 2, 0.0)
        is_zero = value == 0.0 or attributes(node).get("mode", b"constant") != b"constant"
        return is_zero and len(node.input) < 4 and self.resize(node, data)

    def transpose(self, node: onnx.NodeProto, data: list[str]) -> bool:
        held = self.channels.carried.get(data[0])
        if held is None:
            return True
        order = list(attributes(node).get("perm", range(len(self._view.shape(data[0]) or ()))[::-1]))
        return self._passes(data[0], node.output[0], order.index(held.axis))

    def reshape(self, node: onnx.NodeProto, data: list[str]) -> bool:
        """The channel axis stays an axis of its own, or takes in axes behind it."""
        held, sizes, made = self.channels.carried.get(data[0]), self._sizes(data[0]), self._sizes(node.output[0])
        if held is None:
            return True
        if sizes is None or made is None or math.prod(sizes) != math.prod(made):  # an open batch may have taken in other axes
            return False
        before, size = math.prod(sizes[: held.axis]), sizes[held.axis]
        for axis, length in enumerate(made):
            if math.prod(made[:axis]) == before and length % size == 0 and length >= size:
                behind = length // size
                if behind == 1 or behind == math.prod(sizes[held.axis + 1 : held.axis + 1 + _axes_of(sizes[held.axis + 1 :], behind)]):
                    return self._passes(data[0], node.output[0], axis, times=behind)
        return False

    def add(self, node: onnx.NodeProto, data: list[str]) -> bool:
        held = [self.channels.carried.get(name) for name in data]
        if len(data) == 2:
            left, right = held
            if left is None or right is None or left.axis != right.axis or self._view.shape(data[0]) != self._view.shape(data[1]):
                return False
            self.channels.join(left, right)
            self._passes(data[0], node.output[0])
            return self._passes(data[1], node.output[0])
        constants = [name for name in node.input if name in self._view.constants]
        if len(data) != 1 or len(constants) != 1 or held[0] is None:
            return False
        axis = self._constant_axis(constants[0], data[0], held[0])
        if axis is None or not self._is_own(constants[0]):
            return False
        self.channels.writers.append((constants[0], axis, data[0]))
        return self._passes(data[0], node.output[0])

    def _constant_axis(self, constant: str, tensor: str, held: Carried) -> int | None:
        """Along which axis of a constant added to a tensor its channels lie; None if it has no entry for each."""
        rank, dims = len(self._view.shape(tensor) or ()), list(self._view.constants[constant].dims)
        axis = held.axis - (rank - len(dims))
        return axis if len(dims) <= rank and 0 <= axis < len(dims) and dims[axis] == len(held.slots) else None

    def multiply(self, node: onnx.NodeProto, data: list[str]) -> bool:
        """One of the factors carries its channels on, the other is left as it is."""
        if len(data) == 1:
            is_divisor = node.op_type == "Div" and data[0] == node.input[1]
            return not is_divisor and self._view.shape(data[0]) == self._view.shape(node.output[0]) and self.same(node, data)
        whole = [name for name in data if name in self.channels.carried and self._view.shape(name) == self._view.shape(node.output[0])]
        if node.op_type == "Div":
            whole = [name for name in whole if name == node.input[0]]
        if not whole or data[0] == data[1]:
            return False
        for name in data:
            if name != whole[0]:
                self.channels.freeze(name)
        return self._passes(whole[0], node.output[0])

    def concat(self, node: onnx.NodeProto, data: list[str]) -> bool:
        held = [self.channels.carried.get(name) for name in data]
        shape = self._view.shape(node.output[0])
        if shape is None or len(data) != len(node.input) or len({one.axis for one in held if one is not None}) != 1:
            return False
        known = [one for one in held if one is not None]
        if len(known) != len(data):
            return False
        axis = int(attributes(node)["axis"]) % len(shape)
        if axis == known[0].axis:
            self.channels.carried[node.output[0]] = Carried(axis, np.concatenate([one.slots for one in known]))
            ends = np.cumsum([len(one.slots) for one in known])
            for name, one, end in zip(data, known, ends.tolist(), strict=True):
                origin = np.full(int(ends[-1]), -1)
                origin[end - len(one.slots) : end] = np.arange(len(one.slots))
                self.channels.flows.append(Flow(name, node.output[0], 1, origin))
            return True
        for name, one in zip(data, known, strict=True):
            self.channels.join(known[0], one)
            self._passes(name, node.output[0])
        return True

    def normalize(self, node: onnx.NodeProto, data: list[str]) -> bool:
        """A LayerNormalization: what it reads must stay, what it makes can be scaled by its own scale and bias."""
        shape = self._view.shape(node.output[0])
        constants = [name for name in node.input[1:3] if name]
        is_last = shape is not None and int(attributes(node).get("axis", -1)) % len(shape) == len(shape) - 1
        self.channels.freeze(data[0])
        if shape is None or not is_last or not all(name in self._view.constants and self._is_own(name) for name in constants):
            return True
        if len(data) == 1 and all(list(self._view.constants[name].dims) == [shape[-1]] for name in constants):
            self.channels.new(node.output[0], len(shape) - 1, self._view.constants[constants[0]].dims[0])
            self.channels.writers += [(name, 0, node.output[0]) for name in constants]
        return True


def _axes_of(sizes: tuple[int, ...], product: int) -> int:
    """How many of the first sizes multiply up to ``product``, if they do."""
    reached = 1
    for count, size in enumerate(sizes, start=1):
        reached *= size
        if reached == product:
            return count
    return 0


_Rule = Callable[[_Walk, Any, list[str]], bool]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "Identity", "Dropout"), _Walk.same),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _Walk.pool),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum"), _Walk.reduce),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _Walk.reshape),
    **dict.fromkeys(("Mul", "Div"), _Walk.multiply),
    "Add": _Walk.add,
    "Clip": _Walk.clip,
    "Concat": _Walk.concat,
    "LayerNormalization": _Walk.normalize,
    "Pad": _Walk.pad,
    "Resize": _Walk.resize,
    "Transpose": _Walk.transpose,
}

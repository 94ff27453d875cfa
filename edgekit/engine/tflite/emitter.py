"""What lowerings write with: tensors in the order and precision they ask for, and operators.

A lowering asks for its inputs by :meth:`Emitter.read` and for its output by :meth:`Emitter.write`, each in the order it
computes in. Where that is not how the tensor is stored, or integers meet real numbers, the emitter puts Transpose,
Quantize and Dequantize between them, once for all that need the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.engine.tflite.draft import Draft
from edgekit.engine.tflite.graph import Array, Constant, Graph, Node, Quant
from edgekit.engine.tflite.orders import Order, arranged, permutation, plain, same_memory, stored_shape

_INDEX_TYPES = frozenset({"bool", "int32", "int64"})


class Emitter:
    """Lowers one graph into one draft.

    Args:
        graph: all shapes known, integers decided.
        orders: the order in which each value is stored.
        draft: what is written to.
        npu: whether it is for a processor with few operators, see :class:`TfliteOptions`.
    """

    def __init__(self, graph: Graph, orders: Mapping[str, Order], draft: Draft, *, npu: bool = False) -> None:
        self.graph = graph
        self.npu = npu
        self.orders = orders
        self.draft = draft
        self._have: dict[tuple[str, Order, bool], int] = {}
        self._pending: list[tuple[str, Order, Quant | None, int]] = []
        self._node = ""

    def order(self, name: str) -> Order:
        """The order in which a value is stored; ONNX's own for a constant."""
        return self.orders[name] if name in self.orders else plain(len(self.graph.shape(name)))

    def lower(self, node: Node, lowering: Callable[[Node, Emitter], None]) -> None:
        """Lower one node, then bring what it wrote into the form its readers expect."""
        self._node = node.name
        lowering(node, self)
        for name, order, quant, tensor in self._pending:
            self._store(name, order, quant, tensor)
        self._pending.clear()
        self._node = ""

    def read(self, node: Node, index: int = 0, order: Order | None = None) -> int:
        """The tensor of a computed input, in integers if the node computes in them.

        Args:
            node: the reader.
            index: which of its inputs.
            order: the order wanted; as stored, if none is given.
        """
        name = node.inputs[index]
        return self.value(name, order or self.order(name), real=not node.integer)

    def value(self, name: str, order: Order, *, real: bool) -> int:
        """The tensor of a value in this order, as float32 or as it is stored."""
        if self.graph.is_constant(name):
            return self._constant_value(name, order, real=real)
        real = real and self.graph.values[name].quant is not None
        key = (name, order, real)
        if key not in self._have:
            if order != self.order(name):
                source = self.value(name, self.order(name), real=False)
                self._have[name, order, False] = self.reordered(source, name, self.order(name), order)
            if real:
                self._have[key] = self.dequantized(self._have[name, order, False], name)
        return self._have[key]

    def _constant_value(self, name: str, order: Order, *, real: bool) -> int:
        constant = self.graph.constants[name]
        array, quant = (constant.real(), None) if real else (constant.stored, constant.quant)
        return self.constant(name, arranged(array, order), quant)

    def provide(self, name: str, tensor: int, order: Order, quant: Quant | None) -> None:
        """Say which tensor holds a value that no node computes."""
        self._store(name, order, quant, tensor)

    def write(self, node: Node, order: Order | None = None, *, index: int = 0, quant: Quant | None = None) -> int:
        """A tensor for an output.

        Args:
            node: the writer.
            order: the order it is computed in; as it shall be stored, if none is given.
            index: which of its outputs.
            quant: the scale that the operation must write at; the output's own, if none is given.
        """
        name = node.outputs[index]
        order = order or self.order(name)
        wanted = self.graph.values[name].quant
        given = (quant or wanted) if node.integer else None
        suffix = "" if order == self.order(name) and given == wanted else "_raw"
        tensor = self.temporary(name + suffix, stored_shape(self.graph.shape(name), order), given, None if given else self._plain_type(name))
        self._pending.append((name, order, given, tensor))
        return tensor

    def _plain_type(self, name: str) -> str:
        """The element type of a value that is no quantized number."""
        value = self.graph.values[name]
        return value.dtype if value.quant is None and value.dtype in _INDEX_TYPES else "float32"

    def _store(self, name: str, order: Order, quant: Quant | None, tensor: int) -> None:
        wanted, home = self.graph.values[name].quant, self.order(name)
        if wanted not in (None, quant):
            rounded = self.temporary(f"{name}_quantized", self.draft.shape(tensor), wanted)
            self.add("QUANTIZE", [tensor], [rounded])
            tensor = rounded
        self._have[name, order, False] = tensor
        if order != home:
            tensor = self._have[name, home, False] = self.reordered(tensor, name, order, home)
        self.draft.rename(tensor, name)

    def temporary(self, name: str, shape: Sequence[int], quant: Quant | None = None, dtype: str | None = None) -> int:
        """A tensor that is computed: integers if it has a scale, float32 otherwise."""
        return self.draft.tensor(name, shape, dtype or (quant.dtype if quant else "float32"), quant)

    def like(self, tensor: int, name: str, shape: Sequence[int]) -> int:
        """A tensor of another shape that holds numbers as ``tensor`` does."""
        return self.temporary(name, shape, self.draft.quant(tensor), self.draft.dtype(tensor))

    def dequantized(self, tensor: int, name: str) -> int:
        """An integer tensor as float32."""
        result = self.temporary(f"{name}_real", self.draft.shape(tensor))
        self.add("DEQUANTIZE", [tensor], [result])
        return result

    def reordered(self, tensor: int, name: str, one: Order, other: Order) -> int:
        """A tensor stored in one order, in the other. Flattened pictures are read by none that would ask for this."""
        assert not one.picture
        assert not other.picture
        shape = self.graph.shape(name)
        target = stored_shape(shape, other)
        if same_memory(shape, one, other):
            return self.reshaped(tensor, f"{name}_reshaped", target)
        return self.transposed(tensor, f"{name}_transposed", permutation(one, other))

    def reshaped(self, tensor: int, name: str, shape: Sequence[int]) -> int:
        """A tensor in another shape; itself if that is its shape."""
        if self.draft.shape(tensor) == tuple(shape):
            return tensor
        result = self.like(tensor, name, shape)
        self.reshape(tensor, result)
        return result

    def reshape(self, tensor: int, result: int) -> None:
        """Copy a tensor into one of another shape."""
        shape = self.draft.shape(result)
        self.add("RESHAPE", [tensor, self.integers("shape", shape)], [result], newShape=list(shape))

    def transposed(self, tensor: int, name: str, by: Sequence[int]) -> int:
        """A tensor with its axes in another sequence."""
        result = self.like(tensor, name, [self.draft.shape(tensor)[axis] for axis in by])
        self.add("TRANSPOSE", [tensor, self.integers("permutation", by)], [result])
        return result

    def chosen(self, tensor: int, name: str, mask: str, axis: int) -> int:
        """What a mask chooses along an axis; how much that is turns out when the engine runs."""
        key = (f"{mask}:places", plain(1), True)
        if key not in self._have:
            rows = self.draft.shape(self.value(mask, plain(1), real=True))[0]
            column = self._open(self.temporary(f"{mask}_places", (rows, 1), dtype="int64"), 0)
            self.add("WHERE", [self.value(mask, plain(1), real=True)], [column])
            self._have[key] = self._open(self.temporary(f"{mask}_places", (rows,), dtype="int64"), 0)
            self.add("RESHAPE", [column, self.integers("shape", [-1])], [self._have[key]], newShape=[-1])
        result = self._open(self.like(tensor, name, self.draft.shape(tensor)), axis)
        self.add("GATHER", [tensor, self._have[key]], [result], axis=axis, batchDims=0)
        return result

    def _open(self, tensor: int, axis: int) -> int:
        self.draft.tensors[tensor].open_axis = axis
        return tensor

    def integers(self, name: str, numbers: Sequence[int] | Array) -> int:
        """An int32 constant, such as axes or a shape."""
        return self.draft.constant(name, np.asarray(numbers, dtype=np.int32))

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> int:
        """A constant tensor; those alike are one."""
        return self.draft.constant(name, array, quant)

    def number(self, node: Node, index: int, order: Order) -> int:
        """A constant operand in this order, float32 or, for an integer node, at its own scale."""
        constant = self.arranged(node, index, order)
        return self.constant(node.inputs[index], constant.stored, constant.quant)

    def arranged(self, node: Node, index: int, order: Order) -> Constant:
        """A constant operand as :meth:`number` stores it; a single number has no axes."""
        constant = self.graph.constants[node.inputs[index]]
        array = constant.stored if node.integer else constant.real()
        if array.size == 1:
            array = array.reshape(())
        elif array.ndim:
            array = arranged(array.reshape((1,) * (len(order.axes) - array.ndim) + array.shape), order)
        return Constant(array, constant.quant if node.integer else None)

    def weights(self, node: Node, index: int, arrange: Callable[[Array], Array], axis: int = 0) -> int:
        """A constant that a convolution or matrix product multiplies by.

        Stored as the model stores it: of float16, and of integers in a node that computes in float32, a Dequantize makes
        float32, which the runtime does once. A node that rounds what flows into it reads int8 as it is.

        Args:
            node: the reader.
            index: which of its inputs.
            arrange: from ONNX's arrangement to TFLite's.
            axis: TFLite's axis of output channels, where there is a scale for each.
        """
        name = node.inputs[index]
        constant = self.graph.constants[name]
        quant = constant.quant and Quant(constant.quant.scale, constant.quant.zero_point, 0 if constant.quant.is_per_tensor else axis)
        arranged = Constant(np.ascontiguousarray(arrange(constant.stored)), quant)
        return self.constant(name, arranged.stored, quant) if node.dynamic else self.multiplied(node, name, arranged)

    def multiplied(self, node: Node, name: str, constant: Constant) -> int:
        """Weights in TFLite's arrangement as a tensor; see :meth:`weights`."""
        tensor = self.constant(name, np.ascontiguousarray(constant.stored), constant.quant)
        if node.integer or (constant.quant is None and constant.stored.dtype != np.float16):
            return tensor
        key = (f"{name}:{tensor}", plain(0), True)
        if key not in self._have:
            self._have[key] = self.dequantized(tensor, name)
        return self._have[key]

    def add(self, op: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> None:
        """Append an operator; ``options`` are the fields of its options table as TFLite's schema names them."""
        self.draft.operator(op, inputs, outputs, options, self._node)

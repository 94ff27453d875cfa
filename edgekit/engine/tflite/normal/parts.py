"""Nodes that together compute what one node did, written down like formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekit.engine.tflite.graph import Array, Constant, Graph, Node, Value

Operand = str | float

_TRUTHS = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"})
_FOLDED: dict[str, Callable[..., Array]] = {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract}


class Parts:
    """What stands in for a node; its names begin with that of the node's first output.

    Args:
        node: the node that goes.
        graph: gets the values and constants in between.
    """

    def __init__(self, node: Node, graph: Graph) -> None:
        self.node = node
        self.graph = graph
        self.nodes: list[Node] = []
        self._prefix = next(filter(None, node.outputs))
        self._count = 0

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of a value or constant."""
        return self.graph.shape(name)

    def dtype(self, name: str) -> str:
        """Element type of a value or constant; float32 where nothing else is known."""
        if self.graph.is_constant(name):
            return self.graph.constants[name].real().dtype.name
        return self.graph.values[name].dtype if self.graph.values[name].quant is None else "float32"

    def constant(self, array: Array | float, dtype: str = "float32") -> str:
        """The name of a new constant."""
        name = self._name("constant")
        self.graph.constants[name] = Constant(np.asarray(array, dtype))
        return name

    def add(self, op: str, *inputs: Operand, into: int | None = None, shape: Sequence[int] | None = None, dtype: str = "", **attrs: Any) -> str:
        """Append a node.

        Args:
            op: as ONNX names it.
            inputs: names, or numbers, which get the type of the first name.
            into: which of the node's own outputs it writes; a value of its own if not given.
            shape: of its output; that which the inputs are broadcast to, if not given.
            dtype: of its output; that of the first name, or bool where ``op`` says so, if not given.
            attrs: of the node.

        Returns:
            The name of its output; that of a constant where sums and products of constants are known at once.
        """
        given = [name for name in inputs if isinstance(name, str) and name]
        kind = self.dtype(given[0]) if given else "float32"
        names = [one if isinstance(one, str) else self.constant(one, kind) for one in inputs]
        if into is None and op in _FOLDED and all(self.graph.is_constant(name) for name in names):
            return self.constant(_FOLDED[op](*(self.graph.constants[name].real() for name in names)), kind)
        if into is None:
            sizes = np.broadcast_shapes(*(self.shape(name) for name in names if name)) if shape is None else tuple(int(size) for size in shape)
            result = self._name("part")
            self.graph.values[result] = Value(sizes, dtype or ("bool" if op in _TRUTHS else kind))
        else:
            result = self.node.outputs[into]
        label = self.node.name if into == 0 else f"{self.node.name}_{len(self.nodes) + 1}"
        self.nodes.append(Node(label, op, names, [result], attrs, dynamic=self.node.dynamic and op in ("MatMul", "Gemm", "Conv")))
        return result

    def beside(self, *, shape: Sequence[int], dtype: str) -> str:
        """A further output of the node that was appended last."""
        result = self._name("part")
        self.graph.values[result] = Value(tuple(shape), dtype)
        self.nodes[-1].outputs.append(result)
        return result

    def where(self, condition: Operand, yes: Operand, no: Operand, into: int | None = None) -> str:
        """``yes`` where the condition holds, ``no`` elsewhere."""
        kind = next((self.dtype(one) for one in (yes, no) if isinstance(one, str)), "float32")
        sides = [one if isinstance(one, str) else self.constant(one, kind) for one in (yes, no)]
        return self.add("Where", condition, *sides, into=into, dtype=kind)

    def reduce(self, op: str, name: str, axes: Sequence[int], *, keepdims: bool = True, into: int | None = None) -> str:
        """A reduction over these axes, counted from 0."""
        sizes = [1 if axis in axes else size for axis, size in enumerate(self.shape(name)) if keepdims or axis not in axes]
        return self.add(op, name, self.constant(np.array(axes), "int64"), into=into, shape=sizes, keepdims=int(keepdims))

    def reshape(self, name: str, sizes: Sequence[int], into: int | None = None) -> str:
        """The same elements in another shape; a constant at once."""
        if into is None and self.graph.is_constant(name):
            return self.constant(self.graph.constants[name].real().reshape(tuple(sizes)), self.dtype(name))
        return self.add("Reshape", name, self.constant(np.array(sizes), "int64"), into=into, shape=sizes)

    def transpose(self, name: str, by: Sequence[int], into: int | None = None) -> str:
        """Axes in another sequence; itself if it is the same, and not to be written into an output; a constant at once."""
        if into is None and self.graph.is_constant(name):
            return self.constant(self.graph.constants[name].real().transpose(by), self.dtype(name))
        if into is None and list(by) == list(range(len(by))):
            return name
        return self.add("Transpose", name, into=into, shape=[self.shape(name)[axis] for axis in by], perm=list(by))

    def concat(self, names: Sequence[str], axis: int, into: int | None = None) -> str:
        """Put one after another along an axis, counted from 0; itself if it is one, and not to be written into an output."""
        if len(names) == 1:
            return names[0] if into is None else self.add("Identity", names[0], into=into)
        sizes = list(self.shape(names[0]))
        sizes[axis] = sum(self.shape(name)[axis] for name in names)
        return self.add("Concat", *names, into=into, shape=sizes, axis=axis)

    def slice(self, name: str, axis: int, first: int, end: int, step: int = 1) -> str:
        """A range along one axis, counted from 0, as ONNX's Slice takes it."""
        sizes = list(self.shape(name))
        sizes[axis] = len(range(*slice(first, end, step).indices(sizes[axis])))
        numbers = [self.constant(np.array([number]), "int64") for number in (first, end, axis, step)]
        return self.add("Slice", name, *numbers, shape=sizes)

    def take(self, name: str, indices: Array, axis: int, into: int | None = None) -> str:
        """These places along an axis, both counted from 0."""
        sizes = list(self.shape(name))
        sizes[axis : axis + 1] = indices.shape
        return self.add("Gather", name, self.constant(indices, "int64"), into=into, shape=sizes, axis=axis)

    def split(self, name: str, axis: int, sizes: Sequence[int]) -> list[str]:
        """Parts along an axis, counted from 0."""
        if len(sizes) == 1:
            return [name]
        whole, kind = self.shape(name), self.dtype(name)
        results = [self._name("part") for _ in sizes]
        for result, size in zip(results, sizes, strict=True):
            self.graph.values[result] = Value((*whole[:axis], size, *whole[axis + 1 :]), kind)
        inputs = [name, self.constant(np.array(sizes), "int64")]
        self.nodes.append(Node(f"{self.node.name}_{len(self.nodes) + 1}", "Split", inputs, results, {"axis": axis}))
        return results

    def cast(self, name: str, dtype: str, into: int | None = None) -> str:
        """The same numbers in another type."""
        if into is None and self.dtype(name) == dtype:
            return name
        return self.add("Cast", name, into=into, dtype=dtype)

    def _name(self, what: str) -> str:
        """A name that nothing has, not even what stood in for the node before, if one of its parts is rewritten itself."""
        while True:
            self._count += 1
            name = f"{self._prefix}_{what}_{self._count}"
            if name not in self.graph.values and name not in self.graph.constants:
                return name

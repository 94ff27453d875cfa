"""A graph under the knife: who makes a tensor, who uses it, what is constant; nodes go and come.

A small editor over plain protobuf. onnx-ir was tried here: importing it costs 0.5 CPU seconds and 35 MB (it brings
sympy), which is a quarter of what a whole conversion may cost; the rewrites of this package need no more than this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.node import Node, in_order

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int | str, ...]


class Graph:
    """The main graph of a model that is being rewritten.

    Tensors that subgraphs capture, and outputs of the graph, are ``pinned``: rules leave them and their names alone.

    Args:
        proto: the model, shapes inferred; it is left alone, :meth:`finish` makes a new one.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto
        graph = proto.graph
        self.nodes: list[Node] = [Node(node) for node in graph.node]
        self.inputs: tuple[str, ...] = tuple(value.name for value in graph.input)
        self.outputs: tuple[str, ...] = tuple(value.name for value in graph.output)
        self._tensors: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self._arrays: dict[str, Array] = {}
        self._makers: dict[str, Node] = {name: node for node in self.nodes for name in node.outputs if name}
        self._users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                self._users.setdefault(name, []).append(node)
        self.pinned: set[str] = set(self.outputs).union(*(node.captured() for node in self.nodes))
        self._types: dict[str, tuple[int, Shape | None]] = {
            value.name: _type_of(value) for values in (graph.value_info, graph.input, graph.output) for value in values
        }
        self._taken = {*self._makers, *self._tensors, *self.inputs, *self._types}
        self._removed: set[Node] = set()

    # --- what is there

    def maker(self, name: str, *ops: str) -> Node | None:
        """The node that makes a tensor, if one does and, where ``ops`` are given, it is one of them."""
        node = self._makers.get(name)
        return node if node and (not ops or node.op in ops) else None

    def users(self, name: str) -> list[Node]:
        """Nodes that use a tensor, one entry a use."""
        return list(self._users.get(name, ()))

    def alone(self, name: str) -> bool:
        """Whether a tensor has exactly one use and nobody outside sees it, so that it may go."""
        return len(self._users.get(name, ())) == 1 and name not in self.pinned

    def next(self, node: Node, *ops: str) -> Node | None:
        """The only user of a node's first output, if nobody outside sees that and it is one of ``ops``."""
        name = node.outputs[0]
        if not self.alone(name):
            return None
        user = self._users[name][0]
        return user if not ops or user.op in ops else None

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is an initializer that nobody can override."""
        return name in self._tensors and name not in self.inputs

    def constant(self, name: str) -> Array | None:
        """The values of a constant; None if it is none. Not to be written to."""
        if not self.is_constant(name):
            return None
        if name not in self._arrays:
            import onnx

            array = onnx.numpy_helper.to_array(self._tensors[name])
            array.setflags(write=False)
            self._arrays[name] = array
        return self._arrays[name]

    def scalar(self, name: str) -> float | None:
        """The value of a constant that has one element; None for anything else."""
        array = self.constant(name)
        return float(array.reshape(())) if array is not None and array.size == 1 and array.dtype.kind in "fiu" else None

    def shape(self, name: str) -> Shape | None:
        """Sizes of a tensor, words for open ones; None if not even the rank is known."""
        if name in self._tensors:
            return tuple(self._tensors[name].dims)
        return self._types.get(name, (0, None))[1]

    def rank(self, name: str) -> int | None:
        """Number of axes, if known."""
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def static_shape(self, name: str) -> tuple[int, ...] | None:
        """Sizes of a tensor, if all are known."""
        shape = self.shape(name)
        if shape is None:
            return None
        sizes = tuple(size for size in shape if isinstance(size, int))
        return sizes if len(sizes) == len(shape) else None

    def elem_type(self, name: str) -> int:
        """ONNX's number of the element type; 0 if it is not known."""
        if name in self._tensors:
            return int(self._tensors[name].data_type)
        return self._types.get(name, (0, None))[0]

    def walk(self, *ops: str) -> Iterator[Node]:
        """Nodes in order, those made or removed meanwhile left out; of these operators only, if some are given."""
        for node in list(self.nodes):
            if node not in self._removed and (not ops or node.op in ops):
                yield node

    def count(self) -> dict[str, int]:
        """Nodes by operator, by name."""
        return dict(sorted(Counter(node.op for node in self.walk()).items()))

    def in_order(self, nodes: Collection[Node]) -> list[Node]:
        """These nodes, sorted as the graph has them."""
        return [node for node in self.nodes if node in nodes]

    def is_closed(self, nodes: Collection[Node], output: str) -> bool:
        """Whether what these nodes make is used by themselves alone, but for ``output``."""
        inner = {name for node in nodes for name in node.outputs} - {output}
        return not inner & self.pinned and all(user in nodes for name in inner for user in self.users(name))

    # --- what can be done

    def unused_name(self, like: str) -> str:
        """A tensor name that is not taken: ``like`` itself, or with the first number that makes it new."""
        name, number = like, 0
        while name in self._taken:
            number += 1
            name = f"{like}_{number}"
        self._taken.add(name)
        return name

    def add_constant(self, array: Array, like: str) -> str:
        """Put a new initializer into the graph.

        Args:
            array: its values.
            like: the name to take if it is free.

        Returns:
            Its name.
        """
        name = self.unused_name(like)
        self._set_constant(name, array)
        return name

    def name_constant(self, name: str, array: Array) -> None:
        """Let these values be the tensor of that name, which has just lost its maker."""
        self._set_constant(name, array)

    def _set_constant(self, name: str, array: Array) -> None:
        import onnx

        self._arrays[name] = array
        self._tensors[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)

    def set_constant_input(self, node: Node, index: int, array: Array, like: str = "") -> None:
        """Let a node's input be these values; the initializer keeps its name if nobody else uses it."""
        name = node.input(index)
        if name and self.is_constant(name) and self.alone(name):
            self._set_constant(name, array)
            return
        self.set_input(node, index, self.add_constant(array, name or like))

    def set_input(self, node: Node, index: int, name: str) -> None:
        """Let a node's input be another tensor, those before it left out if it has not so many."""
        node.inputs += [""] * (index + 1 - len(node.inputs))
        old = node.inputs[index]
        if old:
            self._users[old].remove(node)
        node.inputs[index] = name
        if name:
            self._users.setdefault(name, []).append(node)

    def set_attributes(self, node: Node, **values: Any) -> None:
        """Set attributes, or unset those given as None."""
        import onnx

        for name, value in values.items():
            if value is None:
                node.attributes.pop(name, None)
            else:
                node.attributes[name] = onnx.helper.make_attribute(name, value)

    def add(self, op: str, inputs: Sequence[str], output: str | tuple[str, ...], *, before: Node, **attributes: Any) -> Node:
        """Make a node whose outputs are new or have just lost their maker.

        Args:
            op: operator type.
            inputs: tensor names.
            output: name of what it makes, or names.
            before: its place is in front of this node.
            **attributes: plain values.
        """
        import onnx

        outputs = [output] if isinstance(output, str) else [*output]
        node = Node(onnx.helper.make_node(op, list(inputs), outputs, name=outputs[0], **attributes))
        self.nodes.insert(self.nodes.index(before), node)
        for name in node.inputs:
            self._users.setdefault(name, []).append(node)
        for name in node.outputs:
            self._makers[name] = node
            self._taken.add(name)
        return node

    def remove(self, *nodes: Node) -> None:
        """Take nodes out. What they made must get a new maker, or have no user left, before the graph is finished."""
        for node in nodes:
            self._removed.add(node)
            for name in node.inputs:
                self._users[name].remove(node)
            for name in node.outputs:
                if self._makers.get(name) is node:
                    del self._makers[name]

    def replace(self, old: Iterable[Node], op: str, inputs: Sequence[str], output: str, **attributes: Any) -> Node:
        """One node in the place of several, the last of which made ``output``."""
        gone = list(old)
        node = self.add(op, inputs, output, before=gone[-1], **attributes)
        self.remove(*gone)
        self._makers[output] = node
        return node

    def take_output(self, node: Node, successor: Node) -> None:
        """Let ``node`` make what ``successor`` made, and take ``successor`` out: it has been folded into ``node``."""
        output = successor.outputs[0]
        self.remove(successor)
        old = node.outputs[0]
        node.outputs[0] = output
        self._makers.pop(old, None)
        self._makers[output] = node

    def redirect(self, old: str, new: str) -> None:
        """Let all nodes that use ``old`` use ``new``; subgraphs and outputs of the graph still mean ``old``."""
        for user in self._users.pop(old, []):
            for index, name in enumerate(user.inputs):
                if name == old:
                    user.inputs[index] = new
                    self._users.setdefault(new, []).append(user)

    def can_bypass(self, node: Node, source: str) -> bool:
        """Whether a node whose first output equals its input ``source`` can be taken out, names of outputs kept.

        It has to stay if it connects an input, a constant or a pinned tensor with a pinned tensor.
        """
        output = node.outputs[0]
        if output not in self.pinned:
            return True
        return source in self._makers and source not in self.pinned and not self._is_captured(output)

    def bypass(self, node: Node, source: str) -> None:
        """Take out a node whose first output equals its input ``source``; :meth:`can_bypass` must hold."""
        output = node.outputs[0]
        self.remove(node)
        if output not in self.pinned:
            self.redirect(output, source)
            return
        maker = self._makers.pop(source)
        self.redirect(source, output)
        maker.outputs[maker.outputs.index(source)] = output
        self._makers[output] = maker

    def rename_output(self, node: Node, old: str, new: str) -> None:
        """Let a node's output have another, new name; who uses the old one is left without a maker."""
        node.outputs[node.outputs.index(old)] = new
        del self._makers[old]
        self._makers[new] = node
        self._taken.add(new)

    def sweep(self, node: Node) -> None:
        """Take out a node that nobody uses any more, and those that only it used."""
        waiting = [node]
        while waiting:
            unused = waiting.pop()
            if unused in self._removed or any(name in self.pinned or self._users.get(name) for name in unused.outputs if name):
                continue
            waiting += [maker for name in unused.inputs if (maker := self._makers.get(name))]
            self.remove(unused)

    def _is_captured(self, name: str) -> bool:
        return any(name in node.captured() for node in self.walk() if node.attributes)

    def set_type(self, name: str, elem_type: int, shape: Shape | None) -> None:
        """Say what a new tensor is, for rules that ask."""
        self._types[name] = (elem_type, shape)

    # --- the end

    def finish(self) -> onnx.ModelProto:
        """The rewritten model: nodes in order, what nobody uses dropped. Shapes are to be inferred anew."""
        import onnx

        nodes = in_order([node for node in self.nodes if node not in self._removed], {*self.inputs, *self._tensors})
        kept = _needed(nodes, self.outputs)
        used = set(self.outputs).union(*(set(node.inputs) | node.captured() for node in kept))
        old = self._proto
        model = onnx.ModelProto(ir_version=old.ir_version, producer_name=old.producer_name, producer_version=old.producer_version)
        model.opset_import.extend(old.opset_import)
        model.metadata_props.extend(old.metadata_props)
        model.functions.extend(old.functions)
        model.graph.name = old.graph.name
        model.graph.input.extend(old.graph.input)
        model.graph.output.extend(old.graph.output)
        model.graph.node.extend(node.proto() for node in kept)
        model.graph.initializer.extend(tensor for name, tensor in self._tensors.items() if name in used)
        made = {name for node in kept for name in node.outputs} - set(self.outputs)
        model.graph.value_info.extend(value for value in old.graph.value_info if value.name in made)
        return model


def _needed(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs) | node.captured()
    return kept[::-1]


def _type_of(value: onnx.ValueInfoProto) -> tuple[int, Shape | None]:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return kind.elem_type, None
    sizes: list[int | str] = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim]
    return kind.elem_type, tuple(sizes)

"""One operator of a graph, as rewrites see it, and how operators are put in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx


class Node:
    """One operator of the default domain.

    Attributes:
        op: operator type.
        name: its name in the file.
        inputs: tensor names; an empty one is an input that was left out.
        outputs: tensor names; an empty one is an output nobody asked for.
        attributes: as the file has them; :meth:`get` gives plain values.
        domain: empty, unless the graph was not simplified yet.
    """

    __slots__ = ("attributes", "domain", "inputs", "name", "op", "outputs")

    def __init__(self, proto: onnx.NodeProto) -> None:
        self.op: str = proto.op_type
        self.name: str = proto.name
        self.domain: str = proto.domain
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)
        self.attributes: dict[str, onnx.AttributeProto] = {attribute.name: attribute for attribute in proto.attribute}

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value: int, float, str, list, or a tensor as it is; ``default`` if it is not set."""
        import onnx

        if name not in self.attributes:
            return default
        value = onnx.helper.get_attribute_value(self.attributes[name])
        return value.decode() if isinstance(value, bytes) else value

    def input(self, index: int) -> str:
        """The name at that place; empty if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def captured(self) -> set[str]:
        """Names that its subgraphs take from the graph around them."""
        found: set[str] = set()
        for attribute in self.attributes.values():
            for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                found |= free_names(graph)
        return found

    def proto(self) -> onnx.NodeProto:
        """The node as the file will have it."""
        import onnx

        proto = onnx.NodeProto(op_type=self.op, name=self.name, domain=self.domain, input=self.inputs, output=self.outputs)
        proto.attribute.extend(self.attributes[name] for name in sorted(self.attributes))
        return proto


def free_names(graph: onnx.GraphProto) -> set[str]:
    """Tensors that a subgraph uses and does not make itself."""
    own = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    used = {value.name for value in graph.output}
    for proto in graph.node:
        node = Node(proto)
        used |= {name for name in node.inputs if name} | node.captured()
        own |= set(node.outputs)
    return used - own


def in_order(nodes: Sequence[Node], known: set[str]) -> list[Node]:
    """Nodes sorted so that each comes after those whose outputs it uses, otherwise as they were.

    Args:
        nodes: an acyclic graph.
        known: inputs and constants.

    Raises:
        ValueError: a node waits for a tensor that nobody makes.
    """
    makers = {name: node for node in nodes for name in node.outputs if name}
    done: set[Node] = set()
    ordered: list[Node] = []
    for root in nodes:
        stack = [root]
        while stack:
            node = stack[-1]
            needed = [name for name in (*node.inputs, *sorted(node.captured())) if name and name not in known]
            if lost := [name for name in needed if name not in makers]:
                raise ValueError(f"{node.op} {node.name}: nobody makes {', '.join(lost)}")
            waiting = [makers[name] for name in needed if makers[name] not in done]
            if node in done or not waiting:
                stack.pop()
                if node not in done:
                    done.add(node)
                    ordered.append(node)
            elif any(other in stack for other in waiting):
                raise ValueError(f"{node.op} {node.name}: it waits for itself")
            else:
                stack.append(waiting[0])
    return ordered


def drop_unread_constants(graph: onnx.GraphProto) -> None:
    """Take out the initializers that no node reads and no output is, subgraphs heeded."""
    read = {name for proto in graph.node for name in [*proto.input, *Node(proto).captured()]} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)

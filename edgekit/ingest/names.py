"""Inputs and outputs get the names they have in the source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def rename(proto: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename tensors throughout a graph; another tensor that bears a new name already is renamed out of the way.

    Args:
        proto: it is changed.
        names: new by old.
    """
    names = {old: new for old, new in names.items() if old != new}
    taken = set(_all_names(proto.graph))
    for new in list(names.values()):
        if new in taken and new not in names:
            other = f"{new}_inner"
            while other in taken:
                other += "_"
            names[new] = other
            taken.add(other)
    _rename(proto.graph, names)


def number_names(proto: onnx.ModelProto) -> None:
    """Count anew the numbers in the names of nodes and of what they make, in the order of the nodes.

    tf2onnx counts every name it makes, those of nodes that it drops again included, and how many these are is not the same
    each time: a name ends in ``__29`` now, in ``__30`` then.
    """
    numbers: dict[str, str] = {}

    def renumbered(name: str) -> str:
        return re.sub(r"__(\d+)", lambda found: "__" + numbers.setdefault(found[1], str(len(numbers))), name)

    graph = proto.graph
    kept = {"", *(value.name for value in graph.input), *(value.name for value in graph.output)}
    names: dict[str, str] = {}
    for node in graph.node:
        node.name = renumbered(node.name)
        names |= {name: renumbered(name) for name in node.output if name not in kept}
    rename(proto, names)


def name_constants(proto: onnx.ModelProto) -> None:
    """Name every constant after the first node that uses it, and put them in that order.

    tf2onnx merges equal constants and keeps the name of one of them, now this, now that.
    """
    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    names: dict[str, str] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in constants and name not in names:
                names[name] = f"{node.name}/{index}"
    place = {name: index for index, name in enumerate(names)}
    graph.initializer.sort(key=lambda tensor: (place.get(tensor.name, len(place)), tensor.name))
    rename(proto, names)


def _all_names(graph: onnx.GraphProto) -> Iterator[str]:
    for named in (graph.input, graph.output, graph.initializer):
        yield from (item.name for item in named)
    for node in graph.node:
        yield from node.output
        for inner in _subgraphs(node):
            yield from _all_names(inner)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for named in (graph.input, graph.output, graph.initializer, graph.value_info):
        for item in named:
            item.name = names.get(item.name, item.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                if name in names:
                    tensors[index] = names[name]
        for inner in _subgraphs(node):
            _rename(inner, names)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs

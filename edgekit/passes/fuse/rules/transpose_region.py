"""Transposes are moved over whole regions of operators that do not care about the order of axes.

That is done where it makes them fewer, or takes one from between a convolution and its activation.
A Keras network that tf2onnx could not untangle goes back to NHWC after every convolution; of its hundred Transposes, one is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgekit.graph.edit import Graph
from edgekit.graph.node import Node
from edgekit.graph.rules import Rule
from edgekit.passes.fuse.linear import CONVOLUTIONS
from edgekit.passes.fuse.moving import MOVERS, Perm, can_move, composed, data_inputs, inverse
from edgekit.passes.fuse.rules.transposes import perm_of


@dataclass(slots=True)
class Region:
    """Nodes that move, and the edges of where they are.

    Attributes:
        perm: of the Transposes that they move over.
        nodes: those that move.
        before: tensors that come in through a Transpose with ``perm``, and that Transpose.
        turned: tensors that come in otherwise, and must be turned back.
        after: tensors that go out, and must be turned as they were.
        undone: Transposes that turn back what comes out.
    """

    perm: Perm
    nodes: list[Node] = field(default_factory=list)
    before: dict[str, Node] = field(default_factory=dict)
    turned: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    undone: list[Node] = field(default_factory=list)

    def freed(self, graph: Graph) -> list[Node]:
        """Transposes before the region that nobody else needs."""
        moving = set(self.nodes)
        return [node for name, node in self.before.items() if name not in graph.pinned and moving.issuperset(graph.users(name))]

    def is_worth_it(self, graph: Graph) -> bool:
        """Whether there will be fewer Transposes, or as many and fewer of them right after a convolution."""
        freed = self.freed(graph)
        gain = len(freed) + len(self.undone) - len(self.turned) - len(self.after)
        return gain > 0 or (gain == 0 and any(graph.maker(node.inputs[0], *CONVOLUTIONS) for node in freed))


def match(graph: Graph, node: Node) -> Region | None:
    """The largest region that is connected with the users of a Transpose, if moving it is worth it."""
    perm = perm_of(graph, node)
    if perm is None:
        return None
    moving: set[Node] = set()
    waiting = graph.users(node.outputs[0])
    while waiting:
        candidate = waiting.pop()
        if candidate not in moving and can_move(graph, candidate, len(perm)):
            moving.add(candidate)
            waiting += _neighbours(graph, candidate, perm)
    if not moving:
        return None
    region = Region(perm, graph.in_order(moving))
    _find_edges(graph, region)
    return region if region.is_worth_it(graph) else None


def _neighbours(graph: Graph, node: Node, perm: Perm) -> list[Node]:
    makers = [graph.maker(node.inputs[place]) for place in data_inputs(node)]
    sources = [maker for maker in makers if maker is not None]
    through = [maker.outputs[0] for maker in sources if maker.op == "Transpose" and perm_of(graph, maker) == perm]
    users = [user for name in (*node.outputs, *through) for user in graph.users(name)]
    return sources + users


def _find_edges(graph: Graph, region: Region) -> None:
    moving = set(region.nodes)
    made = [name for node in region.nodes for name in node.outputs if name]
    coming = [node.inputs[place] for node in region.nodes for place in data_inputs(node)]
    for name in dict.fromkeys(coming):
        if name in made or graph.is_constant(name) or graph.rank(name) == 0:
            continue
        maker = graph.maker(name, "Transpose")
        if maker is not None and perm_of(graph, maker) == region.perm:
            region.before[name] = maker
        else:
            region.turned.append(name)
    for name in made:
        outside = [user for user in graph.users(name) if user not in moving or not _moves_with(user, name)]
        undoing = [user for user in outside if _undoes(graph, user, region.perm)]
        region.undone += undoing
        if name in graph.pinned or len(undoing) < len(outside):
            region.after.append(name)


def _moves_with(user: Node, name: str) -> bool:
    return all(place in data_inputs(user) for place, used in enumerate(user.inputs) if used == name)


def _undoes(graph: Graph, user: Node, perm: Perm) -> bool:
    own = perm_of(graph, user) if user.op == "Transpose" else None
    return own is not None and composed(perm, own) == tuple(range(len(perm)))


def rewrite(graph: Graph, region: Region) -> None:
    """Every tensor of the region is as it was before the Transpose."""
    read = {name: node.inputs[0] for name, node in region.before.items()}
    for name in region.turned:
        user = next(node for node in region.nodes if name in node.inputs)
        read[name] = graph.unused_name(f"{name}_turned")
        graph.add("Transpose", [name], read[name], before=user, perm=list(inverse(region.perm)))
        _say_shape(graph, read[name], name, inverse(region.perm))
    for node in region.nodes:
        _move(graph, node, region.perm, read)
    for name in region.after:
        _turn_after(graph, name, region)
    for transpose in region.undone:
        source = transpose.inputs[0]
        if graph.can_bypass(transpose, source):
            graph.bypass(transpose, source)
        else:
            graph.set_attributes(transpose, perm=list(range(len(region.perm))))
    for transpose in region.before.values():
        graph.sweep(transpose)


def _move(graph: Graph, node: Node, perm: Perm, read: dict[str, str]) -> None:
    for place in data_inputs(node):
        name = node.inputs[place]
        array = graph.constant(name)
        if name in read:
            graph.set_input(node, place, read[name])
        elif array is not None and array.size > 1:
            full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
            graph.set_constant_input(node, place, np.transpose(full, inverse(perm)))
    MOVERS[node.op].tell(graph, node, perm)
    for name in node.outputs:
        if name:
            _say_shape(graph, name, name, inverse(perm))


def _turn_after(graph: Graph, name: str, region: Region) -> None:
    """Outside, the tensor keeps its name and its order."""
    maker = graph.maker(name)
    assert maker is not None, "it is made in the region"
    inner = graph.unused_name(f"{name}_before")
    _say_shape(graph, inner, name, tuple(range(len(region.perm))))
    kept = [user for user in graph.users(name) if user not in region.nodes and user not in region.undone]
    first = kept[0] if kept else graph.nodes[-1]
    graph.rename_output(maker, name, inner)
    graph.redirect(name, inner)
    after = graph.add("Transpose", [inner], name, before=first, perm=list(region.perm))
    _say_shape(graph, name, inner, region.perm)
    for user in kept:
        for place, used in enumerate(user.inputs):
            if used == inner and user is not after:
                graph.set_input(user, place, name)


def _say_shape(graph: Graph, name: str, like: str, perm: Perm) -> None:
    shape = graph.shape(like)
    graph.set_type(name, graph.elem_type(like), None if shape is None else tuple(shape[axis] for axis in perm))


RULE = Rule("transpose-region", ("Transpose",), match, rewrite)

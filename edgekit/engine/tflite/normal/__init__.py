"""One form for what ONNX can say in several, so that no lowering meets them all; what TFLite lacks, said in what it has.

A rewrite of one node returns the nodes that stand in for it, the node alone where it stays, or why it cannot be.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.engine.tflite.graph import Fault, Graph, Node
from edgekit.engine.tflite.normal import (
    classic,
    functions,
    indexing,
    normalizing,
    pictures,
    pooling,
    products,
    recurrent,
    reductions,
    resizing,
    suppression,
    volumes,
)

Rewrite = Callable[[Node, Graph], list[Node] | Fault]

REWRITES: dict[str, Rewrite] = {
    **classic.REWRITES,
    **functions.REWRITES,
    **indexing.REWRITES,
    **normalizing.REWRITES,
    **pictures.REWRITES,
    **pooling.REWRITES,
    **products.REWRITES,
    **recurrent.REWRITES,
    **reductions.REWRITES,
    **resizing.REWRITES,
    **suppression.REWRITES,
    **volumes.REWRITES,
}


def normalize(graph: Graph) -> dict[Node, Fault]:
    """Rewrite, in place, until no rewrite finds anything to do.

    Returns:
        The nodes that stay and that nothing here can be made of, with the reason.
    """
    faults: dict[Node, Fault] = {}
    nodes: list[Node] = []
    waiting = list(reversed(graph.nodes))
    while waiting:
        node = waiting.pop()
        rewrite = REWRITES.get(node.op)
        made = [node] if rewrite is None else rewrite(node, graph)
        if isinstance(made, Fault):
            faults[node] = made
            made = [node]
        if made == [node]:
            nodes.append(node)
        else:
            waiting += reversed(made)
    graph.nodes = nodes
    return faults

"""Into how many parts a graph falls when some of its operators go to a delegate.

Each part is one call of the delegate, and between two parts numbers go back to TFLite.

Source: LiteRT, ``tflite/graph_info.cc``, PartitionGraphIntoIndependentNodeSubsets.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.engine.tflite.delegates.network import Network


def parts(network: Network, is_taken: Sequence[bool]) -> list[list[int]]:
    """The operators of each part that goes to the delegate, in order.

    A part grows by every operator of its side whose inputs are there, in the graph's order, until none is left that can
    join; then another begins, with the first operator that can be computed.

    Args:
        network: the graph.
        is_taken: for each of its operators, whether the delegate takes it.
    """
    makers = network.makers()
    waits_for = [{makers[tensor] for tensor in one.inputs if tensor in makers} for one in network.operators]
    left = list(range(len(network.operators)))
    done: set[int] = set()
    found: list[list[int]] = []
    while left:
        first = next((at for at in left if waits_for[at] <= done), None)
        if first is None:
            return found  # a file whose operators wait for each other; LiteRT does not open it
        part = _grown(left, waits_for, done, is_taken, side=is_taken[first])
        if is_taken[first]:
            found.append(part)
        done.update(part)
        left = [at for at in left if at not in done]
    return found


def _grown(left: Sequence[int], waits_for: Sequence[set[int]], done: set[int], is_taken: Sequence[bool], *, side: bool) -> list[int]:
    inside: set[int] = set()
    while True:
        before = len(inside)
        for at in left:
            if at not in inside and is_taken[at] == side and waits_for[at] <= done | inside:
                inside.add(at)
        if len(inside) == before:
            return sorted(inside)

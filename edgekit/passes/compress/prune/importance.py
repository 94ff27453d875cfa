"""How much each unit of a group matters, and so in which order units go and what it costs to lose them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.channels import ChannelGroups, Group, Place
from edgekit.graph.edit import Graph
from edgekit.graph.run import Runner
from edgekit.numerics.moments import Batch, Moments
from edgekit.passes.compress.prune.choose import retained
from edgekit.passes.streaming import in_chunks

if TYPE_CHECKING:
    from edgekit.passes.streaming import Feed, Numbered

F64 = NDArray[np.float64]
Curve = tuple[tuple[int, ...], F64]
"""Units in the order they go, and the damage when the first 0, 1, … of them are gone."""

_HELD_BYTES = 32 * 2**20


def by_magnitude(found: ChannelGroups) -> list[Curve]:
    """By the squares of the weights that make a unit and that read it, each weight's as a share of its own sum.

    Source:
        Li et al., "Pruning filters for efficient ConvNets", ICLR 2017; summed over all that hangs together: Fang et al., "DepGraph:
        Towards any structural pruning", CVPR 2023, section 3.3.
    """
    graph = Graph(found.proto)
    return [
        retained(sum((_shares(graph, place, group) for place in group.places if place.role != "follows"), np.zeros(group.units)))
        for group in found.groups
    ]


def _shares(graph: Graph, place: Place, group: Group) -> F64:
    squares = np.square(weights_by_channel(graph, place)).sum(axis=1)
    sums = by_unit(squares, place.unit, group.units)
    return sums / max(float(sums.sum()), 1e-300)


def by_activation(found: ChannelGroups, seen: Mapping[tuple[str, int], Moments]) -> list[Curve]:
    """By the mean square of what a unit carries to those that read it, each reader's as a share of its own sum.

    Source:
        Molchanov et al., "Pruning convolutional neural networks for resource efficient inference", ICLR 2017, section 2.2.
    """
    curves = []
    for group in found.groups:
        scores = np.zeros(group.units)
        for place in carried(group):
            moments = seen[place.flow, place.flow_axis]
            powers = np.einsum("cc->c", moments.total[0]).astype(np.float64) / moments.rows
            sums = by_unit(powers, flow_units(found, group, place), group.units)
            scores += sums / max(float(sums.sum()), 1e-300)
        curves.append(retained(scores))
    return curves


def by_gradient(found: ChannelGroups, scores: Sequence[F64]) -> list[Curve]:
    """By what the outputs lose to first order, see :mod:`edgekit.passes.compress.prune.taylor`; groups that lose more weigh more."""
    whole = max(float(sum(one.sum() for one in scores)), 1e-300)
    return [retained(one, weight=max(float(one.sum()) / whole * len(scores), 1e-6)) for one in scores]


def by_error(found: ChannelGroups, seen: Mapping[tuple[str, int], Moments]) -> list[Curve]:
    """By the error that losing a unit makes in what reads it, when those left take over what they can.

    Units go one after the other, each time the one that costs least then: what a unit carries and the others left carry
    together costs nothing. Units of several channels, which have no such order, go by what they carry alone.

    Source:
        Hassibi and Stork, "Second order derivatives for network pruning: optimal brain surgeon", NIPS 1992, eq. 5, with the layer's
        own error, whose second derivatives are the moments of its inputs.
    """
    return [_surgeon(found, group, seen) for group in found.groups]


def _surgeon(found: ChannelGroups, group: Group, seen: Mapping[tuple[str, int], Moments]) -> Curve:
    readers, graph = [], Graph(found.proto)
    for place in carried(group):
        units = flow_units(found, group, place)
        readers.append((units, seen[place.flow, place.flow_axis], weights_by_channel(graph, place)))
    single = all(np.bincount(units[units >= 0]).max(initial=0) == 1 and len(weights) == len(units) for units, _, weights in readers)
    if readers and single:
        return _one_by_one([_Reader(units, moments.covariance()[0], weights) for units, moments, weights in readers], group.units)
    scores = np.zeros(group.units)
    for units, moments, weights in readers:
        energies = np.einsum("cc->c", moments.total[0]) / moments.rows * np.resize(np.square(weights).sum(axis=1), len(units))
        scores += by_unit(energies, units, group.units) / max(float(energies.sum()), 1e-300)
    return retained(scores)


class _Reader:
    """One weight that reads a group's units, while they go.

    Args:
        units: of each channel.
        covariance: of the channels.
        weights: a row a channel.
    """

    def __init__(self, units: NDArray[np.int64], covariance: F64, weights: F64) -> None:
        self._units = units
        self._products = weights @ weights.T
        self._inverse = np.linalg.inv(covariance)
        self._power = max(float((covariance * self._products).sum()), 1e-300)

    def costs(self, count: int) -> F64:
        """Squared error, as a share of what the weight makes, if one of the units went; 0 of those that are gone."""
        each = np.einsum("cc->c", self._products) / np.maximum(np.einsum("cc->c", self._inverse), 1e-300)
        return by_unit(each / self._power, self._units, count)

    def lose(self, gone: NDArray[np.int64]) -> float:
        """Let units go together: those left take over what these carried, and it costs so much."""
        away = np.isin(self._units, gone)
        kept = ~away
        inner = np.linalg.inv(self._inverse[np.ix_(away, away)])
        share = self._inverse[np.ix_(kept, away)] @ inner  # what those left take over, with the sign turned
        held = self._products[np.ix_(away, away)]
        crossed = share @ self._products[np.ix_(away, kept)]
        self._products = self._products[np.ix_(kept, kept)] - crossed - crossed.T + share @ held @ share.T
        self._inverse = self._inverse[np.ix_(kept, kept)] - share @ self._inverse[np.ix_(away, kept)]
        self._units = self._units[kept]
        return float((held * inner).sum()) / self._power


_AT_ONCE = 1 / 48
"""Share of the units left that go before costs are worked out anew: one by one is slower by that, and hardly better."""


def _one_by_one(readers: Sequence[_Reader], count: int) -> Curve:
    left, order, damage = np.arange(count), [], [0.0]
    while left.size:
        costs = sum((one.costs(count) for one in readers), np.zeros(count))[left]
        block = np.argsort(costs, kind="stable")[: max(1, int(left.size * _AT_ONCE))]
        gone, left = left[block], np.delete(left, block)
        more = sum(one.lose(gone) for one in readers) if left.size else np.inf
        order += gone.tolist()
        damage += [damage[-1] + more * (place + 1) / gone.size for place in range(gone.size)]
    return tuple(order), np.maximum.accumulate(np.array(damage))


def carried(group: Group) -> list[Place]:
    """Where units are read off a computed tensor, each tensor and weight once."""
    return [place for place in group.places if place.role == "reads" and place.flow]


def flow_units(found: ChannelGroups, group: Group, place: Place) -> NDArray[np.int64]:
    """The unit of each channel of the tensor that a reader reads; of grouped convolutions it has more than the weight."""
    number = found.groups.index(group)
    return np.array([unit if of == number else -1 for of, unit in found.unit_of(place.flow, place.flow_axis)], np.int64)


def weights_by_channel(graph: Graph, place: Place) -> F64:
    """A constant as one row for each channel along the place's axis."""
    array = graph.constant(place.constant)
    assert array is not None, "places lie in constants"
    return np.moveaxis(array, place.axis, 0).reshape(array.shape[place.axis], -1).astype(np.float64)


def by_unit(values: NDArray[Any], units: NDArray[np.int64], count: int) -> F64:
    """Sums over the channels of each unit."""
    inside = units >= 0
    return np.asarray(np.bincount(units[inside], weights=values[inside], minlength=count), np.float64)


def moments_seen(found: ChannelGroups, feeds: Iterable[Feed]) -> dict[tuple[str, int], Moments]:
    """Means and products of the channels of every tensor that units are read off, by tensor and axis.

    Raises:
        SamplesError: samples do not fit the graph, or there are none.
    """
    flows = sorted({(place.flow, place.flow_axis) for group in found.groups for place in carried(group)})
    runner = Runner(found.proto.SerializeToString(), outputs=sorted({name for name, _ in flows}), threads=1)

    def look(chunk: Numbered) -> dict[tuple[str, int], Moments]:
        sums: dict[tuple[str, int], Moments] = {}
        for _, feed in chunk:
            made = runner(feed)
            for name, axis in flows:
                batch = Batch()
                batch.add(np.moveaxis(made[name], axis, -1).reshape(1, -1, made[name].shape[axis]))
                _count(sums, (name, axis), batch.moments())
        return sums

    total: dict[tuple[str, int], Moments] = {}
    for sums in in_chunks(look, feeds, bytes_held=_HELD_BYTES):
        for key, moments in sums.items():
            _count(total, key, moments)
    return total


def _count(sums: dict[tuple[str, int], Moments], key: tuple[str, int], moments: Moments) -> None:
    if key in sums:
        sums[key].add(moments)
    else:
        sums[key] = moments

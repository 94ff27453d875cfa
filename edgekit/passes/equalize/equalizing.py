"""Equalizing, end to end: find channels, look at samples, choose factors, write them into the constants, check."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.run import Runner
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.model import Model
from edgekit.numerics.fidelity import fidelity
from edgekit.passes.equalize.centers import Offsets, centered, offsets_of, write
from edgekit.passes.equalize.channels import Channels, channels_of
from edgekit.passes.equalize.factors import Equalized, Weighing, factors
from edgekit.passes.equalize.statistics import Extent, extents
from edgekit.passes.quantize.calibrate import observed_tensors

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.equalize import Equalize
    from edgekit.samples import Samples
    from edgekit.watch import Watcher

CHECKED = 32
"""Samples that the equalized graph is compared with the original on."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A graph and what was seen of it.

    Attributes:
        proto, view: the graph, all shapes inferred.
        channels: of it.
        extents: of channels, by tensor.
    """

    proto: onnx.ModelProto
    view: View
    channels: Channels
    extents: Mapping[str, Extent]


def equalized(model: Model, proto: onnx.ModelProto, samples: Samples, watcher: Watcher, how: Equalize) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The graph of ``model``, all shapes inferred, with channels around 0 and of about the same size; and what was done."""
    view = View(proto)
    channels = channels_of(view)
    offsets = offsets_of(view, channels) if how.center else Offsets()
    seen = _Seen(proto, view, channels, _extents(model, view, channels, offsets, samples, watcher))
    weighing = Weighing(view, channels, seen.extents)
    stored = frozenset(observed_tensors(view))
    costs = {tensor: weighing.of(tensor) for tensor in offsets.terms if tensor in stored and tensor in seen.extents}
    moved = centered(offsets, seen.extents, {tensor: cost for tensor, cost in costs.items() if cost.any()})
    if moved:
        extents, seen = seen.extents, _moved(seen, offsets, moved)
        weighing = Weighing(seen.view, seen.channels, extents)  # what is moved weighs as much as it did
    result, done = _scaled(seen, stored, weighing, clipped=how.clipped)
    sqnr_db = _sqnr_db(model, result, samples) if done or moved else None
    if any(one.is_clipped for one in done) and sqnr_db is not None and sqnr_db < how.min_sqnr_db:
        result, done = _scaled(seen, stored, weighing, clipped=False)
        sqnr_db = _sqnr_db(model, result, samples)
    did = {
        "centered": sum(any(maker in moved for maker, _ in terms) for terms in offsets.terms.values()),
        "groups": len(done),
        "before_a_clip": sum(one.is_clipped for one in done),
        "sqnr_db": None if sqnr_db is None else round(sqnr_db, 1),
        "expected_gain_db": {one.tensors[0]: round(10 * math.log10(one.error_before / max(one.error_after, 1e-30)), 1) for one in done},
    }
    return result, did


def _moved(seen: _Seen, offsets: Offsets, moved: Mapping[str, NDArray[np.float64]]) -> _Seen:
    """The same with channels moved."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(seen.proto)
    write(proto, seen.view, offsets, moved)
    view = View(proto)
    extents = {tensor: one.moved(offsets.of(tensor, moved)) if tensor in offsets.terms else one for tensor, one in seen.extents.items()}
    return _Seen(proto, view, channels_of(view), extents)


def _extents(model: Model, view: View, channels: Channels, offsets: Offsets, samples: Samples, watcher: Watcher) -> dict[str, Extent]:
    axes = _looked_at(view, channels, offsets)
    if not axes:
        return {}
    held = 4 * sum(map(view.numbers, axes))
    watcher.begin("equalize", len(samples.calibrating))
    seen = extents(model.path, axes, samples.feeds("calibrating", model.signature), watcher, bytes_held=held)
    watcher.end(f"{len(seen)} tensors")
    return seen


def _looked_at(view: View, channels: Channels, offsets: Offsets) -> dict[str, int]:
    """Tensors with slots that are not frozen, and what their readers make, each with the axis of its channels."""
    axes = {tensor: held.axis for tensor, held in channels.carried.items() if not channels.is_frozen(channels.roots(tensor)).all()}
    axes |= {tensor: channels.carried[tensor].axis for tensor in offsets.terms}
    axes |= {clip.source: channels.carried[clip.source].axis for clip in channels.clips if clip.result in axes}
    for one, tensor in channels.readers:
        shape = view.shape(one.output)
        if tensor in axes and shape:
            axes.setdefault(one.output, 1 if one.window is not None else len(shape) - 1)
    return {tensor: axis for tensor, axis in axes.items() if view.is_float(tensor)}


def _scaled(seen: _Seen, stored: frozenset[str], weighing: Weighing, *, clipped: bool) -> tuple[onnx.ModelProto, list[Equalized]]:
    import onnx

    scaled, done = factors(seen.channels, seen.extents, stored, weighing, clipped=clipped)
    result = onnx.ModelProto()
    result.CopyFrom(seen.proto)
    changed = _constants(seen.view, seen.channels, scaled)
    for at, tensor in enumerate(result.graph.initializer):
        if tensor.name in changed:
            result.graph.initializer[at].CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(changed[tensor.name], np.float32), tensor.name))
    return result, done


def _constants(view: View, channels: Channels, scaled: Mapping[int, float]) -> dict[str, NDArray[Any]]:
    """New values of the constants that change."""

    def factor(tensor: str) -> NDArray[np.float64]:
        return np.array([scaled.get(root, 1.0) for root in channels.roots(tensor).tolist()])

    read = {one.node: (one, factor(tensor)) for one, tensor in channels.readers}
    made = {one.node: (one, factor(tensor)) for one, tensor in channels.makers}
    changed: dict[str, NDArray[Any]] = {}
    for name in read.keys() | made.keys():
        one = (read.get(name) or made[name])[0]
        into, out = (held[name][1] if name in held else None for held in (read, made))
        if (into is not None and np.any(into != 1.0)) or (out is not None and np.any(out != 1.0)):
            changed |= _weights(view, one, into, out)
    for constant, axis, tensor in channels.writers:
        scale = factor(tensor)
        if np.any(scale != 1.0):
            values = changed.get(constant, view.value(constant))
            changed[constant] = values * scale.reshape([-1 if at == axis else 1 for at in range(values.ndim)])
    return changed


def _weights(view: View, one: Weighted, into: NDArray[np.float64] | None, out: NDArray[np.float64] | None) -> dict[str, NDArray[Any]]:
    """A node's weights and bias, its inputs' channels divided by ``into`` and its outputs' multiplied by ``out``."""
    weight = view.value(one.weight)
    rows = one.by_channel(weight) / one.weight_factor
    if into is not None:
        kernel = 1 if one.window is None else math.prod(one.window.kernel)
        rows = (rows.reshape(one.groups, len(rows) // one.groups, -1, kernel) / into.reshape(one.groups, 1, -1, 1)).reshape(rows.shape)
    changed: dict[str, NDArray[Any]] = {}
    if out is not None:
        rows = rows * out[:, None]
        if one.bias is not None and one.bias_adder is None:
            bias = np.broadcast_to(view.value(one.bias).reshape(-1), out.shape) * out
            changed[one.bias] = bias.reshape(-1)
    changed[one.weight] = one.from_channels(rows, weight.shape)
    return changed


def _sqnr_db(model: Model, proto: onnx.ModelProto, samples: Samples) -> float:
    before, after = Runner(model.path), Runner(proto.SerializeToString())

    def pairs() -> Iterator[tuple[Any, Any]]:
        for feed in itertools.islice(samples.feeds("calibrating", model.signature), CHECKED):
            yield before(feed), after(feed)

    found = fidelity(pairs()).sqnr_db
    return math.inf if found is None else found

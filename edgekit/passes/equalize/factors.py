"""By how much each channel is scaled: as far as it makes the error of 8-bit numbers less, by what was seen of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.passes.equalize.channels import Channels, Clipped
from edgekit.passes.equalize.statistics import Extent

F64 = NDArray[np.float64]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Exponents that are tried: 0 leaves channels as they are, 1 makes all of them as large as the largest."""

FARTHEST = 64.0
"""No channel is scaled by more, or by less than one over it."""

FARTHEST_CLIPPED = 4.0
"""… and none before a Clip, where scaling also moves the number at which the channel is cut off."""

DEVIATIONS = 8.0
"""A channel before a Clip may reach so many standard deviations of its values beyond their mean, or :data:`MARGIN` times its
largest, whatever is more, before the Clip cuts it off: classes that the samples do not show make it larger than they do."""
MARGIN = 1.25

DEAD = 0.01
"""Before a Clip, channels smaller than this share of the largest stay as they are: they wait for what the samples do not show."""

WORTH, WORTH_CLIPPED = 0.05, 0.4
"""Share of the error that must go for a group of channels to be scaled."""

ROUNDING_SHARE = 0.3
"""Of the error of weights rounded to the nearest, what is left when they are rounded on samples (5 dB less)."""


@dataclass(frozen=True, slots=True)
class Equalized:
    """A group of channels that is scaled.

    Attributes:
        tensors: that carry them.
        strength: the exponent that was chosen.
        error_before, error_after: relative squared error expected where the tensors are read.
        is_clipped: whether a Clip limits it.
    """

    tensors: tuple[str, ...]
    strength: float
    error_before: float
    error_after: float
    is_clipped: bool


def factors(
    channels: Channels, seen: Mapping[str, Extent], stored: frozenset[str], weighing: Weighing, *, clipped: bool
) -> tuple[dict[int, float], list[Equalized]]:
    """The factor of every slot that is scaled, and what was done.

    Args:
        channels: of the graph.
        seen: extents by tensor; tensors that are missing are not looked at.
        stored: tensors that will be stored in 8 bits.
        weighing: what errors in their channels cost.
        clipped: whether channels before a Clip are scaled, too.

    Source:
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1,
        and for what a LayerNormalization makes Xiao et al., "SmoothQuant", ICML 2023, eq. 4; here the strength is
        chosen for each group by the error that activations and weights together are expected to make.
    """
    scaled: dict[int, float] = {}
    done: list[Equalized] = []
    for tensors in _groups(channels, seen):
        group = _Group(channels, tensors, seen, weighing, stored)
        if group.clips and not clipped:
            continue
        found = group.best()
        if found is not None:
            factor, report = found
            scaled |= dict(zip(group.slots.tolist(), factor.tolist(), strict=True))
            done.append(report)
    return scaled, done


def _groups(channels: Channels, seen: Mapping[str, Extent]) -> list[list[str]]:
    """Tensors that share slots, together."""
    group_of: dict[int, int] = {}
    groups: dict[int, list[str]] = {}
    for tensor in channels.carried:
        if tensor not in seen:
            continue
        roots = channels.roots(tensor).tolist()
        met = sorted({group_of[root] for root in roots if root in group_of})
        number = met[0] if met else len(group_of)
        for other in met[1:]:
            groups[number] += groups.pop(other)
            group_of.update({root: number for root, one in group_of.items() if one == other})
        group_of.update(dict.fromkeys(roots, number))
        groups.setdefault(number, []).append(tensor)
    return list(groups.values())


class Weighing:
    """How much an error in each channel of a tensor matters to those who read it: relative squared error of their outputs."""

    def __init__(self, view: View, channels: Channels, seen: Mapping[str, Extent]) -> None:
        self._view = view
        self._seen = seen
        self._channels = channels
        self.readers: dict[str, list[Weighted]] = {}
        for one, tensor in channels.readers:
            self.readers.setdefault(tensor, []).append(one)
        self._flows: dict[str, list[int]] = {}
        for at, flow in enumerate(channels.flows):
            self._flows.setdefault(flow.source, []).append(at)
        self._known: dict[str, F64] = {}

    def weights(self, one: Weighted) -> F64:
        """Of a reader, shape (groups, rows, inputs of a group, kernel)."""
        rows = one.by_channel(self._view.value(one.weight))
        kernel = 1 if one.window is None else int(np.prod(one.window.kernel))
        return rows.reshape(one.groups, len(rows) // one.groups, -1, kernel)

    def output_power(self, one: Weighted, rows: int) -> float:
        """Sum over its outputs of their mean squares."""
        return float(self._seen[one.output].mean_square.mean() * rows) if one.output in self._seen else float(rows)

    def of(self, tensor: str) -> F64:
        """Shape (channels,)."""
        if tensor not in self._known:
            self._known[tensor] = self._worked_out(tensor)
        return self._known[tensor]

    def _worked_out(self, tensor: str) -> F64:
        found = np.zeros(len(self._channels.carried[tensor].slots))
        for one in self.readers.get(tensor, ()):
            weights = self.weights(one)
            rows = weights.shape[0] * weights.shape[1]
            found += np.square(weights).sum(axis=(1, 3)).reshape(-1) / max(self.output_power(one, rows), 1e-30)
        for at in self._flows.get(tensor, ()):
            flow = self._channels.flows[at]
            behind = self.of(flow.result) / flow.averaged
            if flow.origin is None:
                found += behind
            else:
                inside = flow.origin >= 0
                found += np.bincount(flow.origin[inside], behind[inside], len(found))
        return found


class _Group:
    """Tensors whose channels are scaled together."""

    def __init__(self, channels: Channels, tensors: list[str], seen: Mapping[str, Extent], weighing: Weighing, stored: frozenset[str]) -> None:
        self.tensors = tensors
        self.slots = np.unique(np.concatenate([channels.roots(tensor) for tensor in tensors]))
        self.clips = [one for one in channels.clips if one.result in tensors]
        self._seen = seen
        self._weighing = weighing
        self._at = {tensor: np.searchsorted(self.slots, channels.roots(tensor)) for tensor in tensors}
        self._stored = [tensor for tensor in tensors if tensor in stored and weighing.of(tensor).any()]
        self._frozen = channels.is_frozen(self.slots)

    def best(self) -> tuple[F64, Equalized] | None:
        """The factors of the group's slots that make the error least; None if that is not worth it."""
        if not self._stored or len(self.slots) < 2 or self._frozen.all():
            return None
        relative = self._relative_sizes()
        limit, is_fixed = self._limits(relative)
        if is_fixed.all():
            return None
        candidates = [self._factors(relative, limit, is_fixed, strength) for strength in STRENGTHS]
        errors = [self._error(factor) for factor in candidates]
        at = int(np.argmin(errors))
        if errors[at] > errors[0] * (1.0 - (WORTH_CLIPPED if self.clips else WORTH)):
            return None
        return candidates[at], Equalized(tuple(self._stored), STRENGTHS[at], errors[0], errors[at], bool(self.clips))

    def _relative_sizes(self) -> F64:
        """Of each slot, the largest of its shares of the range of a tensor."""
        sizes = np.zeros(len(self.slots))
        for tensor in self._stored:
            size = self._seen[tensor].size
            np.maximum.at(sizes, self._at[tensor], size / max(size.max(), 1e-30))
        return np.maximum(sizes, 1e-6)

    def _limits(self, relative: F64) -> tuple[F64, NDArray[np.bool_]]:
        """How far slots may be scaled up, and which must stay."""
        limit = np.full(len(self.slots), FARTHEST_CLIPPED if self.clips else FARTHEST)
        is_fixed = self._frozen.copy()
        for clip in self.clips:
            at = self._at[clip.result]
            reach = self._reach(clip)
            np.minimum.at(limit, at, np.maximum(clip.high / np.maximum(reach, 1e-30), 1.0))
            is_fixed[at[reach >= clip.high]] = True
        if self.clips:
            is_fixed |= relative < DEAD
        return limit, is_fixed

    def _reach(self, clip: Clipped) -> F64:
        """How large each channel before a Clip may become."""
        before = self._seen[clip.source]
        return np.maximum(before.largest * MARGIN, before.mean + DEVIATIONS * before.deviation)

    def _factors(self, relative: F64, limit: F64, is_fixed: NDArray[np.bool_], strength: float) -> F64:
        factor = np.where(is_fixed, 1.0, np.minimum(relative**-strength, limit))
        if not is_fixed.any() and not self.clips:
            factor /= np.exp(np.log(factor).mean())  # sizes stay about what they were
        return factor

    def _error(self, factor: F64) -> float:
        """Relative squared error of the readers' outputs: of stored activations, and of the readers' rounded weights."""
        error = 0.0
        for tensor in self._stored:
            scale = factor[self._at[tensor]]
            extent = self._seen[tensor]
            span = max(float((extent.largest * scale).max()), 0.0) - min(float((extent.smallest * scale).min()), 0.0)
            error += (span / 255) ** 2 / 12 * float((self._weighing.of(tensor) / np.square(scale)).sum())
        for tensor in self.tensors:
            for one in self._weighing.readers.get(tensor, ()):
                error += ROUNDING_SHARE * self._rounding_error(tensor, one, factor[self._at[tensor]])
        return error

    def _rounding_error(self, tensor: str, one: Weighted, factor: F64) -> float:
        weights = self._weighing.weights(one)
        groups, rows, inputs, kernel = weights.shape
        scale = factor.reshape(groups, 1, inputs)
        largest = (np.abs(weights).max(axis=3) / scale).max(axis=2)  # (groups, rows)
        power = (self._seen[tensor].mean_square.reshape(groups, 1, inputs) * np.square(scale)).sum(axis=2) * kernel
        return float((np.square(largest / 127) / 12 * power).sum()) / max(self._weighing.output_power(one, groups * rows), 1e-30)

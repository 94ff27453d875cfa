"""All that a decision stores as integers, as functions of what is learned: latent weights, biases, scales and zero points."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.graph.structure import Structure
from edgekit.graph.trainable.module import Trainable
from edgekit.graph.view import View
from edgekit.graph.weighted import Weighted
from edgekit.numerics.affine import Affine
from edgekit.passes.learn.qat.latent import latent
from edgekit.passes.learn.technique import Group, Held, Technique, Torch
from edgekit.passes.quantize.apply import Written
from edgekit.passes.quantize.decide import BIAS_LIMIT, Decision, Weights


@dataclass(frozen=True, slots=True)
class Start:
    """What there is before anything is learned.

    Attributes:
        view: of the float graph.
        decision: all numbers, as quantization without training has them.
        written: where they are in the quantized graph.
        structures: what weights have to keep, by the initializer's name.
    """

    view: View
    decision: Decision
    written: Written
    structures: Mapping[str, Structure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Learning rates as multiples of that of the weights, which are learned in steps of their scale.

    Attributes:
        biases: in what a step of every input together makes of the output, were their signs drawn at random.
        ranges: scales as a share of themselves, and zero points as a share of all integers; 0 leaves them as calibrated.
    """

    biases: float
    ranges: float


class FakeQuantization(Technique):
    """The numbers of a quantized graph while they are learned; without an update, those of the start but for weights with a structure.

    What shares a scale shares its parameter. A scale is ``start * exp(parameter)``: it stays positive, and a rate moves all by the same
    share. Rounding lets gradients pass, so that those of scales and zero points are LSQ's and LSQ+'s, multiplied by LSQ's 1 / sqrt(N Q).
    Weights of 8 bits are learned as multiples of their scale, not beside it: their integers may have been rounded to make up for one
    another, and a thousandth more of scale would round the large ones anew (EfficientNet-Lite0: 4 dB lost in 24 updates).
    The graph's own float constants are left as they are.

    Source:
        Esser et al., "Learned Step Size Quantization", ICLR 2020, eq. 3 and section 2.2; Bhalgat et al., "LSQ+: Improving
        low-bit quantization through learnable offsets and better initialization", CVPR Workshops 2020, eq. 5; the
        exponential after Jain et al., "Trained Quantization Thresholds for Accurate and Efficient Fixed-Point Inference of
        Deep Neural Networks", MLSys 2020, section 3.

    Args:
        start: what there is.
        rates: of what is learned.
    """

    def __init__(self, start: Start, rates: Rates) -> None:
        super().__init__()
        self._start, self._rates = start, rates
        placed, are_learned = start.decision.placement, rates.ranges > 0.0
        members: Counter[str] = Counter()
        for tensor, group in placed.tensors.items():
            members[group] += start.view.numbers(tensor)
        groups = start.decision.groups
        self._group_places = {name: at for at, name in enumerate(groups)}
        self._groups = nn.ModuleList(
            _Shared(affine, members[name], is_learned=are_learned and name not in placed.fixed) for name, affine in groups.items()
        )
        self._node_places = {name: at for at, name in enumerate(placed.weighted)}
        self._nodes = nn.ModuleList(self._node(one, is_scaled=are_learned) for one in placed.weighted.values())

    def _node(self, one: Weighted, *, is_scaled: bool) -> _Product:
        weights, step = self._start.decision.weights[one.node], float(self._fed(one).scale().detach())
        return _Product(one, self._start.view, weights, step, self._start.structures.get(one.weight), is_scaled=is_scaled)

    def _fed(self, one: Weighted) -> _Shared:
        """How the input of a node is stored."""
        placed = self._start.decision.placement
        return self._of(placed.converted.get((one.node, 0), placed.tensors[one.input]))

    def _of(self, group: str) -> _Shared:
        found: _Shared = self._groups[self._group_places[group]]
        return found

    def install(self, graph: Trainable) -> None:
        """Nothing of the graph itself is trained."""
        graph.requires_grad_(requires_grad=False)

    def groups(self) -> Sequence[Group]:
        """Weights, biases and ranges."""
        kinds: dict[str, list[Torch]] = {"weights": [], "biases": [], "ranges": []}
        for part in (*self._nodes, *self._groups):
            for kind, parameter in part.learned():
                kinds[kind] += [parameter] if parameter.requires_grad else []
        rates = {"weights": 1.0, "biases": self._rates.biases, "ranges": self._rates.ranges}
        return [Group(parameters, rate=rates[kind]) for kind, parameters in kinds.items() if parameters]

    def instead(self, held: Held) -> Mapping[str, Torch]:
        """Scales and zero points, and what weights, biases and constants are after rounding."""
        start, found = self._start, dict[str, Torch]()
        for group, pairs in start.written.groups.items():
            scale, zero_point = self._of(group).scale(), self._of(group).zero_point()
            found.update({name: scale for name, _ in pairs} | {name: zero_point for _, name in pairs})
        for constant, integers in start.written.constants.items():
            values = torch.from_numpy(np.array(start.view.value(constant), np.float32))
            found[integers] = self._of(start.decision.placement.tensors[constant]).stored(values)
        for name, one in start.decision.placement.weighted.items():
            numbers = self._numbers(one)
            integers, scale = start.written.weights[name]
            found |= {integers: numbers.integers, scale: numbers.scale}
            if numbers.bias is not None:
                bias, scale = start.written.biases[name]
                found |= {bias: numbers.bias, scale: numbers.bias_scale} if scale else {bias: numbers.bias}
        return found

    def decision(self) -> Decision:
        """All numbers as they are now, for the quantizer to write."""
        with torch.no_grad():
            return dataclasses.replace(
                self._start.decision,
                groups={name: self._of(name).affine() for name in self._group_places},
                weights={name: self._numbers(one).weights() for name, one in self._start.decision.placement.weighted.items()},
            )

    def _numbers(self, one: Weighted) -> _Numbers:
        found: _Numbers = self._nodes[self._node_places[one.node]].numbers(self._fed(one).scale())
        return found


class _Shared(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The scale and the zero point of tensors that share them."""

    def __init__(self, start: Affine, numbers: int, *, is_learned: bool) -> None:
        super().__init__()
        self._grid = start.grid
        self.register_buffer("_scale", torch.tensor(float(start.scale)))
        self.register_buffer("_zero_point", torch.tensor(float(start.zero_point)))
        is_symmetric = start.grid.high == -start.grid.low
        share = 1.0 / np.sqrt(max(numbers, 1) * start.grid.high)
        self.stretch = _parameter(np.zeros(()), share, is_learned=is_learned)
        self.shift = _parameter(np.zeros(()), share, is_learned=is_learned and not is_symmetric)

    def learned(self) -> list[tuple[str, Torch]]:
        """Every parameter, with its kind."""
        return [("ranges", self.stretch), ("ranges", self.shift)]

    def scale(self) -> Torch:
        """As it is now."""
        return self._scale * torch.exp(self.stretch)

    def zero_point(self) -> Torch:
        """The integer that it is now."""
        low, high = self._grid.low, self._grid.high
        return _rounded(torch.clamp(self._zero_point + (high - low) * self.shift, low, high))

    def stored(self, values: Torch) -> Torch:
        """The integers that a constant becomes."""
        return torch.clamp(_rounded(values / self.scale()) + self.zero_point(), self._grid.low, self._grid.high)

    def affine(self) -> Affine:
        """The numbers to write."""
        zero_point = np.asarray(self.zero_point().cpu().numpy()).astype(self._grid.dtype)
        return Affine(np.asarray(self.scale().cpu().numpy(), np.float32), zero_point, self._grid)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A node's numbers at one moment.

    Attributes:
        integers: in the shape of the weight.
        scale: of them.
        axis: along which each channel has its own; None if it is one for all.
        bias: integers, or real numbers where the start has such; None if there is none.
        bias_scale: of the integers, for each output channel.
        start: the numbers that training began with.
    """

    integers: Torch
    scale: Torch
    axis: int | None
    bias: Torch | None
    bias_scale: Torch
    start: Weights

    def weights(self) -> Weights:
        """To be written."""
        bias_scale = np.asarray(self.bias_scale.cpu().numpy(), np.float32)
        bias = None if self.bias is None else self.bias.cpu().numpy()
        if bias is not None and _is_integer_bias(self.start):
            bias = np.rint(bias.astype(np.float64)).astype(np.int32)
        affine = Affine(np.asarray(self.scale.cpu().numpy(), np.float32), self.start.affine.zero_point, self.start.affine.grid)
        return Weights(self.integers.cpu().numpy().astype(np.int8), affine, self.axis, bias, bias_scale)


class _Product(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The weights and the bias of a node.

    Args:
        one: the node.
        view: its float graph.
        start: its numbers without training.
        step: the scale of its input without training.
        structure: what its weights have to keep.
        is_scaled: whether its scale is learned.
    """

    def __init__(self, one: Weighted, view: View, start: Weights, step: float, structure: Structure | None, *, is_scaled: bool) -> None:
        super().__init__()
        begin = latent(one, view, start, structure)
        self._start, self._begin = start, begin
        self.values = nn.Parameter(torch.from_numpy(begin.values), requires_grad=not begin.is_fixed)
        for name, buffer in (("_index", begin.index), ("_kept", begin.kept), ("_scale", np.asarray(begin.scale))):
            self.register_buffer(name, None if buffer is None else torch.from_numpy(buffer))
        sharing = start.integers.size // (1 if begin.is_one_scale else max(begin.scale.size, 1))
        shape = () if begin.is_one_scale else begin.scale.shape
        self.stretch = _parameter(np.zeros(shape), 1.0 / np.sqrt(sharing * begin.grid.high), is_learned=is_scaled)
        rows = dataclasses.replace(one, weight_factor=1.0).by_channel(start.integers)
        self._rows = len(rows)
        self.shift = None
        if start.bias is not None:
            bias = start.bias * start.bias_scale.astype(np.float64) if _is_integer_bias(start) else start.bias
            unit = step * np.resize(start.affine.scale, len(rows)) * np.maximum(np.sqrt(np.square(rows).sum(axis=1)), 1.0)
            self.register_buffer("_bias", torch.from_numpy(np.asarray(bias, np.float32)))
            self.register_buffer("_unit", torch.from_numpy(np.asarray(unit, np.float32)))
            self.shift = _parameter(np.zeros(len(rows)), 1.0, is_learned=True)

    def learned(self) -> list[tuple[str, Torch]]:
        """Every parameter, with its kind."""
        return [("weights", self.values), ("ranges", self.stretch), *([] if self.shift is None else [("biases", self.shift)])]

    def numbers(self, step: Torch) -> _Numbers:
        """As they are now.

        Args:
            step: the scale of the input.
        """
        begin = self._begin
        bias = None if self.shift is None else self._bias + self._unit * self.shift
        scale = self._scale * torch.exp(self.stretch)
        if bias is not None and _is_integer_bias(self._start):
            scale = torch.maximum(scale, self._least(bias.detach(), step.detach(), scale))
        values = self.values if self._index is None else self.values[self._index]
        if self._kept is not None:
            values = values * self._kept
        integers = torch.clamp(_rounded(values), begin.grid.low, begin.grid.high)
        bias_scale = step * (scale.expand(self._rows) if scale.ndim == 0 else scale.repeat(self._rows // scale.numel()))
        if bias is not None and _is_integer_bias(self._start):
            bias = _rounded(bias / bias_scale)
        return _Numbers(integers, scale, begin.axis, bias, bias_scale, self._start)

    def _least(self, bias: Torch, step: Torch, scale: Torch) -> Torch:
        """Scales at which the bias still fits into an integer."""
        least = (bias.abs() / (step * BIAS_LIMIT)).reshape(-1, max(scale.numel(), 1)).amax(dim=0)
        return least.max() if self._begin.is_one_scale or scale.ndim == 0 else least


def _is_integer_bias(start: Weights) -> bool:
    return start.bias is not None and start.bias.dtype == np.int32


def _parameter(start: NDArray[Any], share: float, *, is_learned: bool) -> Torch:
    """A parameter whose gradient is multiplied by ``share``."""
    made = nn.Parameter(torch.from_numpy(np.asarray(start, np.float32)), requires_grad=is_learned)
    if is_learned and share != 1.0:
        made.register_hook(lambda gradient: gradient * share)
    return made


def _rounded(values: Torch) -> Torch:
    """The nearest integers, halves to even; gradients pass."""
    return values + (torch.round(values) - values).detach()

"""A block of a graph, run on many samples at once where batches allow it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from edgekit.errors import SourceError
from edgekit.graph.trainable import trainable
from edgekit.graph.trainable.module import channels_last
from edgekit.passes.quantize.learned.blocks import Block

if TYPE_CHECKING:
    import onnx

Torch = Any
"""A torch tensor; torch is not typed here."""

Values = Mapping[str, Torch]
"""Tensors by name, of one sample or of some."""

NOTHING: Values = MappingProxyType({})


class Part:
    """One block of a graph.

    Args:
        proto: the graph, see :func:`edgekit.graph.open_batch.with_open_batch`.
        block: what to run.
        samples: of its inputs; the first two show whether it can be run on several at once.
        replaced: tensors that ``instead`` will name.
    """

    def __init__(self, proto: onnx.ModelProto, block: Block, samples: Sequence[Values], replaced: Collection[str] = ()) -> None:
        self._module = trainable(proto, inputs=block.inputs, outputs=block.outputs, replaced=replaced).requires_grad_(requires_grad=False)
        self._inputs = block.inputs
        with torch.no_grad():
            self._is_stacking = self._stacks([self._of_block(one) for one in samples[:2]])

    def __call__(self, samples: Sequence[Values], instead: Values = NOTHING) -> dict[str, Torch]:
        """Outputs of some samples, one after the other along the first axis; ``instead`` as of the module."""
        feeds = [self._of_block(one) for one in samples]
        if self._is_stacking:
            return self._run(_joined(feeds), instead)
        return _joined([self._run(feed, instead) for feed in feeds])

    def each(self, samples: Sequence[Values], instead: Values = NOTHING) -> list[dict[str, Torch]]:
        """Outputs of every sample, without gradients."""
        with torch.no_grad():
            return [self._run(self._of_block(one), instead) for one in samples]

    def _of_block(self, sample: Values) -> Values:
        return {name: sample[name] for name in self._inputs}

    def _stacks(self, feeds: Sequence[Values]) -> bool:
        """Whether two samples at once give what they give alone."""
        alone = [self._run(feed, NOTHING) for feed in feeds]
        if any(value.ndim == 0 or value.shape[0] != 1 for one in (*feeds, *alone) for value in one.values()):
            return False
        try:
            together = self._run(_joined(feeds), NOTHING)
        except SourceError:  # a size that is written in the graph
            return False
        return all(_is_same(together[name], value) for name, value in _joined(alone).items())

    def _run(self, feed: Values, instead: Values) -> dict[str, Torch]:
        made: dict[str, Torch] = self._module({name: channels_last(value) for name, value in feed.items()}, instead)
        return made


def _joined(samples: Sequence[Values]) -> dict[str, Torch]:
    return {name: torch.cat([torch.atleast_1d(one[name]) for one in samples]) for name in samples[0]}


def _is_same(one: Torch, other: Torch) -> bool:
    """Whether tensors differ by less than integers that another order of summing rounds the other way."""
    if one.shape != other.shape:
        return False
    difference, size = (float(value.double().square().sum()) for value in (one - other, other))
    return difference <= 1e-4 * size

"""What the outputs lose to first order if a unit goes, by gradients; no labels needed.

The squared change of all outputs is the mean, over random signs of the outputs, of the squared change of their sum: one
backward pass a sample gives the gradient of that sum, and the change is the gradient times the weights that go. Outputs of
classes are taken before their softmax.

Source:
    Molchanov et al., "Importance estimation for neural network pruning", CVPR 2019, eq. 8, on groups of weights; with random signs
    instead of a loss, whose gradient is 0 where the model is its own teacher.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.graph.channels import ChannelGroups, Group
from edgekit.graph.trainable import trainable
from edgekit.graph.trainable.module import channels_last
from edgekit.passes.compress.prune.importance import by_unit
from edgekit.passes.learn.heads import heads

if TYPE_CHECKING:
    from edgekit.passes.streaming import Feed

Torch = Any
F64 = NDArray[np.float64]

_SEED = 0


def first_order(found: ChannelGroups, feeds: Iterable[Feed]) -> list[F64]:
    """Of each group and unit the mean squared change of the outputs if it went, to first order.

    Raises:
        UnsupportedError: nodes of the graph have no gradient here.
    """
    module = trainable(found.proto, outputs=list(dict.fromkeys(head.tensor for head in heads(found.proto))))
    parameters = dict(module.named_parameters(remove_duplicate=False))
    draw = torch.Generator().manual_seed(_SEED)
    sums = [np.zeros(group.units) for group in found.groups]
    seen = 0
    for feed in feeds:
        module.zero_grad()
        made = module({name: channels_last(torch.from_numpy(np.ascontiguousarray(value))) for name, value in feed.items()})
        signs = [torch.randint(0, 2, value.shape, generator=draw) * 2 - 1 for value in made.values()]
        total = sum((value * sign).sum() for value, sign in zip(made.values(), signs, strict=True) if value.is_floating_point())
        total.backward()
        for group, sum_ in zip(found.groups, sums, strict=True):
            sum_ += np.square(_changes(group, parameters))
        seen += 1
    return [one / max(seen, 1) for one in sums]


def _changes(group: Group, parameters: Mapping[str, Torch]) -> F64:
    """How the signed sum of the outputs changes with each unit's weights gone: where they are read, or else where they are made."""
    roles = {place.role for place in group.places}
    role = "reads" if "reads" in roles else "makes"
    changes = np.zeros(group.units)
    for place in group.places:
        weight = parameters.get(place.constant)
        if place.role == role and weight is not None and weight.grad is not None:
            product = (weight.detach() * weight.grad).movedim(place.axis, 0).flatten(1).sum(1)
            changes += by_unit(product.numpy().astype(np.float64), place.unit, group.units)
    return changes

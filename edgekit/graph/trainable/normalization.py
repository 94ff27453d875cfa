"""Normalization; that of batches by the statistics in the file, in training as well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from edgekit.graph.trainable.call import Call, Torch


def batch_normalization(call: Call, x: Torch, scale: Torch, bias: Torch, mean: Torch, variance: Torch) -> Torch:
    """BatchNormalization."""
    return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=call.get("epsilon", 1e-5))


def layer_normalization(call: Call, x: Torch, scale: Torch, bias: Torch = None) -> Torch:
    """LayerNormalization."""
    axis = call.get("axis", -1) % x.ndim
    normal = _normal(call, x, range(axis, x.ndim)) * scale
    return normal if bias is None else normal + bias


def instance_normalization(call: Call, x: Torch, scale: Torch, bias: Torch) -> Torch:
    """InstanceNormalization."""
    sizes = (1, -1, *[1] * (x.ndim - 2))
    return _normal(call, x, range(2, x.ndim)) * scale.reshape(sizes) + bias.reshape(sizes)


def group_normalization(call: Call, x: Torch, scale: Torch, bias: Torch) -> Torch:
    """GroupNormalization; a scale and a bias for each channel."""
    return functional.group_norm(x, call.get("num_groups"), scale, bias, call.get("epsilon", 1e-5))


def _normal(call: Call, x: Torch, axes: Sequence[int]) -> Torch:
    variance, mean = torch.var_mean(x, dim=tuple(axes), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + call.get("epsilon", 1e-5))


def refused_outputs(call: Call) -> str:
    """Why a node with more than one wanted output has no counterpart; "" if it has."""
    return "only its first output is computed here" if call.outputs > 1 else ""


def refused_batch_normalization(call: Call) -> str:
    """The same for statistics of the batch at hand."""
    return "it normalizes by the statistics of each batch" if call.get("training_mode", 0) else refused_outputs(call)

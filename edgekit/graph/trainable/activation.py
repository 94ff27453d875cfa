"""Functions between layers, and those over an axis."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgekit.graph.trainable.call import Call, Torch


def relu(call: Call, x: Torch) -> Torch:
    """Relu."""
    return functional.relu(x)


def clip(call: Call, x: Torch, low: Torch = None, high: Torch = None) -> Torch:
    """Clip; an end that is left out is open."""
    return x if low is None and high is None else torch.clamp(x, low, high)


def leaky_relu(call: Call, x: Torch) -> Torch:
    """LeakyRelu."""
    return functional.leaky_relu(x, call.get("alpha", 0.01))


def prelu(call: Call, x: Torch, slope: Torch) -> Torch:
    """PRelu; the slope is broadcast to the input."""
    return torch.where(x < 0, x * slope, x)


def elu(call: Call, x: Torch) -> Torch:
    """Elu."""
    return functional.elu(x, call.get("alpha", 1.0))


def celu(call: Call, x: Torch) -> Torch:
    """Celu."""
    return functional.celu(x, call.get("alpha", 1.0))


def selu(call: Call, x: Torch) -> Torch:
    """Selu."""
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    return gamma * functional.elu(x, alpha)


def gelu(call: Call, x: Torch) -> Torch:
    """Gelu, exact or by tanh."""
    return functional.gelu(x, approximate=call.get("approximate", "none"))


def tanh(call: Call, x: Torch) -> Torch:
    """Tanh."""
    return torch.tanh(x)


def sigmoid(call: Call, x: Torch) -> Torch:
    """Sigmoid."""
    return torch.sigmoid(x)


def hard_sigmoid(call: Call, x: Torch) -> Torch:
    """HardSigmoid."""
    return torch.clamp(x * call.get("alpha", 0.2) + call.get("beta", 0.5), 0.0, 1.0)


def hard_swish(call: Call, x: Torch) -> Torch:
    """HardSwish."""
    return functional.hardswish(x)


def softplus(call: Call, x: Torch) -> Torch:
    """Softplus."""
    return functional.softplus(x)


def softsign(call: Call, x: Torch) -> Torch:
    """Softsign."""
    return functional.softsign(x)


def mish(call: Call, x: Torch) -> Torch:
    """Mish."""
    return functional.mish(x)


def softmax(call: Call, x: Torch) -> Torch:
    """Softmax."""
    return torch.softmax(x, call.get("axis", -1))


def log_softmax(call: Call, x: Torch) -> Torch:
    """LogSoftmax."""
    return torch.log_softmax(x, call.get("axis", -1))

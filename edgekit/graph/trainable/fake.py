"""Q/DQ as training sees it: integers are float tensors, rounding lets gradients pass, and what is clipped passes none."""

from __future__ import annotations

from typing import Any

import torch
from onnx import TensorProto

from edgekit.graph.trainable.call import Call, Torch

LIMITS = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT4: (-8, 7),
    TensorProto.UNDEFINED: (0, 255),
}
"""The integers of each type that QuantizeLinear makes."""


def quantize_linear(call: Call, x: Torch, scale: Torch, zero_point: Torch = None) -> Torch:
    """QuantizeLinear, with a straight-through gradient.

    Source:
        Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation", 2013.
    """
    low, high = LIMITS[kind_of(call)]
    zero = torch.zeros((), dtype=x.dtype) if zero_point is None else _spread(call, zero_point.to(x.dtype), x)
    rounded: Torch = _Quantize.apply(x, _spread(call, scale, x), zero, low, high)
    return rounded


def dequantize_linear(call: Call, x: Torch, scale: Torch, zero_point: Torch = None) -> Torch:
    """DequantizeLinear."""
    zero = torch.zeros((), dtype=scale.dtype) if zero_point is None else _spread(call, zero_point.to(scale.dtype), x)
    real: Torch = _Dequantize.apply(x.to(scale.dtype), _spread(call, scale, x), zero)
    return real


class _Quantize(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """Nearest integers; in one piece, for what autograd makes of its parts takes twice the time."""

    @staticmethod
    def forward(context: Any, x: Torch, scale: Torch, zero: Torch, low: int, high: int) -> Torch:
        integers = (x / scale).round_().add_(zero)
        outside = (integers < low) | (integers > high)
        context.save_for_backward(x, scale, zero, outside)
        return integers.clamp_(low, high)

    @staticmethod
    def backward(context: Any, slope: Torch) -> tuple[Torch | None, ...]:
        x, scale, zero, outside = context.saved_tensors
        passed = slope.masked_fill(outside, 0.0)
        of_x = passed / scale
        of_scale = -_inner(of_x, x, scale) / scale if context.needs_input_grad[1] else None
        return of_x, of_scale, passed.sum_to_size(zero.shape) if context.needs_input_grad[2] else None, None, None


class _Dequantize(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """The real numbers that integers stand for."""

    @staticmethod
    def forward(context: Any, integers: Torch, scale: Torch, zero: Torch) -> Torch:
        real = (integers - zero).mul_(scale)
        context.save_for_backward(real, scale, zero)
        return real

    @staticmethod
    def backward(context: Any, slope: Torch) -> tuple[Torch | None, ...]:
        real, scale, zero = context.saved_tensors
        of_integers = slope * scale
        of_scale = _inner(slope, real, scale) / scale if context.needs_input_grad[1] else None
        return of_integers, of_scale, -of_integers.sum_to_size(zero.shape) if context.needs_input_grad[2] else None


def _inner(one: Torch, other: Torch, scale: Torch) -> Torch:
    """Products summed over all that has the same scale."""
    return (one * other).sum_to_size(scale.shape)


def refused_quantize_linear(call: Call) -> str:
    """Why a QuantizeLinear has no counterpart; "" if it has."""
    return "" if kind_of(call) in LIMITS else "its integers are of a type that is not computed here"


def kind_of(call: Call) -> int:
    """ONNX's type of the integers that a QuantizeLinear makes or a DequantizeLinear reads, as its zero point says; 0 if nothing does."""
    of_zero_point = call.types[2] if len(call.types) > 2 else 0
    return of_zero_point or int(call.get("output_dtype", 0))


def _spread(call: Call, numbers: Torch, x: Torch) -> Torch:
    """Scales or zero points in a shape that goes with the tensor: one for all, by channel, or by block."""
    if numbers.numel() == 1:
        return numbers.reshape(())
    axis = call.get("axis", 1) % x.ndim
    block = call.get("block_size", 0)
    if block:
        return numbers.repeat_interleave(block, dim=axis).narrow(axis, 0, x.shape[axis])
    return numbers.reshape([-1 if at == axis else 1 for at in range(x.ndim)])

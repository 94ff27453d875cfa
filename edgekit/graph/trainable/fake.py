"""Q/DQ as training sees it: integers are float tensors, rounding lets gradients pass, and what is clipped passes none."""

from __future__ import annotations

import torch
from onnx import TensorProto

from edgekit.graph.trainable.call import Call, Torch

_LIMITS = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT4: (-8, 7),
    TensorProto.UNDEFINED: (0, 255),
}


def quantize_linear(call: Call, x: Torch, scale: Torch, zero_point: Torch = None) -> Torch:
    """QuantizeLinear, with a straight-through gradient.

    Source:
        Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation", 2013.
    """
    low, high = _LIMITS[_kind(call)]
    steps = x / _spread(call, scale, x)
    rounded = steps + (torch.round(steps) - steps).detach()
    if zero_point is not None:
        rounded = rounded + _spread(call, zero_point.to(x.dtype), x)
    return torch.clamp(rounded, low, high)


def dequantize_linear(call: Call, x: Torch, scale: Torch, zero_point: Torch = None) -> Torch:
    """DequantizeLinear."""
    integers = x.to(scale.dtype)
    if zero_point is not None:
        integers = integers - _spread(call, zero_point.to(scale.dtype), x)
    return integers * _spread(call, scale, x)


def refused_quantize_linear(call: Call) -> str:
    """Why a QuantizeLinear has no counterpart; "" if it has."""
    return "" if _kind(call) in _LIMITS else "its integers are of a type that is not computed here"


def _kind(call: Call) -> int:
    """ONNX's type of the integers that a QuantizeLinear makes."""
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

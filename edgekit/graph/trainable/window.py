"""Convolutions and pooling: what slides over the spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from edgekit.graph.trainable.call import Call, Torch

_CONV = (functional.conv1d, functional.conv2d, functional.conv3d)
_CONV_TRANSPOSE = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
_MAX_POOL = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_AVERAGE_POOL = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)

Pads = tuple[list[int], list[int]]
"""Before and after each spatial axis."""


def conv(call: Call, x: Torch, weight: Torch, bias: Torch = None) -> Torch:
    """Conv of one to three axes."""
    axes = x.ndim - 2
    strides, dilations = _each(call, "strides", axes), _each(call, "dilations", axes)
    begins, ends = _pads(call, x.shape[2:], weight.shape[2:])
    padding = begins
    if begins != ends:
        x, padding = functional.pad(x, _outside(begins, ends)), [0] * axes
    return _CONV[axes - 1](x, weight, bias, strides, padding, dilations, call.get("group", 1))


def conv_transpose(call: Call, x: Torch, weight: Torch, bias: Torch = None) -> Torch:
    """ConvTranspose of one to three axes: all of it, then cut to size."""
    axes = x.ndim - 2
    strides, dilations = _each(call, "strides", axes), _each(call, "dilations", axes)
    more = call.get("output_padding", [0] * axes)
    whole = _CONV_TRANSPOSE[axes - 1](x, weight, None, strides, 0, 0, call.get("group", 1), dilations)
    pads = call.get("pads", [0] * 2 * axes)
    begins, ends = pads[:axes], pads[axes:]
    automatic = call.get("auto_pad", "NOTSET")
    wanted = call.get("output_shape")
    if wanted is not None or automatic.startswith("SAME"):
        sizes = wanted[-axes:] if wanted is not None else [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
        over = [max(full + extra - size, 0) for full, extra, size in zip(whole.shape[2:], more, sizes, strict=True)]
        begins = [one // 2 if automatic == "SAME_UPPER" else (one + 1) // 2 for one in over]
        ends = [one - begin for one, begin in zip(over, begins, strict=True)]
    made = functional.pad(whole, _outside([-begin for begin in begins], [extra - end for extra, end in zip(more, ends, strict=True)]))
    return made if bias is None else made + bias.reshape(1, -1, *[1] * axes)


def max_pool(call: Call, x: Torch) -> Torch:
    """MaxPool of one to three axes."""
    axes = x.ndim - 2
    kernel, strides, dilations = call.get("kernel_shape"), _each(call, "strides", axes), _each(call, "dilations", axes)
    begins, ends = _pooling_pads(call, x.shape[2:])
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    return _MAX_POOL[axes - 1](functional.pad(x, _outside(begins, ends), value=lowest), kernel, strides, 0, dilations)


def average_pool(call: Call, x: Torch) -> Torch:
    """AveragePool of one to three axes; cells that only rounding up adds are never counted."""
    axes = x.ndim - 2
    kernel, strides = call.get("kernel_shape"), _each(call, "strides", axes)
    begins, ends = _pooling_pads(call, x.shape[2:])
    pool = _AVERAGE_POOL[axes - 1]
    made = pool(functional.pad(x, _outside(begins, ends)), kernel, strides)
    if not any(begins) and all(end <= 0 for end in ends):
        return made
    counted = x.new_ones((1, 1, *x.shape[2:]))
    if call.get("count_include_pad", 0):
        said = _pads(call, x.shape[2:], kernel)
        counted = functional.pad(counted, _outside(*said), value=1.0)
        begins, ends = [0] * axes, [end - before for end, before in zip(ends, said[1], strict=True)]
    return made / pool(functional.pad(counted, _outside(begins, ends)), kernel, strides)


def global_average_pool(call: Call, x: Torch) -> Torch:
    """GlobalAveragePool."""
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def global_max_pool(call: Call, x: Torch) -> Torch:
    """GlobalMaxPool."""
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)


def refused_max_pool(call: Call) -> str:
    """Why a MaxPool has no counterpart; "" if it has."""
    return "the places of its maxima are not computed here" if call.outputs > 1 else ""


def refused_average_pool(call: Call) -> str:
    """Why an AveragePool has no counterpart; "" if it has."""
    return "dilated averages are not computed here" if any(one != 1 for one in call.get("dilations", [])) else ""


def _each(call: Call, name: str, axes: int) -> list[int]:
    return list(call.get(name, [1] * axes))


def _outside(begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Padding as torch lists it: the last axis first."""
    return [one for pair in zip(reversed(begins), reversed(ends), strict=True) for one in pair]


def _pads(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> Pads:
    """Padding as it is written, or as ``auto_pad`` works it out."""
    axes = len(sizes)
    automatic = call.get("auto_pad", "NOTSET")
    if not automatic.startswith("SAME"):
        said = call.get("pads", [0] * 2 * axes) if automatic == "NOTSET" else [0] * 2 * axes
        return list(said[:axes]), list(said[axes:])
    strides, dilations = _each(call, "strides", axes), _each(call, "dilations", axes)
    begins, ends = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        whole = max((-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        begins.append(whole // 2 if automatic == "SAME_UPPER" else (whole + 1) // 2)
        ends.append(whole - begins[-1])
    return begins, ends


def _pooling_pads(call: Call, sizes: Sequence[int]) -> Pads:
    """Padding that makes the windows come out even, with those that ``ceil_mode`` adds."""
    axes, kernel = len(sizes), call.get("kernel_shape")
    begins, ends = _pads(call, sizes, kernel)
    strides, dilations = _each(call, "strides", axes), _each(call, "dilations", axes)
    reached = []
    for size, width, stride, dilation, begin, end in zip(sizes, kernel, strides, dilations, begins, ends, strict=True):
        window = (width - 1) * dilation + 1
        room = size + begin + end - window
        count = room // stride + 1
        if call.get("ceil_mode", 0) and room % stride and count * stride < size + begin:  # a window that begins behind all numbers is none
            count += 1
        reached.append((count - 1) * stride + window - size - begin)
    return begins, reached

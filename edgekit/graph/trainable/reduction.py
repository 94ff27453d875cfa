"""One number for all along some axes."""

from __future__ import annotations

import torch

from edgekit.graph.trainable.call import Call, Torch


def reduce_sum(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceSum."""
    return x if _is_nothing(call, axes) else x.sum(dim=_axes(call, x, axes), keepdim=_keeps(call))


def reduce_mean(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceMean."""
    return x if _is_nothing(call, axes) else x.mean(dim=_axes(call, x, axes), keepdim=_keeps(call))


def reduce_max(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceMax."""
    return x if _is_nothing(call, axes) else x.amax(dim=_axes(call, x, axes), keepdim=_keeps(call))


def reduce_min(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceMin."""
    return x if _is_nothing(call, axes) else x.amin(dim=_axes(call, x, axes), keepdim=_keeps(call))


def reduce_prod(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceProd, one axis after the other."""
    if _is_nothing(call, axes):
        return x
    for axis in sorted(_axes(call, x, axes), reverse=True):
        x = x.prod(dim=axis, keepdim=_keeps(call))
    return x


def reduce_l1(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceL1."""
    return reduce_sum(call, x.abs(), axes)


def reduce_l2(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceL2."""
    return reduce_sum(call, x * x, axes).sqrt()


def reduce_sum_square(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceSumSquare."""
    return reduce_sum(call, x * x, axes)


def reduce_log_sum(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceLogSum."""
    return reduce_sum(call, x, axes).log()


def reduce_log_sum_exp(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """ReduceLogSumExp."""
    return x if _is_nothing(call, axes) else torch.logsumexp(x, dim=_axes(call, x, axes), keepdim=_keeps(call))


def arg_max(call: Call, x: Torch) -> Torch:
    """ArgMax."""
    return x.argmax(dim=call.get("axis", 0), keepdim=_keeps(call))


def arg_min(call: Call, x: Torch) -> Torch:
    """ArgMin."""
    return x.argmin(dim=call.get("axis", 0), keepdim=_keeps(call))


def refused_last_index(call: Call) -> str:
    """Why an ArgMax or ArgMin has no counterpart; "" if it has."""
    return "the last of equal numbers is not looked for here" if call.get("select_last_index", 0) else ""


def _keeps(call: Call) -> bool:
    return bool(call.get("keepdims", 1))


def _is_nothing(call: Call, axes: Torch) -> bool:
    """Whether no axes means none, not all."""
    return not call.axes(axes) and bool(call.get("noop_with_empty_axes", 0))


def _axes(call: Call, x: Torch, axes: Torch) -> tuple[int, ...]:
    found = call.axes(axes) or range(x.ndim)
    return tuple(axis % x.ndim for axis in found)

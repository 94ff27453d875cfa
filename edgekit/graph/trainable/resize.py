"""Resize: nearest and linear, axis by axis, in every way of counting coordinates that ONNX names."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.graph.trainable.call import Call, Torch, numbers

_COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")


def resize(call: Call, x: Torch, roi: Torch = None, scales: Torch = None, sizes: Torch = None) -> Torch:
    """Resize."""
    along = [axis % x.ndim for axis in call.get("axes", range(x.ndim))]
    if sizes is not None:
        wanted = numbers(sizes)
        factors = [size / x.shape[axis] for size, axis in zip(wanted, along, strict=True)]
    else:
        factors = [float(one) for one in scales.reshape(-1).tolist()]
        wanted = [int(np.floor(x.shape[axis] * np.float32(factor))) for axis, factor in zip(along, factors, strict=True)]
    for axis, size, factor in zip(along, wanted, factors, strict=True):
        if size != x.shape[axis] or factor != 1.0:
            where = _where(call, x.shape[axis], size, factor)
            x = _nearest(call, x, axis, where) if call.get("mode", "nearest") == "nearest" else _linear(x, axis, where)
    return x


def refused_resize(call: Call) -> str:
    """Why a Resize has no counterpart; "" if it has."""
    wrong = {
        f"mode {call.get('mode')}": call.get("mode", "nearest") not in ("nearest", "linear"),
        str(call.get("coordinate_transformation_mode")): call.get("coordinate_transformation_mode", "half_pixel") not in _COORDINATES,
        "antialias": bool(call.get("antialias", 0)),
        "keep_aspect_ratio_policy": call.get("keep_aspect_ratio_policy", "stretch") != "stretch",
    }
    return ", ".join(f"{what} is not computed here" for what, is_so in wrong.items() if is_so)


def _where(call: Call, before: int, after: int, factor: float) -> NDArray[np.float64]:
    """The place in the input of each number of the output, along one axis."""
    at = np.arange(after, dtype=np.float64)
    mode = call.get("coordinate_transformation_mode", "half_pixel")
    if mode == "align_corners":
        return at * (before - 1) / (after - 1) if after > 1 else np.zeros(1)
    if mode == "asymmetric":
        return at / factor
    if mode == "pytorch_half_pixel" and after == 1:
        return np.zeros(1)
    if mode == "half_pixel_symmetric":
        off = before / 2 * (1 - after / (factor * before))
        return off + (at + 0.5) / factor - 0.5
    return (at + 0.5) / factor - 0.5


def _nearest(call: Call, x: Torch, axis: int, where: NDArray[np.float64]) -> Torch:
    mode = call.get("nearest_mode", "round_prefer_floor")
    near = np.float32(where)
    rounded = {
        "round_prefer_floor": np.ceil(near - np.float32(0.5)),
        "round_prefer_ceil": np.floor(near + np.float32(0.5)),
        "floor": np.floor(near),
        "ceil": np.ceil(near),
    }[mode]
    places = np.clip(rounded, 0, x.shape[axis] - 1).astype(np.int64)
    return x.index_select(axis, torch.from_numpy(places).to(x.device))


def _linear(x: Torch, axis: int, where: NDArray[np.float64]) -> Torch:
    where = np.clip(where, 0, x.shape[axis] - 1)
    low = np.floor(where).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = torch.from_numpy(np.float32(where - low)).to(x.device).reshape([-1 if at == axis else 1 for at in range(x.ndim)])
    first, second = (x.index_select(axis, torch.from_numpy(one).to(x.device)) for one in (low, high))
    return first * (1 - share) + second * share

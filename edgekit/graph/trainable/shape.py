"""Numbers moved about, and the sizes of tensors as values."""

from __future__ import annotations

import numpy as np
import torch
from onnx import TensorProto

from edgekit.graph.trainable.call import Call, Torch, numbers

_DTYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}


def identity(call: Call, x: Torch, *rest: Torch) -> Torch:
    """Identity, and Dropout as it is when nobody trains."""
    return x


def reshape(call: Call, x: Torch, sizes: Torch) -> Torch:
    """Reshape; a 0 keeps a size unless ``allowzero``."""
    wanted = numbers(sizes)
    if not call.get("allowzero", 0):
        wanted = [x.shape[at] if size == 0 else size for at, size in enumerate(wanted)]
    return x.reshape(wanted)


def flatten(call: Call, x: Torch) -> Torch:
    """Flatten to two axes."""
    axis = call.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def transpose(call: Call, x: Torch) -> Torch:
    """Transpose."""
    return x.permute(call.get("perm", list(range(x.ndim))[::-1]))


def squeeze(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """Squeeze."""
    found = call.axes(axes)
    return x.squeeze() if found is None else x.squeeze(tuple(axis % x.ndim for axis in found))


def unsqueeze(call: Call, x: Torch, axes: Torch = None) -> Torch:
    """Unsqueeze."""
    found = call.axes(axes) or []
    for axis in sorted(axis % (x.ndim + len(found)) for axis in found):
        x = x.unsqueeze(axis)
    return x


def concat(call: Call, *xs: Torch) -> Torch:
    """Concat."""
    return torch.cat(xs, dim=call.get("axis"))


def split(call: Call, x: Torch, sizes: Torch = None) -> tuple[Torch, ...]:
    """Split by sizes, or into equal parts of which the last may be smaller."""
    axis = call.get("axis", 0)
    if sizes is not None:
        return tuple(torch.split(x, numbers(sizes), dim=axis))
    parts = call.get("num_outputs", call.outputs)
    return tuple(torch.split(x, -(-x.shape[axis] // parts), dim=axis))


def sliced(call: Call, x: Torch, starts: Torch, ends: Torch, axes: Torch = None, steps: Torch = None) -> Torch:
    """Slice, backwards too."""
    begins, stops = numbers(starts), numbers(ends)
    along = range(len(begins)) if axes is None else numbers(axes)
    strides = [1] * len(begins) if steps is None else numbers(steps)
    for axis, begin, stop, step in zip(along, begins, stops, strides, strict=True):
        places = range(*slice(begin, stop, step).indices(x.shape[axis]))
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(places.start, max(places.stop, places.start), step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))
    return x


def gather(call: Call, x: Torch, indices: Torch) -> Torch:
    """Gather along one axis."""
    axis = call.get("axis", 0) % x.ndim
    places = torch.where(indices < 0, indices + x.shape[axis], indices).to(torch.int64)
    found = x.index_select(axis, places.reshape(-1))
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def expand(call: Call, x: Torch, sizes: Torch) -> Torch:
    """Expand; a size of 1 leaves the tensor's."""
    return x.expand(torch.broadcast_shapes(x.shape, numbers(sizes)))


def tile(call: Call, x: Torch, repeats: Torch) -> Torch:
    """Tile."""
    return x.repeat(numbers(repeats))


def pad(call: Call, x: Torch, pads: Torch, value: Torch = None, axes: Torch = None) -> Torch:
    """Pad with a constant, or with numbers of the tensor; a negative pad cuts."""
    along = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in numbers(axes)]
    amounts = numbers(pads)
    mode = call.get("mode", "constant")
    outside = [(0, 0)] * x.ndim
    for at, axis in enumerate(along):
        outside[axis] = (amounts[at], amounts[at + len(along)])
    if mode == "constant":
        flat = [one for pair in reversed(outside) for one in pair]
        return torch.nn.functional.pad(x, flat, value=0.0 if value is None else value.item())
    for axis, (begin, end) in enumerate(outside):
        if begin or end:
            kept = np.arange(max(-begin, 0), x.shape[axis] - max(-end, 0))
            places = np.pad(kept, (max(begin, 0), max(end, 0)), mode=mode)
            x = x.index_select(axis, torch.from_numpy(places).to(x.device))
    return x


def depth_to_space(call: Call, x: Torch) -> Torch:
    """DepthToSpace, depth or column first."""
    batch, depth, height, width = x.shape
    block = call.get("blocksize")
    if call.get("mode", "DCR") == "DCR":
        parts = x.reshape(batch, block, block, depth // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(batch, depth // block**2, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, depth // block**2, height * block, width * block)


def space_to_depth(call: Call, x: Torch) -> Torch:
    """SpaceToDepth."""
    batch, depth, height, width = x.shape
    block = call.get("blocksize")
    parts = x.reshape(batch, depth, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(batch, depth * block**2, height // block, width // block)


def cast(call: Call, x: Torch) -> Torch:
    """Cast."""
    return x.to(_DTYPES[call.get("to")])


def shape(call: Call, x: Torch) -> Torch:
    """Shape, or a part of it."""
    return torch.tensor(list(x.shape)[call.get("start", 0) : call.get("end", x.ndim)], dtype=torch.int64)


def size(call: Call, x: Torch) -> Torch:
    """Size."""
    return torch.tensor(x.numel(), dtype=torch.int64)


def constant_of_shape(call: Call, sizes: Torch) -> Torch:
    """ConstantOfShape."""
    from onnx import numpy_helper

    value = call.get("value")
    filled = torch.zeros(1) if value is None else torch.from_numpy(numpy_helper.to_array(value).copy())
    return filled.expand(numbers(sizes))


def span(call: Call, start: Torch, limit: Torch, delta: Torch) -> Torch:
    """Range."""
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def refused_cast(call: Call) -> str:
    """Why a Cast has no counterpart; "" if it has."""
    return "" if call.get("to") in _DTYPES else "torch does not have that type"

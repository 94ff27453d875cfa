"""From samples in the source's shape to what an engine's ports take, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.engine.contract import Engine, Port
from edgekit.errors import SamplesError
from edgekit.model import Layout, Signature, Tensor
from edgekit.run import tensors as run_tensors

Array = NDArray[Any]


def _relaid(array: Array, have: Layout, want: Layout) -> Array:
    if {have, want} == {"nchw", "nhwc"}:
        return np.moveaxis(array, 1, -1) if want == "nhwc" else np.moveaxis(array, -1, 1)
    return array


def to_port(array: Array, tensor: Tensor, port: Port) -> Array:
    """An input of the source as the engine takes it: layout, then integers if the port holds some, then element type.

    Raises:
        SamplesError: shape or values do not fit the port.
    """
    laid = _relaid(array, tensor.layout, port.layout)
    fits = laid.ndim == len(port.shape) and all(isinstance(want, str) or have == want for have, want in zip(laid.shape, port.shape, strict=True))
    if not fits:
        raise SamplesError(f"{port.name}: a sample has shape {laid.shape}, the engine takes {port.shape}", hint="pin other sizes with --shape")
    if port.scale is not None and np.issubdtype(laid.dtype, np.floating):
        grid = np.iinfo(port.dtype)
        laid = np.clip(np.rint(laid / np.float32(port.scale)) + (port.zero_point or 0), grid.min, grid.max)
    converted = laid.astype(port.dtype)
    if np.issubdtype(laid.dtype, np.integer) and not np.array_equal(converted, laid):
        raise SamplesError(f"{port.name}: a sample holds {laid.max()}, too large for {port.dtype}", hint="the engine's integers are narrower")
    return np.ascontiguousarray(converted)


def from_port(array: Array, tensor: Tensor, port: Port) -> Array:
    """An output of the engine as the source would give it: real values, the source's layout and element type."""
    if port.scale is not None and np.issubdtype(array.dtype, np.integer):
        array = (array.astype(np.float32) - np.float32(port.zero_point or 0)) * np.float32(port.scale)
    return np.ascontiguousarray(_relaid(array, port.layout, tensor.layout)).astype(tensor.dtype)


def feed_tensors(feed: Mapping[str, Array], engine: Engine, signature: Signature) -> list[run_tensors.Tensor]:
    """One sample as the agent takes it, in the order of the engine's inputs.

    Raises:
        SamplesError: an input is missing or does not fit.
    """
    by_name = {tensor.name: tensor for tensor in signature.inputs}
    told = []
    for port in engine.inputs:
        if port.name not in feed:
            raise SamplesError(f"a sample has no input {port.name}; it has {', '.join(feed)}", hint="name the arrays as the model's inputs")
        array = to_port(feed[port.name], by_name[port.name], port)
        told.append(run_tensors.Tensor(name=port.name, dtype=port.dtype, shape=array.shape, data=array.tobytes()))
    return told


def outputs_of(told: Sequence[run_tensors.Tensor], engine: Engine, signature: Signature) -> dict[str, Array]:
    """One query's outputs as the source would give them, by name, in the source's order."""
    ports = {port.name: port for port in engine.outputs}
    got = {tensor.name: np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape) for tensor in told}
    return {tensor.name: from_port(got[tensor.name], tensor, ports[tensor.name]) for tensor in signature.outputs}

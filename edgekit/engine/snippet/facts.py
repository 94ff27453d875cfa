"""What a snippet is written from: the engine's ports, the way from a picture to its input, the names of its classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from edgekit.engine.contract import Engine, Port
from edgekit.model import Layout, Preprocess, Signature

RUNTIMES = {"onnxruntime": "ONNX Runtime", "tflite": "LiteRT (TensorFlow Lite)", "ethos-u": "TensorFlow Lite Micro"}
IMAGE_DTYPES = frozenset({"float32", "int8", "uint8", "int16", "uint16", "int32"})


@dataclass(frozen=True, slots=True)
class Picture:
    """The way from a decoded picture to the one input of an engine.

    Attributes:
        how: as the signature says.
        resize: (height, width) to stretch to; None where ``how.resize_short`` holds, or nothing is resized.
        crop: (height, width) to cut from the middle; None if nothing is cut.
        layout: of the engine's input.
    """

    how: Preprocess
    resize: tuple[int, int] | None
    crop: tuple[int, int] | None
    layout: Layout

    @property
    def channels(self) -> int:
        """Values of a pixel."""
        return 1 if self.how.colour == "grey" else 3

    def per_channel(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """One value for each channel."""
        return values if len(values) == self.channels else values * self.channels


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a snippet states.

    Attributes:
        engine: the engine.
        signature: what the source takes and gives.
        picture: None where inputs are arrays.
    """

    engine: Engine
    signature: Signature
    picture: Picture | None

    @property
    def runtime(self) -> str:
        """What people call the runtime."""
        return RUNTIMES[self.engine.runtime]

    @property
    def has_integers(self) -> bool:
        """Whether an input or output holds integers that stand for real values."""
        return any(port.scale is not None for port in (*self.engine.inputs, *self.engine.outputs))

    @property
    def scores(self) -> Port | None:
        """The output that holds one score a class; None if it is no classifier."""
        if len(self.engine.outputs) != 1:
            return None
        port = self.engine.outputs[0]
        sizes = [size if isinstance(size, int) else 1 for size in port.shape]
        return port if sizes and sizes[-1] > 1 and math.prod(sizes) == sizes[-1] else None

    def lines(self) -> list[str]:
        """Inputs and outputs, one line each, for a comment."""
        return [
            *(_line("input", port, "") for port in self.engine.inputs),
            *(_line("output", port, _was(port, self.signature)) for port in self.engine.outputs),
        ]


def facts_of(engine: Engine, signature: Signature) -> Facts:
    """Join an engine and its signature. A port keeps its scale only where the source has real values there."""
    reals = {tensor.name for tensor in (*signature.inputs, *signature.outputs) if tensor.dtype.startswith("float")}
    inputs, outputs = (
        tuple(port if port.name in reals else msgspec.structs.replace(port, scale=None, zero_point=None) for port in ports)
        for ports in (engine.inputs, engine.outputs)
    )
    known = msgspec.structs.replace(engine, inputs=inputs, outputs=outputs)
    return Facts(engine=known, signature=signature, picture=_picture(known, signature))


def _picture(engine: Engine, signature: Signature) -> Picture | None:
    how = signature.preprocess
    if how is None or len(engine.inputs) != 1 or engine.inputs[0].dtype not in IMAGE_DTYPES or len(engine.inputs[0].shape) != 4:
        return None
    tensor = signature.inputs[0]
    crop = (how.crop, how.crop) if isinstance(how.crop, int) else how.crop
    resize = how.resize
    if resize is None and how.resize_short is None and crop is None:
        height, width = tensor.shape[1:3] if tensor.layout == "nhwc" else tensor.shape[-2:]
        resize = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    layout = engine.inputs[0].layout or tensor.layout
    return Picture(how=how, resize=None if how.resize_short else resize, crop=crop, layout="nhwc" if layout == "nhwc" else "nchw")


def _line(kind: str, port: Port, remark: str) -> str:
    shape = " x ".join(str(size) for size in port.shape)
    stored = "" if port.scale is None else f", real = {port.scale!r} * (stored - {port.zero_point or 0})"
    name = " ".join(port.name.split())
    return f"{kind:6} {name}: {port.dtype} {shape} {port.layout}".rstrip() + stored + remark


def _was(port: Port, signature: Signature) -> str:
    layouts = {tensor.name: tensor.layout for tensor in signature.outputs}
    had = layouts.get(port.name, "")
    return f" (the source has {had})" if had and had != port.layout else ""

"""What goes into a model and what comes out, as the person who calls it needs to know it."""

from __future__ import annotations

from typing import Literal

import msgspec

Layout = Literal["nchw", "nhwc", ""]


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output.

    Attributes:
        name: as the source calls it.
        dtype: numpy's name of the element type, such as ``float32``.
        shape: sizes; a word stands for a size that is left open.
        layout: where an image's channels are; empty for what is no image.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    layout: Layout = ""


class Preprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From a decoded picture (bytes 0 to 255) to the network's input: resize, crop, then ``(pixel - mean) / std``.

    Attributes:
        resize_short: scale so that the shorter side has this many pixels, keeping the proportions.
        resize: stretch to (height, width) instead.
        crop: cut this square, or (height, width), from the middle.
        interpolation: filter of the resize (Pillow's, with antialiasing).
        colour: channel order, or one grey channel.
        mean: subtracted from each pixel; one value, or one a channel.
        std: what the difference is divided by; one value, or one a channel.
    """

    resize_short: int | None = None
    resize: tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


RAW_PIXELS = Preprocess(mean=(0.0,), std=(1.0,))
"""Preprocessing of a network that scales the pixels itself."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inputs and outputs of a model, how pictures become its input, and what its classes are called."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()


def unique(wanted: list[str]) -> list[str]:
    """The names, those that come again with a number."""
    made: list[str] = []
    for name in wanted:
        number, free = 1, name
        while free in made:
            free, number = f"{name}_{number}", number + 1
        made.append(free)
    return made

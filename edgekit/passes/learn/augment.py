"""Samples changed at random while they are learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from edgekit.errors import UsageError
from edgekit.extras import extra
from edgekit.model import Preprocess, Signature, Tensor
from edgekit.passes.learn.options import TrainOptions, outside
from edgekit.passes.learn.technique import Torch

with extra("augment"):
    import kornia.augmentation as kornia

Change = Callable[[Mapping[str, Torch]], dict[str, Torch]]

_PICTURE = ("flip", "rotate_deg", "crop", "brightness", "contrast", "saturation")


def augmentation(options: TrainOptions, signature: Signature, spread: Mapping[str, float]) -> Change:
    """What is done to every batch: inputs by name, shape (samples, 1, …), in and out.

    Pictures get back their range of 0 to 1 for it, by the signature's preprocessing, and are normalized again.

    Args:
        options: what is done, and how much.
        signature: of the student.
        spread: standard deviation of each input over the samples; noise on what is no picture is relative to it.

    Raises:
        UsageError: pictures are to be changed and no input is one whose preprocessing is known, or colours of grey ones.
    """
    pictures = [one for one in signature.inputs if _is_picture(one)] if signature.preprocess is not None else []
    asked = [name for name in _PICTURE if getattr(options, name) not in (0, 0.0, "none")]
    if asked and not pictures:
        hint = "leave them out; noise alone goes with every input"
        raise UsageError(f"{', '.join(asked)}: for pictures, and the model has no input that is known to be one", hint=hint)
    if options.saturation and all(_channels(one) == 1 for one in pictures):
        raise UsageError(f"saturation = {options.saturation:g}: grey pictures have none", hint="leave it out; brightness and contrast go with them")
    changes = {one.name: _Picture(options, one, signature.preprocess or Preprocess()) for one in pictures}
    floats = {one.name for one in signature.inputs if one.dtype.startswith("float")}

    def change(inputs: Mapping[str, Torch]) -> dict[str, Torch]:
        made = {}
        for name, value in inputs.items():
            if name in changes:
                made[name] = changes[name](value)
            else:
                noise = options.noise * spread[name] if name in floats else 0.0
                made[name] = value + noise * torch.randn(value.shape) if noise else value
        return made

    return change


def _channels(tensor: Tensor) -> int | str:
    return tensor.shape[3 if tensor.layout == "nhwc" else 1] if len(tensor.shape) == 4 else 0


def _is_picture(tensor: Tensor) -> bool:
    return tensor.layout in ("nchw", "nhwc") and _channels(tensor) in (1, 3)


class _Picture:
    """One input that is a picture."""

    def __init__(self, options: TrainOptions, tensor: Tensor, how: Preprocess) -> None:
        self._is_last = tensor.layout == "nhwc"
        self._mean, self._std = _by_channel(how.mean), _by_channel(how.std)
        self._swapped = how.colour == "bgr"
        size = tensor.shape[1:3] if self._is_last else tensor.shape[2:]
        channels = tensor.shape[3] if self._is_last else tensor.shape[1]
        self._change = kornia.AugmentationSequential(*_steps(options, size, is_grey=channels == 1), data_keys=["input"])

    def __call__(self, value: Torch) -> Torch:
        pixels = value[:, 0].movedim(-1, 1) if self._is_last else value[:, 0]
        shown = ((pixels * self._std + self._mean) / 255.0).clamp(0.0, 1.0)
        shown = self._change(shown.flip(1) if self._swapped else shown)
        pixels = ((shown.flip(1) if self._swapped else shown) * 255.0 - self._mean) / self._std
        return (pixels.movedim(1, -1) if self._is_last else pixels)[:, None].to(value.dtype)


def _steps(options: TrainOptions, size: tuple[int | str, ...], *, is_grey: bool) -> list[Torch]:
    steps: list[Torch] = []
    if options.flip in ("horizontal", "both"):
        steps.append(kornia.RandomHorizontalFlip(p=0.5))
    if options.flip in ("vertical", "both"):
        steps.append(kornia.RandomVerticalFlip(p=0.5))
    if options.rotate_deg:
        steps.append(kornia.RandomRotation(options.rotate_deg, p=1.0))
    if options.crop:
        if not all(isinstance(one, int) for one in size):
            raise UsageError("crop: the model leaves the size of its input open", hint="pin it with --shape, or leave crop out")
        if why := outside(options.crop, min(one for one in size if isinstance(one, int))):
            what, _, hint = why.partition("; ")
            raise UsageError(what, hint=hint)
        steps.append(kornia.RandomCrop(size, padding=options.crop, p=1.0))
    if options.brightness or options.contrast or options.saturation:
        colours = 0.0 if is_grey else options.saturation
        steps.append(kornia.ColorJiggle(options.brightness, options.contrast, colours, 0.0, p=1.0))
    if options.noise:
        steps.append(kornia.RandomGaussianNoise(std=options.noise, p=1.0))
    return steps


def _by_channel(numbers: Iterable[float]) -> Torch:
    return torch.tensor(tuple(numbers), dtype=torch.float32)[:, None, None]

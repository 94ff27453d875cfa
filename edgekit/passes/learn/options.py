"""What every step that trains can be told."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit import plugins
from edgekit.extras import lacks
from edgekit.strict import nearest

if TYPE_CHECKING:
    from edgekit.model import Model

CROSS_ENTROPY = "cross_entropy"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of one training. Passes that train take these fields as their own, and add to them.

    Attributes:
        epochs: times that every training sample is seen.
        steps: most updates of the weights over all epochs; 0 if epochs alone decide.
        batch: samples a step.
        rate: learning rate at its highest.
        optimizer: of torch; ``sgd`` with Nesterov momentum 0.9.
        weight_decay: pull towards 0, on weights of two and more axes.
        schedule: how the rate falls to 0 after the warm-up, or that it does not.
        warmup: share of the steps in which the rate rises to its highest.
        clip: largest norm of all gradients together; 0 for none.
        average: weights that are kept: the last ones, an exponential moving average (``ema``), or the mean over the last
            quarter of the steps (``swa``).
        decay: of ``ema``, each step; while few steps are done it is less.
        held_out: share of the training samples that judges after every epoch which weights are best; 0 for none.
        patience: epochs without a better judgement after which training ends; 0 for never.
        temperature: what logits of student and teacher are divided by before they are compared.
        labels: share of the labels in the loss, 0 to 1, where there are labels and a teacher; 1 does without the teacher.
        outputs: whether the first output holds classes, whose probabilities are compared, or values, which are compared as
            they are; ``auto`` takes for classes what a Softmax makes, and what labels count.
        match: inner tensors to compare besides, ``student=teacher``, or one name where both call it the same.
        match_weight: their share in the loss, beside 1 for the outputs.
        loss: of labels: ``cross_entropy``, or the name of an entry point of the group ``edgekit.losses``.
        trainer: name of an entry point of the group ``edgekit.trainers``, whose loop runs instead; empty for edgekit's own.
        flip: pictures are mirrored at random.
        rotate_deg: pictures are turned at random by as much to both sides.
        crop: pictures are moved at random by as many pixels to each side, black coming in.
        brightness: pictures become lighter or darker at random, by such a share at most; likewise ``contrast`` and ``saturation``.
        contrast: see ``brightness``.
        saturation: see ``brightness``; pictures of three channels alone.
        noise: standard deviation of noise, 1 being the range of a picture; of other inputs their own standard deviation.
        seed: of all that is drawn.
        threads: of torch; 0 for one a core. The result is the same bit for bit for the same number.
        processor: what computes; on ``cuda`` the result is the same bit for bit where torch has a deterministic form of every
            operator.
    """

    epochs: int = 10
    steps: int = 0
    batch: int = 32
    rate: float = 1e-3
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.05
    clip: float = 0.0
    average: Literal["none", "ema", "swa"] = "none"
    decay: float = 0.99
    held_out: float = 0.2
    patience: int = 0
    temperature: float = 4.0
    labels: float = 0.5
    outputs: Literal["auto", "classes", "values"] = "auto"
    match: tuple[str, ...] = ()
    match_weight: float = 1.0
    loss: str = CROSS_ENTROPY
    trainer: str = ""
    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    rotate_deg: float = 0.0
    crop: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    noise: float = 0.0
    seed: int = 0
    threads: int = 0
    processor: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        """Refuse what no training can follow.

        Raises:
            ValueError: every fault, in one line.
        """
        faults = [f"{name} = {getattr(self, name)!r}: {wanted}" for name, is_right, wanted in RANGES if not is_right(getattr(self, name))]
        if faults:
            raise ValueError("; ".join(faults))

    def missing(self) -> str:
        """What the training asks for and is not installed; "" if nothing is. No framework is imported for it."""
        faults = [lacks("torch", "torch"), lacks("augment", "kornia") if self.augments else ""]
        trainers, losses = ("", *plugins.names("edgekit.trainers")), (CROSS_ENTROPY, *plugins.names("edgekit.losses"))
        for field, asked, group, known in (("trainer", self.trainer, "trainers", trainers), ("loss", self.loss, "losses", losses)):
            if asked not in known:
                faults.append(f"{field} = {asked}: not installed as an entry point of edgekit.{group}{nearest(asked, known)}")
        return "; ".join(filter(None, faults))

    def misfit(self, model: Model) -> str:
        """What of the options fits no input of a model; "" if all does."""
        pictures = [one for one in model.signature.inputs if one.layout in ("nchw", "nhwc") and len(one.shape) == 4]
        sizes = [one.shape[1:3] if one.layout == "nhwc" else one.shape[2:] for one in pictures]
        least = min((size for both in sizes for size in both if isinstance(size, int)), default=None)
        return outside(self.crop, least)

    @property
    def augments(self) -> bool:
        """Whether samples are changed at random."""
        return self.flip != "none" or any((self.rotate_deg, self.crop, self.brightness, self.contrast, self.saturation, self.noise))


def outside(crop: int, least: int | None) -> str:
    """Why pictures cannot be moved by so many pixels; "" if they can.

    Args:
        crop: pixels.
        least: height or width of the pictures, whichever is less; None where that is open.
    """
    if least is None or crop < least:
        return ""
    return f"crop = {crop}: pictures of {least} pixels would be moved out of sight; {least - 1} at most"


def _at_least(least: float) -> Callable[[float], bool]:
    return lambda value: math.isfinite(value) and value >= least


def _share(value: float) -> bool:
    return 0.0 <= value <= 1.0


RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("epochs", _at_least(1), "at least 1"),
    ("steps", _at_least(0), "0 or more"),
    ("batch", _at_least(1), "at least 1"),
    ("rate", lambda value: 0.0 < value <= 1000.0, "more than 0, 1000 at most"),
    ("weight_decay", _at_least(0), "0 or more"),
    ("warmup", _share, "0 to 1"),
    ("clip", _at_least(0), "0 or more"),
    ("decay", lambda value: 0.0 < value < 1.0, "between 0 and 1"),
    ("held_out", lambda value: 0.0 <= value <= 0.9, "0 to 0.9"),
    ("patience", _at_least(0), "0 or more"),
    ("temperature", lambda value: math.isfinite(value) and value > 0.0, "more than 0"),
    ("labels", _share, "0 to 1"),
    ("match_weight", _at_least(0), "0 or more"),
    ("rotate_deg", lambda value: 0.0 <= value <= 180.0, "0 to 180"),
    ("crop", _at_least(0), "0 or more"),
    ("brightness", _share, "0 to 1"),
    ("contrast", _share, "0 to 1"),
    ("saturation", _share, "0 to 1"),
    ("noise", _at_least(0), "0 or more"),
    ("threads", _at_least(0), "0 or more"),
)
"""Fields that have limits: which, when they are kept, and how that is said."""

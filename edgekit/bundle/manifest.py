"""What a bundle says of itself: what it is for, what is in it, what was measured of it. It is signed as it stands."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgekit.engine.contract import Port
from edgekit.model import Preprocess
from edgekit.report import Accuracy, Fidelity

SCHEMA = 1


class Boxes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a detector's boxes lie in its outputs, and which of them stay; the file of ``--boxes``.

    Attributes:
        boxes: the output with four numbers a box, and scores behind them if ``scores`` is empty.
        scores: the output with a score for each class.
        layout: whether a box is a row (…, count, numbers) or a column (…, numbers, count).
        corners: what the four numbers are; ``cxcywh`` is middle and size.
        unit: of these numbers: pixels of the input, or a share of its width and height.
        objectness: whether a score for "anything" stands before those of the classes, by which they are multiplied.
        min_score: weaker boxes are left out.
        max_overlap: of two boxes of a class that share more of their area (IoU), the weaker one is left out.
        most: boxes that stay.
    """

    boxes: str
    scores: str = ""
    layout: Literal["rows", "columns"] = "rows"
    corners: Literal["xyxy", "yxyx", "cxcywh"] = "xyxy"
    unit: Literal["pixels", "share"] = "pixels"
    objectness: bool = False
    min_score: float = 0.25
    max_overlap: float = 0.45
    most: int = 100


class Descriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The way from a file to an answer, as the runner on the device reads it.

    Attributes:
        inputs, outputs: the engine's ports.
        preprocess: from a picture to the one input; None where inputs are arrays.
        labels: of the classes.
        postprocess: boxes of a detector.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    preprocess: Preprocess | None
    labels: tuple[str, ...]
    postprocess: Boxes | None


class ForTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the engine was made for; a device of another architecture refuses it."""

    name: str
    title: str
    arch: str
    runtime: str
    runtime_version: str


class Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the engine is opened.

    Attributes:
        file: its path in the bundle.
        runtime: that opens it.
        options: of the runtime.
        threads: that it may compute with.
        inputs, outputs: names of the ports, in order.
        precision: what most of the arithmetic is done in.
        bytes, sha256: of the file.
    """

    file: str
    runtime: str
    options: dict[str, Any]
    threads: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    precision: str
    bytes: int
    sha256: str


class Build(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the engine is built on the device, in the folder ``engine``, by Python: once, and how it is run again."""

    argv: tuple[str, ...]
    again: tuple[str, ...]
    timeout_s: float


class HealthLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the engine must do on the device before it runs there.

    Attributes:
        queries: known inputs that came along, with the outputs that were recorded.
        max_difference: most that an element may differ, as a share of the output's largest recorded value.
        max_latency_ms: most the median query may take; None if that is not judged.
        timeout_s: for all of it.
    """

    queries: int
    max_difference: float
    max_latency_ms: float | None
    timeout_s: float


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it was made of."""

    source: str
    format: str
    sha256: str
    recipe: str
    steps: tuple[dict[str, Any], ...]
    samples: str
    samples_sha256: str


class Licences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Licences, as whoever made the bundle stated them; "" where nobody did."""

    model: str
    samples: str


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member."""

    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file ``manifest.json``.

    Attributes:
        schema: version of this format.
        name: of the application; a device has one running slot for each.
        title: the model and its engine, in words.
        version: a number that grows; a device installs none older than the last that proved good there.
        created: when the engine was built, ISO 8601.
        edgekit: version that made it.
        target: what it is for.
        engine: how it is opened.
        build: how it is built on the device; None if it comes built.
        health: what it must do there.
        origin: model, recipe and samples.
        fidelity, accuracy: as measured when it was built, on a machine whose name is left out; None if not.
        licence: of model and samples.
        tools: versions of the packages that decided the result.
        needs: packages that the device must have.
        members: all files, in the order of the archive.
    """

    schema: Literal[1] = 1
    name: str
    title: str
    version: int
    created: str
    edgekit: str
    target: ForTarget
    engine: Opened
    build: Build | None
    health: HealthLimits
    origin: Origin
    fidelity: Fidelity | None
    accuracy: Accuracy | None
    licence: Licences
    tools: dict[str, str]
    needs: tuple[str, ...]
    members: tuple[Listed, ...]

    def encoded(self) -> bytes:
        """As it is signed: the same manifest, the same bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1) + b"\n"

"""What every backend is and makes: Model in, Engine out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import msgspec

from edgekit.model import Layout, Model, Step, Tensor
from edgekit.samples import Samples
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.device.contract import Device

ENGINE_RECORD = "engine.json"


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of an engine, as its caller must hand it over.

    Attributes:
        name: as in the source.
        dtype: numpy's name.
        shape: sizes; a word for one left open.
        layout: of an image; may differ from the source's.
        scale: real value of one integer step, where the port holds integers.
        zero_point: the integer that stands for 0.0.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    layout: Layout = ""
    scale: float | None = None
    zero_point: int | None = None


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backend made for one kind of device.

    Attributes:
        file: the engine's file in its folder; of a package for the device, the file that is built from.
        target: name of the target.
        runtime: name of the runtime.
        precision: such as ``float32``, ``float16``, ``int8``: what most of the arithmetic is done in.
        status: whether it can be run, or must first be built on the device.
        inputs, outputs: its ports.
        bytes: size of ``file``.
        sha256: of ``file``.
        options: runtime options it wants to be opened with.
        details: what the backend found worth reporting (operators, nodes left in float, …).
    """

    file: str
    target: str
    runtime: str
    precision: str
    status: Literal["built", "not built: needs the device"]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    bytes: int
    sha256: str
    options: dict[str, Any] = {}
    details: dict[str, Any] = {}

    @property
    def runs_in(self) -> str:
        """The runtime that opens it; what follows a hyphen in ``runtime`` says who compiled it."""
        return self.runtime.partition("-")[0]


class Conversion(msgspec.Struct, frozen=True):
    """What a backend is told that has a converter take the source, instead of the graph that edgekit made of it.

    Attributes:
        steps: of the recipe, with all their options; none of them has been taken.
        samples: for ranges of activations.
        trust: open the source without a sandbox.
        memory_bytes, timeout_s: what the converter may use.
    """

    steps: tuple[Step, ...] = ()
    samples: Samples | None = None
    trust: bool = False
    memory_bytes: int = 16 << 30
    timeout_s: float = 1800.0


def seal_engine(folder: Path, engine: Engine) -> Engine:
    """Write the engine's record beside its file."""
    (folder / ENGINE_RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(engine), indent=1))
    return engine


def read_engine(folder: Path) -> Engine:
    """The record of the engine that lies in ``folder``."""
    return msgspec.json.decode((folder / ENGINE_RECORD).read_bytes(), type=Engine)


def port_of(tensor: Tensor, *, layout: Layout | None = None) -> Port:
    """The port of a tensor that the engine leaves as the source has it."""
    return Port(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, layout=tensor.layout if layout is None else layout)


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node the target's engine cannot carry."""

    node: str
    op: str
    shapes: str
    reason: str
    remedy: str

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.node} ({self.op} {self.shapes}): {self.reason}; {self.remedy}"


class Backend(Protocol):
    """Compiles for one runtime; entry-point group ``edgekit.backends``. It never quantizes: precision is in the model.

    The exception is a yardstick: a backend that has somebody else's converter take the source itself. It names the formats
    of source it takes in a class variable ``takes`` (as the history's first step has them), is made with ``conversion``
    (a :class:`Conversion`), and has two methods besides: ``lacking(steps) -> str``, what of a recipe it cannot do and what
    can be done about it, and ``decided_by() -> dict``, what decides its engines besides model and target. No step of the
    recipe is taken for it.
    """

    runtime: ClassVar[str]
    ports: ClassVar[frozenset[str]]
    """What a caller may choose of its engines' ports: ``dtype``, ``layout``."""

    def refusals(self, model: Model, target: Target) -> tuple[Refusal, ...]:
        """Every node that cannot be lowered for this target, all at once; empty if it can be built."""

    def compile(self, model: Model, target: Target, device: Device | None, out: Path) -> Engine:
        """Write the engine and its record into ``out`` (an empty folder)."""

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the engine's bytes. Imports none of them."""

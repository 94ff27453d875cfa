"""What every backend is and makes: Model in, Engine out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import msgspec

from edgekit.model import Layout, Model, Tensor
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


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator that a delegate leaves to the runtime's own kernels.

    Attributes:
        node: of the model it comes from; where that is not known, the tensor it makes.
        op: the runtime's name of it.
        types, shapes: of what it reads and makes, as ``int16, int8 -> int16``.
        reason: why the delegate leaves it.
        remedy: what can be done about it.
    """

    node: str
    op: str
    types: str
    shapes: str
    reason: str
    remedy: str

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.node} ({self.op} {self.types}; {self.shapes}): {self.reason}; {self.remedy}".removesuffix("; ")


class Delegation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of an engine a delegate executes, by the rules of one version of it.

    Attributes:
        delegate: what people call it.
        by: the version whose rules were applied.
        operators: of the whole engine.
        taken: of these, what the delegate takes.
        parts: in how many pieces; between two of them numbers go back to the runtime.
        left: the operators that it leaves.
        note: what the rules do not say; "" where they say it all.
        assumed: what was made up to know so before the engine is built; "" of a built one.
    """

    delegate: str
    by: str
    operators: int
    taken: int
    parts: int
    left: tuple[Fallback, ...] = ()
    note: str = ""
    assumed: str = ""

    @property
    def is_full(self) -> bool:
        """Whether nothing is left to the runtime's own kernels."""
        return not self.left

    def sentence(self, *, named: int = 10) -> str:
        """``XNNPACK takes 62 of 64 operators in 2 parts; left: …``; beyond ``named`` nodes, a count."""
        pieces = f" in {self.parts} parts" if self.parts > 1 else ""
        said = f"{self.delegate} takes {self.taken} of {self.operators} operators{pieces}"
        if self.is_full:
            return f"{self.delegate} takes all {self.operators} operators{pieces}"
        names = [f"{one.node} ({one.op})" for one in self.left[:named]]
        more = len(self.left) - len(names)
        return f"{said}; left: {', '.join(names)}{f' and {more} more' if more else ''}" if names else said


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
        delegation: what the runtime's default delegate takes of it, of runtimes that have one.
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
    delegation: Delegation | None = None


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

    One whose runtime has a default delegate may have ``delegation(model, target, *, assumed) -> Delegation`` besides: what
    the delegate would take of a Model, asked before anything is built; ``assumed`` says what of the Model is made up. Its
    options then have ``require_full_delegation``. Options are a class variable ``options``, if there are any: what a target's
    ``[runtimes.options]`` and ``--set RUNTIME.…`` may hold. One that has somebody else's parser to ask may have
    ``preflight(model, target, *, assumed) -> Preflight``.
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

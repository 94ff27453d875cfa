"""What every backend is and makes: Model in, Engine out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import msgspec

from edgekit.model import Layout, Model, Step, Tensor
from edgekit.samples import Samples
from edgekit.target import Target, runs_in

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


class MemoryUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a compiler expects of one memory of a device.

    Attributes:
        name: ``SRAM``, ``DRAM``, ``on-chip flash`` or ``off-chip flash``.
        used_bytes: most that is taken at once.
        moved_bytes: read and written by one query.
        peak_gb_s: bandwidth of the memory by design, 10^9 bytes a second.
        holds: ``weights``, ``feature maps``; neither where it only buffers them.
    """

    name: str
    used_bytes: int
    moved_bytes: int
    peak_gb_s: float
    holds: tuple[str, ...] = ()


class CpuOperator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator that the processor beside an NPU computes.

    Attributes:
        op: its name in TFLite.
        output: the tensor it makes.
        reason: why not the NPU, as the compiler says it.
    """

    op: str
    output: str
    reason: str


class NpuEstimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a compiler for an NPU says of its engine. Cycles and times are its model's: nothing was run, let alone measured.

    Attributes:
        compiler: its name and version.
        accelerator: what it compiled for.
        system: name of the clock and memories it assumed.
        memory_mode: name of the way these memories are shared.
        clock_mhz: of the NPU.
        npu_cycles: that the NPU computes in one query.
        total_cycles: of one query, waiting for memory included; operators on the CPU are not in it.
        query_ms: total cycles at that clock.
        macs: multiply-adds of one query on the NPU, those of means and pools counted.
        weight_bytes: weights as the model stores them.
        encoded_weight_bytes: the same compressed for the NPU.
        memories: those that are used.
        operators: of the model.
        cpu_operators: those of the compiled file that the NPU does not compute.
    """

    compiler: str
    accelerator: str
    system: str
    memory_mode: str
    clock_mhz: float
    npu_cycles: int
    total_cycles: int
    query_ms: float
    macs: int
    weight_bytes: int
    encoded_weight_bytes: int
    memories: tuple[MemoryUse, ...]
    operators: int
    cpu_operators: tuple[CpuOperator, ...] = ()


class StandIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file beside an engine that no host can run, which computes the same in a runtime that hosts have: it is judged instead.

    Attributes:
        file: its name in the engine's folder.
        runtime: that runs it.
        options: it wants to be opened with.
        remark: what it is and how near it is to the engine, in a sentence.
    """

    file: str
    runtime: str
    options: dict[str, Any]
    remark: str


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
        npu: what an NPU's compiler says of it.
        stand_in: what fidelity is judged on, where no host can run the engine.
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
    npu: NpuEstimate | None = None
    stand_in: StandIn | None = None

    @property
    def runs_in(self) -> str:
        """The runtime that opens it."""
        return runs_in(self.runtime)


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
        what = f"{self.op} {self.shapes}".strip()
        return f"{self.node} ({what}): {self.reason}; {self.remedy}"


class Backend(Protocol):
    """Compiles for one runtime; entry-point group ``edgekit.backends``. It never quantizes: precision is in the model.

    One whose runtime has a default delegate may have ``delegation(model, target, *, assumed) -> Delegation`` besides: what
    the delegate would take of a Model, asked before anything is built; ``assumed`` says what of the Model is made up. Its
    options then have ``require_full_delegation``. Options are a class variable ``options``, if there are any: what a target's
    ``[runtimes.options]`` and ``--set RUNTIME.…`` may hold. One that has somebody else's parser to ask may have
    ``preflight(model, target, *, assumed) -> Preflight``. One that builds on the device is asked ``survey(device) -> dict``,
    what the device is, ``why_not_on(machine, target) -> str`` and ``deciding(machine) -> dict``, what of that decides an engine; its
    ``compile`` takes a ``watcher`` besides, and ``build(device, package, out, *, watcher) -> Engine`` makes an engine of a package.

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

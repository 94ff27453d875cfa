"""The build plan: what the board is told about how to build, as plain data."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgekit.engine.contract import Port
from edgekit.engine.tensorrt.rules import TensorrtOptions, Version, can_be_strong, is_strong_only
from edgekit.target import Target

Precision = Literal["float32", "float16", "bfloat16", "int8"]
_MOST_WORKSPACE_MIB = 4096


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of one input with open dimensions."""

    input: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class BuildPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``build-plan.json``; the builder script on the board reads it and needs nothing else.

    Attributes:
        schema: version of this file format.
        target: name of the target.
        tensorrt: release that the graph was checked against.
        compute_capability: of the board's GPU; empty if the target does not say.
        model: file of the graph.
        model_sha256: of that file.
        precision: what most of the arithmetic is done in.
        typing: ``strong`` takes formats from the graph, ``weak`` by ``flags``.
        flags: names of ``BuilderFlag``, for releases before 11.
        workspace_mib: most that a layer may use while it runs; 0 leaves it to TensorRT.
        optimization_level: 0 to 5.
        profiles: of inputs with open dimensions.
        inputs, outputs: the engine's ports.
        engine: file to write.
        dla_core: which DLA core takes the layers that it can; -1 for none.
        calibration: file of scales for int8 without Q/DQ, which a DLA wants up to TensorRT 10.7; "" where Q/DQ say all.
        sparsity: whether TensorRT may use that weights are 2:4 sparse.
        trtexec: the options of trtexec that ``build`` the same engine and ``time`` it.
    """

    schema: Literal[1]
    target: str
    tensorrt: str
    compute_capability: str
    model: str
    model_sha256: str
    precision: Precision
    typing: Literal["weak", "strong"]
    flags: tuple[str, ...]
    workspace_mib: int
    optimization_level: int
    profiles: tuple[Profile, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    engine: str = "model.plan"
    dla_core: int = -1
    calibration: str = ""
    sparsity: bool = False
    trtexec: dict[str, tuple[str, ...]] = {}

    @property
    def made_of(self) -> tuple[str, ...]:
        """Files of the package that hold the model; the graph's data lie apart only where they are large."""
        return tuple(filter(None, (self.model, f"{self.model}.data", self.calibration)))


def typing_of(release: Version, precision: Precision, options: TensorrtOptions) -> Literal["weak", "strong"]:
    """Whether formats come from the graph or from flags; where only one is possible, that one. A graph of bfloat16 says all itself."""
    if is_strong_only(release) or precision == "bfloat16":
        return "strong"
    return options.typing if can_be_strong(release) else "weak"


def flags_of(precision: Precision, typing: Literal["weak", "strong"], options: TensorrtOptions) -> tuple[str, ...]:
    """Flags that let a weakly typed build use what the graph is made for."""
    if typing == "strong" or precision == "float32":
        return ()
    if precision == "float16":
        return ("FP16",)
    return ("INT8", "FP16") if options.float_rest == "float16" else ("INT8",)


def workspace_mib(target: Target, options: TensorrtOptions) -> int:
    """A quarter of the memory that the board shares between CPU and GPU; 0 if it is not known."""
    if options.workspace_mib:
        return options.workspace_mib
    return min(target.ram_mib // 4, _MOST_WORKSPACE_MIB) if target.ram_mib else 0


def open_dimensions(inputs: tuple[Port, ...]) -> dict[str, list[str]]:
    """Names of the open dimensions, each with the inputs that have it."""
    found: dict[str, list[str]] = {}
    for port in inputs:
        for size in port.shape:
            if isinstance(size, str):
                found.setdefault(size, []).append(port.name)
    return found


def profiles_of(inputs: tuple[Port, ...], options: TensorrtOptions) -> tuple[Profile, ...]:
    """Sizes for every input with open dimensions, all of which ``options.shapes`` must name."""

    def sizes(port: Port, which: int) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else options.shapes[size][which] for size in port.shape)

    is_open = [port for port in inputs if not all(isinstance(size, int) for size in port.shape)]
    return tuple(Profile(input=port.name, min=sizes(port, 0), opt=sizes(port, 1), max=sizes(port, 2)) for port in is_open)

"""TensorRT-RTX in a process of its own: NVIDIA's parser and ahead-of-time compiler, which need no GPU.

Its library is 220 MB, prints what it pleases, and ends the process on some graphs: none of that belongs into the process of
whoever calls edgekit. The parser is that of TensorRT 11, the networks are strongly typed.

Source: https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/; what was seen to work without a driver of 1.7.1.116.
"""

from __future__ import annotations

import importlib.util
import re
import time
from pathlib import Path
from typing import Any

import msgspec

from edgekit import child
from edgekit.engine.tensorrt.plan import Profile
from edgekit.errors import ChildError, MissingExtraError

EXTRA, MODULE = "tensorrt-rtx", "tensorrt_rtx"
PACKAGES = ("tensorrt-rtx-cu12", "tensorrt-rtx-cu13")
_LIMITS = child.Limits(cpu_s=3600, wall_s=1200.0)
_MEMORY = re.compile(r"(Total Activation Memory|Total Weights Memory|Max Scratch Memory):\s*(\d+) bytes")
_KEPT_COMPLAINTS = 20


class Asked(msgspec.Struct, frozen=True):
    """What the child is to do.

    Attributes:
        model: file of the graph.
        capability: compute capability to compile for, as ``8.6``; "" to parse alone.
        profiles: sizes of inputs with open dimensions.
        engine: file to write; None where only the verdict is wanted.
    """

    model: Path
    capability: str = ""
    profiles: tuple[Profile, ...] = ()
    engine: Path | None = None


class RefusedNode(msgspec.Struct, frozen=True):
    """A node that the parser refused: its place in the file, name, operator, error code, and the parser's own words."""

    index: int
    name: str
    op: str
    code: str
    reason: str


class Answered(msgspec.Struct, frozen=True):
    """What NVIDIA's parser and compiler said.

    Attributes:
        version: of TensorRT-RTX.
        parsed: whether the whole graph became a network.
        refused: the nodes that the parser refused.
        compiled: whether an engine came out.
        error: why not, in the compiler's words.
        bytes: size of the engine.
        build_s: seconds that the compiler took.
        memory: bytes by what they are for, read from its log.
        complaints: its warnings and errors.
    """

    version: str
    parsed: bool
    refused: tuple[RefusedNode, ...] = ()
    compiled: bool = False
    error: str = ""
    bytes: int = 0
    build_s: float = 0.0
    memory: dict[str, int] = {}
    complaints: tuple[str, ...] = ()


def is_installed() -> bool:
    """Whether the extra is here (nothing is imported)."""
    return importlib.util.find_spec(MODULE) is not None


def ask(asked: Asked) -> Answered:
    """Parse, and compile if asked to.

    Raises:
        MissingExtraError: TensorRT-RTX is not installed.
        ChildError: it crashed or took longer than twenty minutes.
    """
    if not is_installed():
        raise MissingExtraError(EXTRA, PACKAGES[0])
    try:
        return child.call(f"{__name__}:answer", asked, Answered, limits=_LIMITS)
    except ChildError as error:
        hint = f"build without it: pip uninstall {PACKAGES[0]}, or choose another runtime"
        raise ChildError(f"TensorRT-RTX failed: {error.message}", hint=hint, output=error.output) from error


def answer(asked: Asked) -> Answered:
    """What the child does."""
    trt: Any = importlib.import_module(MODULE)
    log = _logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(asked.model)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        return Answered(version=trt.__version__, parsed=False, refused=tuple(map(_refused, errors)), complaints=log.complaints())
    if not asked.capability:
        return Answered(version=trt.__version__, parsed=True, complaints=log.complaints())
    began = time.perf_counter()
    plan = builder.build_serialized_network(network, _config(trt, builder, asked))
    seconds = time.perf_counter() - began
    content = b"" if plan is None else bytes(plan)
    if content and asked.engine is not None:
        asked.engine.write_bytes(content)
    return Answered(
        version=trt.__version__,
        parsed=True,
        compiled=bool(content),
        error="" if content else log.last_error(),
        bytes=len(content),
        build_s=round(seconds, 3),
        memory=log.memory,
        complaints=log.complaints(),
    )


def _refused(error: Any) -> RefusedNode:
    code = str(error.code()).rpartition(".")[2]
    return RefusedNode(index=error.node(), name=error.node_name(), op=error.node_operator(), code=code, reason=error.desc())


def _config(trt: Any, builder: Any, asked: Asked) -> Any:
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{asked.capability.replace('.', '')}"), 0)
    if asked.profiles:
        profile = builder.create_optimization_profile()
        for one in asked.profiles:
            profile.set_shape(one.input, one.min, one.opt, one.max)
        config.add_optimization_profile(profile)
    return config


def _logger(trt: Any) -> Any:
    """A logger that keeps what is complained of and the memory figures."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[tuple[str, str]] = []
            self.memory: dict[str, int] = {}

        def log(self, severity: Any, text: str) -> None:
            if severity.name in ("INTERNAL_ERROR", "ERROR", "WARNING"):
                self.said.append((severity.name, text.strip()))
            for what, count in _MEMORY.findall(text):
                self.memory[f"{what.lower().replace(' ', '_')}_bytes"] = int(count)

        def complaints(self) -> tuple[str, ...]:
            return tuple(f"{severity}: {text}" for severity, text in self.said[:_KEPT_COMPLAINTS])

        def last_error(self) -> str:
            return next((text for severity, text in reversed(self.said) if severity != "WARNING"), "TensorRT-RTX made nothing and said nothing")

    return Log()

"""TensorRT: engines are built where they run, so what is made here is the package for the board.

The package holds the graph in the opset and with the Q/DQ that the board's TensorRT reads, a build plan, one builder
script without dependencies, the same as a trtexec command line, and the three commands to type.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.engine.contract import Engine, Refusal
from edgekit.engine.tensorrt.rules import TensorrtOptions
from edgekit.model import Model
from edgekit.plugins import version_of
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.device.contract import Device

__all__ = ["TensorrtBackend"]


class TensorrtBackend:
    """Packages a Model for a device with TensorRT; entry point ``tensorrt``."""

    runtime: ClassVar[str] = "tensorrt"
    ports: ClassVar[frozenset[str]] = frozenset()
    options: ClassVar[type] = TensorrtOptions

    def refusals(self, model: Model, target: Target) -> tuple[Refusal, ...]:
        """Every node that the target's TensorRT release does not take.

        Raises:
            UsageError: the target's options or versions cannot be read.
        """
        from edgekit.engine.tensorrt.package import prepare

        return prepare(model, target).refusals

    def compile(self, model: Model, target: Target, device: Device | None, out: Path) -> Engine:
        """Write the package for the device into ``out``.

        Raises:
            UnsupportedError: a node cannot be carried.
        """
        from edgekit.engine.tensorrt.package import write_package

        return write_package(model, target, out)

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the package's bytes."""
        return version_of("edgekit", "onnx")

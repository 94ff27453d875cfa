"""TensorRT: engines are built where they run, so what is made here for a board is a package.

The package holds the graph in the opset and with the Q/DQ that the board's TensorRT reads, a build plan, the builder script
without dependencies, the same as a trtexec command line, and the three commands to type. Engines of TensorRT-RTX, which is
for GeForce and RTX cards alone, are built here, on any CPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from edgekit.engine.contract import Engine, Refusal
from edgekit.engine.tensorrt.rules import TensorrtOptions
from edgekit.model import Model
from edgekit.plugins import version_of
from edgekit.target import Target
from edgekit.watch import SILENT, Watcher

if TYPE_CHECKING:
    from edgekit.device.contract import Device
    from edgekit.engine.tensorrt.preflight import Preflight

__all__ = ["TensorrtBackend", "TensorrtRtxBackend"]

_PARSER = ("tensorrt-rtx-cu12", "tensorrt-rtx-cu13")


class TensorrtBackend:
    """Packages a Model for a device with TensorRT; entry point ``tensorrt``."""

    runtime: ClassVar[str] = "tensorrt"
    ports: ClassVar[frozenset[str]] = frozenset()
    options: ClassVar[type] = TensorrtOptions

    def refusals(self, model: Model, target: Target) -> tuple[Refusal, ...]:
        """Every node that the target's TensorRT release does not take, by rule.

        Raises:
            UsageError: the target's options or versions cannot be read.
        """
        from edgekit.engine.tensorrt.package import prepare

        return prepare(model, target).refusals

    def preflight(self, model: Model, target: Target, *, assumed: str = "") -> Preflight:
        """What NVIDIA's parser says of a Model that no rule refuses; ``assumed`` says what of the Model is made up."""
        from edgekit.engine.tensorrt.package import prepare
        from edgekit.engine.tensorrt.preflight import preflight

        version = target.runtime(self.runtime).version
        return msgspec.structs.replace(preflight(prepare(model, target).written(), version), assumed=assumed)

    def compile(self, model: Model, target: Target, device: Device | None, out: Path, *, watcher: Watcher = SILENT) -> Engine:
        """Write the package for the device into ``out``; with a device, build the engine there and fetch it.

        Raises:
            UnsupportedError: a node cannot be carried.
            DeviceError: TensorRT there cannot build.
            UnreachableError: the device was out of reach for too long; the build goes on there.
        """
        from edgekit.engine.tensorrt.package import write_package

        if device is None:
            return write_package(model, target, out)
        with tempfile.TemporaryDirectory(prefix="edgekit-package-") as stage:
            write_package(model, target, Path(stage))
            return self.build(device, Path(stage), out, watcher=watcher)

    def build(self, device: Device, package: Path, out: Path, *, watcher: Watcher = SILENT) -> Engine:
        """Build the engine of a package on a device, and fetch it.

        Raises:
            DeviceError: TensorRT there cannot build.
            UnreachableError: the device was out of reach for too long; the build goes on there.
            UnsupportedError: TensorRT there refuses nodes.
        """
        from edgekit.engine.tensorrt.on_board import build_on

        return build_on(device, package, out, watcher)

    def repack(self, built: Path, out: Path) -> Engine:
        """Write the package again that a device built an engine of.

        Raises:
            StoreError: the graph does not lie beside the engine.
        """
        from edgekit.engine.tensorrt.package import repack

        return repack(built, out)

    def survey(self, device: Device) -> dict[str, Any]:
        """TensorRT, GPU, board, power modes and clocks of a device."""
        from edgekit.engine.tensorrt.on_board import survey

        return survey(device)

    def deciding(self, machine: Mapping[str, Any]) -> dict[str, Any]:
        """Of a survey, what an engine depends on."""
        from edgekit.engine.tensorrt.on_board import deciding

        return deciding(machine)

    def why_not_on(self, machine: Mapping[str, Any], target: Target) -> str:
        """Why a surveyed device cannot build for a target; "" if nothing is known against it."""
        from edgekit.engine.tensorrt.on_board import why_not_on

        return why_not_on(machine, target)

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the package's bytes, and what is known of them."""
        return version_of("edgekit", "onnx", *_PARSER)


class TensorrtRtxBackend:
    """Builds engines for NVIDIA RTX cards on any CPU; entry point ``tensorrt-rtx``. Such an engine never runs on a Jetson."""

    runtime: ClassVar[str] = "tensorrt-rtx"
    ports: ClassVar[frozenset[str]] = frozenset()
    options: ClassVar[type] = TensorrtOptions

    def refusals(self, model: Model, target: Target) -> tuple[Refusal, ...]:
        """Every node that is refused by rule; of a graph that the rules take, those that NVIDIA's parser refuses.

        Raises:
            UsageError: the target's options or versions cannot be read.
            MissingExtraError: TensorRT-RTX is not installed.
        """
        from edgekit.engine.tensorrt.rtx import refusals_of

        return refusals_of(model, target)

    def preflight(self, model: Model, target: Target, *, assumed: str = "") -> Preflight:
        """What NVIDIA's parser says of a Model that it does not refuse."""
        from edgekit.engine.tensorrt.rtx import preflight_of

        with tempfile.TemporaryDirectory(prefix="edgekit-rtx-") as stage:
            return msgspec.structs.replace(preflight_of(model, target, Path(stage)), assumed=assumed)

    def compile(self, model: Model, target: Target, device: Device | None, out: Path) -> Engine:
        """Build the engine into ``out``: the same model gives the same bytes.

        Raises:
            UnsupportedError: NVIDIA's parser or compiler does not take it.
            MissingExtraError: TensorRT-RTX is not installed.
        """
        from edgekit.engine.tensorrt.rtx import write_engine

        return write_engine(model, target, out)

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the engine's bytes."""
        return version_of("edgekit", "onnx", *_PARSER)

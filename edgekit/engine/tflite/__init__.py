"""The TFLite backend: a flatbuffer straight from the ONNX graph, without TensorFlow.

The stages, each a file: read the ONNX file, one form for what can be said in several (``normal``), Q/DQ nodes become
scales of tensors (``precision``), activations join what they follow (``fusing``), the order of axes of every tensor
(``layout``), one lowering after another (``lowering/table``), what the file says of itself (``metadata``), the file (``writer``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit import strict
from edgekit.engine.contract import Delegation, Engine, Refusal, seal_engine
from edgekit.engine.tflite.metadata import append_files
from edgekit.engine.tflite.options import TfliteOptions
from edgekit.model import Model, file_sha256
from edgekit.model.store import writing
from edgekit.plugins import version_of
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.device.contract import Device

ENGINE_FILE = "model.tflite"
__all__ = ["ENGINE_FILE", "TfliteBackend", "TfliteOptions"]


class TfliteBackend:
    """Lowers ONNX to TFLite. Float models, Q/DQ models (int8) and float16 weights; precision is as the model has it."""

    runtime: ClassVar[str] = "tflite"
    ports: ClassVar[frozenset[str]] = frozenset({"dtype", "layout"})
    options: ClassVar[type] = TfliteOptions

    def refusals(self, model: Model, target: Target) -> tuple[Refusal, ...]:
        """Every node that cannot be lowered, all at once; empty if it can be built.

        Raises:
            UsageError: the target's options for ``tflite`` are not such.
            SourceError: the model's file cannot be read.
        """
        from edgekit.engine.tflite import compiling

        return compiling.refusals(model.path, self._options(target))

    def delegation(self, model: Model, target: Target, *, assumed: str = "") -> Delegation:
        """What XNNPACK would take of a Model that is quantized as it will be.

        Raises:
            UnsupportedError: a node cannot be lowered.
            UsageError: the target's options for ``tflite`` are not such.
        """
        from edgekit.engine.tflite import compiling

        return compiling.foreseen(model, self._options(target), target.runtime(self.runtime).version, assumed=assumed)

    def compile(self, model: Model, target: Target, device: Device | None, out: Path) -> Engine:
        """Write ``model.tflite`` and its record into ``out``.

        Raises:
            UnsupportedError: a node cannot be lowered, or would not run in XNNPACK where all has to; all such are named.
            UsageError: the target's options for ``tflite`` are not such.
            MissingExtraError: ai-edge-litert is not installed.
        """
        from edgekit.engine.tflite import compiling

        lowered = compiling.lowered(model, self._options(target), target.runtime(self.runtime).version)
        file = out / ENGINE_FILE
        with writing(out):
            file.write_bytes(lowered.content)
            append_files(file, lowered.files)
            engine = Engine(
                file=ENGINE_FILE,
                target=target.name,
                runtime=self.runtime,
                precision=lowered.precision,
                status="built",
                inputs=lowered.inputs,
                outputs=lowered.outputs,
                bytes=file.stat().st_size,
                sha256=file_sha256(file),
                details=lowered.details,
                delegation=lowered.delegation,
            )
            return seal_engine(out, engine)

    def tools(self) -> dict[str, str]:
        """Versions of what decides the engine's bytes. Imports none of it."""
        return version_of("edgekit", "ai-edge-litert", "flatbuffers", "numpy", "onnx")

    def _options(self, target: Target) -> TfliteOptions:
        return strict.convert(target.runtime(self.runtime).options, TfliteOptions, where=f"{target.name}: options of tflite")

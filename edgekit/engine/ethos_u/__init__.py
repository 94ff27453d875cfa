"""Ethos-U: the TFLite backend's int8 file, compiled for Arm's NPU by Vela.

What the NPU cannot compute stays in the file for the Cortex-M beside it, under TensorFlow Lite Micro; the engine's record names
each such operator with Vela's reason, and holds Vela's estimate of cycles and memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit import strict
from edgekit.engine.contract import Engine, Refusal, StandIn, seal_engine
from edgekit.engine.ethos_u.options import EthosUOptions
from edgekit.engine.tflite import ENGINE_FILE
from edgekit.errors import UnsupportedError
from edgekit.model import Model, file_sha256
from edgekit.model.store import writing
from edgekit.plugins import version_of
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.device.contract import Device

__all__ = ["EthosUBackend", "EthosUOptions"]

_STAND_IN = StandIn(
    file=ENGINE_FILE,
    runtime="tflite",
    options={"reference": True},
    remark=(
        f"Fidelity is that of {ENGINE_FILE}, which Vela compiled, run in TFLite's reference kernels on a CPU; the engine itself has not"
        " been run, on no board and on no Fixed Virtual Platform. Arm names these kernels (up to Vela 3.12) as what the NPU's results are"
        " compared with bit by bit."
    ),
)
"""https://review.mlplatform.org/plugins/gitiles/ml/ethos-u/ethos-u-vela/+/refs/tags/3.12.0/README.md, section TensorFlow Support. LiteRT's other
kernels differ: XNNPACK and those built in by up to two steps of 256 in EfficientNet-Lite0's outputs (LiteRT 2.3.0, x86-64)."""


class EthosUBackend:
    """Compiles quantized models for an Ethos-U NPU; entry point ``ethos-u``."""

    runtime: ClassVar[str] = "ethos-u"
    ports: ClassVar[frozenset[str]] = frozenset({"dtype", "layout"})

    def refusals(self, model: Model, target: Target) -> tuple[Refusal, ...]:
        """Every node that no TFLite operator can carry; what the NPU cannot, the CPU computes.

        Raises:
            UsageError: the target's options for ``ethos-u`` are not such.
            SourceError: the model's file cannot be read.
            MissingExtraError: ethos-u-vela is not installed.
        """
        from edgekit.engine.ethos_u import vela
        from edgekit.engine.tflite import compiling

        vela.check_installed()
        return compiling.refusals(model.path, self._options(target).of_tflite)

    def compile(self, model: Model, target: Target, device: Device | None, out: Path) -> Engine:
        """Write ``model.tflite``, what Vela makes of it, its tables and its log, and the record into ``out``.

        Raises:
            UnsupportedError: a node cannot be lowered, nothing in the model is integer, or Vela refuses it.
            UsageError: the target's options for ``ethos-u`` are not such.
            MissingExtraError: ai-edge-litert or ethos-u-vela is not installed.
            ChildError: Vela crashed or took too long.
        """
        from edgekit.engine.ethos_u import told, vela
        from edgekit.engine.tflite import compiling

        options = self._options(target)
        lowered = compiling.lowered(model, options.of_tflite)
        if not lowered.precision.startswith("int") and "QUANTIZE" not in lowered.details["operators"]:
            raise UnsupportedError(
                f"{target.name}: the NPU computes in integers alone, and this model computes in {lowered.precision}", hint="--recipe static_wi8_ai8"
            )
        source, compiled = out / ENGINE_FILE, out / f"{Path(ENGINE_FILE).stem}{vela.COMPILED_SUFFIX}"
        with writing(out):
            source.write_bytes(lowered.content)
            vela.compile_file(source, options)
            log = (out / vela.LOG_FILE).read_text(encoding="utf-8", errors="replace")
            compiler = f"Vela {version_of(vela.PACKAGE)[vela.PACKAGE]}"
            engine = Engine(
                file=compiled.name,
                target=target.name,
                runtime=self.runtime,
                precision=lowered.precision,
                status="built",
                inputs=lowered.inputs,
                outputs=lowered.outputs,
                bytes=compiled.stat().st_size,
                sha256=file_sha256(compiled),
                details=lowered.details,
                npu=told.estimate(source, compiled, log, told.read_summary(out), compiler),
                stand_in=_STAND_IN,
            )
            return seal_engine(out, engine)

    def tools(self) -> dict[str, str]:
        """Versions of what decides the engine's bytes. Imports none of it."""
        return version_of("edgekit", "ai-edge-litert", "flatbuffers", "numpy", "onnx", "ethos-u-vela")

    def _options(self, target: Target) -> EthosUOptions:
        return strict.convert(target.runtime(self.runtime).options, EthosUOptions, where=f"{target.name}: options of ethos-u")

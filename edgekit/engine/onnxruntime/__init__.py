"""ONNX Runtime: the ONNX file that it runs, checked with ONNX Runtime itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.engine.contract import Engine, Refusal, port_of, seal_engine
from edgekit.engine.onnxruntime.options import OnnxRuntimeOptions, options_of
from edgekit.errors import UnsupportedError
from edgekit.model import Model, file_sha256
from edgekit.plugins import version_of
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.device.contract import Device

__all__ = ["OnnxRuntimeBackend", "OnnxRuntimeOptions"]

ENGINE_FILE = "model.onnx"


class OnnxRuntimeBackend:
    """Compiles for ONNX Runtime's CPU provider, which reads ONNX and chooses integer kernels by Q/DQ when it opens a file."""

    runtime: ClassVar[str] = "onnxruntime"
    ports: ClassVar[frozenset[str]] = frozenset({"dtype", "layout"})
    options: ClassVar[type] = OnnxRuntimeOptions

    def refusals(self, model: Model, target: Target) -> tuple[Refusal, ...]:
        """Every node that the target's ONNX Runtime has no kernel for."""
        from edgekit.engine.onnxruntime.lower import lowered
        from edgekit.engine.onnxruntime.trial import refused_nodes
        from edgekit.graph import onnx_file

        proto = onnx_file.load(model.path)
        try:
            low, _ = lowered(proto, model.signature, target.runtime(self.runtime).max_opset, OnnxRuntimeOptions())
        except UnsupportedError as error:
            return (Refusal(node="graph", op="", shapes="", reason=error.message, remedy=error.hint),)
        return refused_nodes(low)

    def compile(self, model: Model, target: Target, device: Device | None, out: Path) -> Engine:
        """Write the engine and its record into ``out``.

        Raises:
            UnsupportedError: the graph cannot be written in an opset that the target reads, or ONNX Runtime has no
                kernel for one of its nodes.
            UsageError: the target's options are wrong, or ask for integer ports that the graph does not have.
        """
        from edgekit.engine.onnxruntime.lower import for_kernels, lowered
        from edgekit.engine.onnxruntime.optimized import fails_as_on_x86, settled
        from edgekit.engine.onnxruntime.precision import precision_of
        from edgekit.engine.onnxruntime.products import weights_alone
        from edgekit.engine.onnxruntime.trial import refused_nodes
        from edgekit.graph import onnx_file

        options = options_of(target)
        is_arm = target.arch != "x86_64"
        proto = onnx_file.load(model.path)
        low, ports = lowered(proto, model.signature, target.runtime(self.runtime).max_opset, options)
        refused = refused_nodes(low)
        if refused:
            raise UnsupportedError(
                f"ONNX Runtime cannot run this model on {target.name}", hint=refused[0].remedy, refusals=[one.line() for one in refused]
            )
        low = for_kernels(low, is_arm=is_arm)
        onnx_file.save(low, out)
        path = out / ENGINE_FILE
        without, found = settled(path, low, options, target.arch)
        data = path.with_name(f"{ENGINE_FILE}.data")
        engine = Engine(
            file=ENGINE_FILE,
            target=target.name,
            runtime=self.runtime,
            precision=precision_of(proto),
            status="built",
            inputs=tuple(ports.get(tensor.name) or port_of(tensor) for tensor in model.signature.inputs),
            outputs=tuple(ports.get(tensor.name) or port_of(tensor) for tensor in model.signature.outputs),
            bytes=path.stat().st_size + (data.stat().st_size if data.exists() else 0),
            sha256=file_sha256(path),
            options=options.for_session(as_on_arm=is_arm and fails_as_on_x86(low), without=without, weights_at_once=weights_alone(low)),
            details=found,
        )
        return seal_engine(out, engine)

    def tools(self) -> dict[str, str]:
        """Versions of the packages that decide the engine's bytes."""
        return version_of("edgekit", "numpy", "onnx", "onnxruntime")

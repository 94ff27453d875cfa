"""The yardstick: TensorFlow's own converter and quantizer, on the Keras source itself, in the same report.

What it makes runs in the same LiteRT as edgekit's TFLite engines and is judged and measured by the same code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from edgekit import child
from edgekit.engine.contract import Conversion, Engine, Port, Refusal, seal_engine
from edgekit.engine.tflite_tensorflow.modes import NEEDS_SAMPLES, Mode, lacking, left_out, mode_of
from edgekit.errors import ChildError, SourceError, UnsupportedError
from edgekit.model import Model, Step, Tensor, file_sha256
from edgekit.model.source import kept_source, source_sha256
from edgekit.plugins import version_of
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.device.contract import Device
    from edgekit.engine.tflite.file import TfliteFile

ENGINE_FILE = "model.tflite"
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_RECURRENT = frozenset({"GRU", "LSTM", "Loop", "RNN", "Scan"})
_CRASHED = "a child process ended"
_CPUS = 4
"""Processors that the converter's CPU time is allowed for: it may keep as many busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteTensorflowBackend:
    """Has ``tf.lite.TFLiteConverter`` make the engine of a Keras source, quantized by itself in the recipe's mode."""

    runtime: ClassVar[str] = "tflite-tensorflow"
    ports: ClassVar[frozenset[str]] = frozenset()
    takes: ClassVar[frozenset[str]] = frozenset({"Keras archive", "Keras HDF5", "TensorFlow SavedModel"})

    conversion: Conversion = field(default_factory=Conversion)

    def lacking(self, steps: Sequence[Step]) -> str:
        """What of a recipe the converter has no form for, in one line with what can be done; "" if it can follow all of it."""
        return lacking(steps)

    def decided_by(self) -> dict[str, Any]:
        """What decides the engine besides model and target."""
        mode, samples = mode_of(self.conversion.steps), self.conversion.samples
        ranges = [samples.sha256, version_of("pillow")] if samples is not None and mode in NEEDS_SAMPLES else None
        return {"mode": mode, "samples": ranges, "left_out": left_out(self.conversion.steps)}

    def refusals(self, model: Model, target: Target) -> tuple[Refusal, ...]:
        """Why nothing can be made of this Model: its source is not at hand, a size is left open, TensorFlow cannot calibrate it."""
        found = list(_not_calibrated(model)) if mode_of(self.conversion.steps) in NEEDS_SAMPLES else []
        if kept_source(model) is None:
            reason, remedy = "it is not in the store, and TensorFlow converts it, not the graph", "build from the Keras file itself"
            found.append(Refusal(node="source", op="Keras", shapes="of this model", reason=reason, remedy=remedy))
        for one in model.signature.inputs:
            if any(isinstance(size, str) for size in one.shape):
                shapes = "x".join(str(size) for size in one.shape)
                found.append(Refusal(node=one.name, op="input", shapes=shapes, reason="its size is left open", remedy="fix it with --shape"))
        return tuple(found)

    def compile(self, model: Model, target: Target, device: Device | None, out: Path) -> Engine:
        """Convert the source in a child process and write the engine's record beside it.

        Raises:
            UnsupportedError: the source is not at hand, or TensorFlow refuses it.
            SourceError: Keras cannot load it.
            ChildError: TensorFlow crashed on it or used too much.
        """
        from edgekit.engine.tflite.delegates.judge import delegation
        from edgekit.engine.tflite.delegates.reading import read_network
        from edgekit.engine.tflite.delegates.rules import table
        from edgekit.engine.tflite.file import read_tflite

        source = kept_source(model)
        if source is None:
            raise UnsupportedError("no Keras source is kept of this model", hint="build from the Keras file itself")
        mode = mode_of(self.conversion.steps)
        self._convert(source, model, mode, out)
        found, file = read_tflite(out / ENGINE_FILE), out / ENGINE_FILE
        if any(layer.op == "READ_VARIABLE" for layer in found.layers):
            raise UnsupportedError("TensorFlow leaves variables in it whose values are not in the file", hint="build for tflite")
        engine = Engine(
            file=ENGINE_FILE,
            target=target.name,
            runtime=self.runtime,
            precision=_precision(found, mode),
            status="built",
            inputs=_ports(found.inputs, found.input_names, "input_", model.signature.inputs),
            outputs=_ports(found.outputs, found.output_names, "output_", model.signature.outputs),
            bytes=file.stat().st_size,
            sha256=file_sha256(file),
            delegation=delegation(read_network(file), table("xnnpack").at(target.runtime(self.runtime).version)),
            details=_details(found) | {"source_sha256": source_sha256(model), "left_out": list(left_out(self.conversion.steps))},
        )
        return seal_engine(out, engine)

    def tools(self) -> dict[str, str]:
        """Versions of what decides the engine's bytes. Imports none of it."""
        return version_of("edgekit", "keras", "tensorflow", "numpy")

    def _convert(self, source: Path, model: Model, mode: Mode, out: Path) -> None:
        from edgekit.engine.tflite_tensorflow.converting import Converted, Order

        told = self.conversion
        samples = told.samples if mode in NEEDS_SAMPLES else None
        order = Order(
            label="the Keras source",
            source=source.resolve(),
            out=(out / ENGINE_FILE).resolve(),
            mode=mode,
            signature=model.signature,
            samples=samples,
            trust=told.trust,
        )
        reads = {source.resolve(), *(sample.path.resolve().parent for sample in (samples.calibrating if samples else ()))}
        sandbox = child.Sandbox(reads=tuple(reads), writes=order.out.parent) if _is_sandboxed(source, trust=told.trust) else None
        limits = child.Limits(memory_bytes=told.memory_bytes, cpu_s=int(told.timeout_s * _CPUS), wall_s=told.timeout_s)
        try:
            answer = child.call("edgekit.engine.tflite_tensorflow.converting:convert", order, Converted, limits=limits, sandbox=sandbox)
        except ChildError as error:
            if not error.message.startswith(_CRASHED):
                raise
            how = error.message.removeprefix(_CRASHED).partition(":")[0].strip()
            hint = "build for tflite, or with --recipe float"
            raise ChildError(f"tflite-tensorflow: TensorFlow's converter ended {how}", hint=hint, output=error.output) from error
        if answer.refused:
            raise UnsupportedError(f"TensorFlow does not convert it: {answer.refused}", hint="build for tflite, or with --recipe float")
        if not order.out.is_file():
            raise SourceError("the Keras source: TensorFlow wrote nothing", hint="build for tflite")


def _not_calibrated(model: Model) -> Iterator[Refusal]:
    """Recurrent layers, which TensorFlow converts to loops over variables: TensorFlow 2.21 crashes when it calibrates one."""
    from edgekit.graph.onnx_file import load

    for node in load(model.path).graph.node:
        if node.op_type in _RECURRENT:
            reason, remedy = "TensorFlow's converter crashes when it calibrates a recurrent layer", "--recipe fp16, or build for tflite"
            yield Refusal(node=node.name, op=node.op_type, shapes="", reason=reason, remedy=remedy)


def _is_sandboxed(source: Path, *, trust: bool) -> bool:
    """As when it was read first: a SavedModel is a program and needs the sandbox; the others have Keras's safe mode."""
    return not trust and (source.is_dir() or not child.sandbox_refusal())


def _ports(found: tuple[Port, ...], names: tuple[str, ...], numbered: str, tensors: tuple[Tensor, ...]) -> tuple[Port, ...]:
    """The file's ports in its own order, each under the name that the source has for it."""
    own = [tensors[int(name.removeprefix(numbered))] for name in names]
    ports = zip(found, own, strict=True)
    return tuple(msgspec.structs.replace(port, name=tensor.name, layout=tensor.layout) for port, tensor in ports)


def _precision(found: TfliteFile, mode: Mode) -> str:
    """What was asked for, if any operator computes or reads it; TensorFlow leaves in float what it cannot do otherwise."""
    stored = {"float32": "float32", "float16": "float16", "dynamic int8": "int8"}.get(mode, mode)
    if stored not in found.dtypes:
        return "float32"
    return "int16, int8 weights" if mode == "int16" else mode


def _details(found: TfliteFile) -> dict[str, Any]:
    operators = Counter(layer.op for layer in found.layers)
    in_float = Counter(layer.op for layer in found.layers if layer.op not in _CONVERSIONS and layer.dtype == "float32")
    return {
        "operators": dict(sorted(operators.items())),
        "transposes": operators["TRANSPOSE"],
        "float_operators": dict(sorted(in_float.items())) if operators["QUANTIZE"] else {},
        "constant_bytes": sum(layer.weight_bytes for layer in found.layers),
    }

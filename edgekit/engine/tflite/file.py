"""What a TFLite file is, whoever wrote it: ports, operators, what each costs."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.engine.contract import Port
from edgekit.engine.tflite.metadata import ENTRY
from edgekit.engine.tflite.metadata_tables import Tree, unpacked
from edgekit.errors import SourceError
from edgekit.extras import extra
from edgekit.graph.inspect import Layer

IDENTIFIER = b"TFL3"

_BITS = {"INT4": 4, "INT2": 2, "BOOL": 8}


@dataclass(frozen=True, slots=True)
class TfliteFile:
    """A file, as its first subgraph has it.

    Attributes:
        inputs, outputs: under the names of their tensors, in order.
        input_names, output_names: of the same, as the first signature calls them; the tensors' own where there is none.
        dtypes: how many tensors there are of each element type.
        layers: the operators, in order; ``op`` is TFLite's name, behind ``CUSTOM:`` that of a custom one.
        signatures: keys under which it can be called.
        min_runtime: the oldest TFLite that runs it, as it says itself.
        metadata: of its entry ``TFLITE_METADATA``, in the form of the schema's JSON; empty if it has none.
        metadata_fault: why that entry cannot be read; "" if it can, or is not there.
        files: names of the files packed behind it.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dtypes: dict[str, int]
    layers: tuple[Layer, ...]
    signatures: tuple[str, ...]
    min_runtime: str = ""
    metadata: Tree = field(default_factory=dict)
    metadata_fault: str = ""
    files: tuple[str, ...] = ()


def read_tflite(path: Path) -> TfliteFile:
    """Read a TFLite file; nothing in it is run.

    Raises:
        SourceError: it cannot be read, or is no TFLite file.
        ExtraMissingError: ``edgekit[tflite]`` is not installed.
    """
    schema, model = opened(path)
    with sound_tables(path):
        return _Reader(schema, model).file(_packed_files(path.read_bytes()))


def opened(path: Path) -> tuple[Any, Any]:
    """The schema's module, and the model of a TFLite file as objects of it.

    Raises:
        SourceError: it cannot be read, or is no TFLite file.
        ExtraMissingError: ``edgekit[tflite]`` is not installed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}", hint="check the path and its permissions") from error
    if data[4:8] != IDENTIFIER:
        raise SourceError(f"{path}: no TFLite file: it does not say TFL3 behind its first four bytes", hint="is the file whole?")
    with extra("tflite"):
        from ai_edge_litert import schema_py_generated as schema
    with sound_tables(path):
        return schema, schema.ModelT.InitFromPackedBuf(data, 0)


@contextmanager
def sound_tables(path: Path) -> Iterator[None]:
    """Say of a file whose tables lead nowhere that it is not whole.

    Raises:
        SourceError: something inside read what is not there.
    """
    try:
        yield
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise SourceError(f"{path}: its tables point to what is not there: {error}", hint="is the file whole?") from error


class _Reader:
    def __init__(self, schema: Any, model: Any) -> None:
        self._graph = model.subgraphs[0]
        self._buffers = model.buffers
        self._signatures = model.signatureDefs or ()
        self._ops = [op_name(schema, code) for code in model.operatorCodes or ()]
        self._types = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
        self._counted: set[int] = set()
        self._entries = {text_of(entry.name): _bytes(model.buffers[entry.buffer]) for entry in model.metadata or ()}

    def file(self, files: tuple[str, ...]) -> TfliteFile:
        ends = self._graph.inputs, self._graph.outputs
        inputs, outputs = (tuple(self._port(self._graph.tensors[index]) for index in ones) for ones in ends)
        called = self._signatures[0] if self._signatures else None
        names = [self._names(ones, maps) for ones, maps in zip(ends, (called.inputs, called.outputs) if called else ((), ()), strict=True)]
        operators = self._graph.operators if self._graph.operators is not None else []
        layers = tuple(self._layer(at, operator) for at, operator in enumerate(operators))
        metadata, fault = _metadata(self._entries)
        runtime = self._entries.get("min_runtime_version", b"").rstrip(b"\0").decode(errors="replace")
        return TfliteFile(
            inputs=inputs,
            outputs=outputs,
            input_names=names[0],
            output_names=names[1],
            dtypes=dict(Counter(self._dtype(tensor) for tensor in self._graph.tensors)),
            layers=layers,
            signatures=tuple(text_of(one.signatureKey) for one in self._signatures),
            min_runtime=runtime,
            metadata=metadata,
            metadata_fault=fault,
            files=files,
        )

    def _names(self, indices: Any, maps: Any) -> tuple[str, ...]:
        called = {int(one.tensorIndex): text_of(one.name) for one in maps or ()}
        return tuple(called.get(int(index), text_of(self._graph.tensors[index].name)) for index in indices)

    def _port(self, tensor: Any) -> Port:
        quantization = tensor.quantization
        scale = quantization.scale if quantization is not None and quantization.scale is not None else []
        is_stepped = len(scale) == 1 and float(scale[0]) > 0.0
        step = float(scale[0]) if is_stepped else None
        zero = int(quantization.zeroPoint[0]) if is_stepped and quantization.zeroPoint is not None else (0 if is_stepped else None)
        return Port(name=text_of(tensor.name), dtype=self._dtype(tensor), shape=_shape(tensor), scale=step, zero_point=zero)

    def _dtype(self, tensor: Any) -> str:
        return str(self._types[tensor.type]).lower()

    def _layer(self, at: int, operator: Any) -> Layer:
        op = self._ops[operator.opcodeIndex]
        read = [index for index in (operator.inputs if operator.inputs is not None else []) if index >= 0]
        made = self._graph.tensors[operator.outputs[0]] if operator.outputs is not None and len(operator.outputs) else None
        constants = [index for index in read if self._is_constant(index) and index not in self._counted]
        self._counted.update(constants)
        trained = [self._graph.tensors[index] for index in constants if op in _EACH or self._dtype(self._graph.tensors[index]).startswith("float")]
        return Layer(
            name=text_of(made.name) if made is not None else f"operator {at}",
            op=op,
            output=text_of(made.name) if made is not None else "",
            shape=_shape(made) if made is not None else (),
            dtype=self._dtype(made) if made is not None else "",
            parameters=sum(_numbers(tensor) for tensor in trained),
            macs=self._macs(op, [self._graph.tensors[index] for index in read], made),
            weight_bytes=sum(self._bytes(self._graph.tensors[index]) for index in constants),
            activation_bytes=self._bytes(made) if made is not None else 0,
        )

    def _is_constant(self, index: int) -> bool:
        buffer = self._buffers[self._graph.tensors[index].buffer]
        return buffer.data is not None and len(buffer.data) > 0

    def _bytes(self, tensor: Any) -> int:
        name = str(self._types[tensor.type])
        digits = "".join(filter(str.isdigit, name))
        bits = _BITS.get(name) or (int(digits) if digits else 8)
        return -(-_numbers(tensor) * bits // 8)

    def _macs(self, op: str, read: list[Any], made: Any) -> int:
        """Multiply-adds of one call."""
        each = _EACH.get(op)
        if each is None or made is None or len(read) < 2:
            return 0
        turned = op == "TRANSPOSE_CONV"  # reads its shape, its weights, and what they are multiplied with
        sizes = _sizes(read[0 if op == "BATCH_MATMUL" else 1])
        return _numbers(read[2] if turned else made) * math.prod(sizes[each])


_EACH = {
    "CONV_2D": slice(1, None),  # weights are (out, height, width, in)
    "DEPTHWISE_CONV_2D": slice(1, 3),  # (1, height, width, out)
    "TRANSPOSE_CONV": slice(0, 3),  # (out, height, width, in)
    "FULLY_CONNECTED": slice(-1, None),  # (out, in)
    "CONV_3D": slice(0, 4),  # (depth, height, width, in, out)
    "BATCH_MATMUL": slice(-1, None),  # of the first side
}
"""Which sizes of the weights multiply up to what each number takes: of the result, of what is read by a TRANSPOSE_CONV."""


def _bytes(buffer: Any) -> bytes:
    return b"" if buffer.data is None else bytes(buffer.data)


def _metadata(entries: Mapping[str, bytes]) -> tuple[Tree, str]:
    """What a file says of itself, or why that cannot be read: it runs all the same."""
    try:
        return unpacked(entries[ENTRY]) if ENTRY in entries else {}, ""
    except (struct.error, IndexError, ValueError) as error:
        return {}, f"its entry {ENTRY} cannot be read: {error}"


def _packed_files(data: bytes) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return tuple(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        return ()


def op_name(schema: Any, code: Any) -> str:
    """TFLite's name of an operator; behind ``CUSTOM:`` that of a custom one."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = next((name for name, value in vars(schema.BuiltinOperator).items() if value == number and not name.startswith("_")), str(number))
    return f"CUSTOM:{text_of(code.customCode)}" if name == "CUSTOM" else name


def text_of(value: Any) -> str:
    """A string of the file."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _shape(tensor: Any) -> tuple[int | str, ...]:
    """Sizes; those that the signature leaves open are words."""
    if tensor.shape is None:
        return ()
    asked = tensor.shapeSignature if tensor.shapeSignature is not None and len(tensor.shapeSignature) == len(tensor.shape) else tensor.shape
    return tuple("?" if int(size) < 0 else int(size) for size in asked)


def _sizes(tensor: Any) -> list[int]:
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


def _numbers(tensor: Any) -> int:
    return math.prod(_sizes(tensor))

"""A :class:`Draft` becomes the bytes of a TFLite file.

Constants are aligned to 16 bytes, as TFLite's schema asks and as kernels that map the file rely on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.engine.tflite.draft import Draft, DraftOperator, DraftTensor
from edgekit.engine.tflite.graph import Array
from edgekit.engine.tflite.metadata import ENTRY
from edgekit.engine.tflite.versions import operator_version, runtime_version
from edgekit.extras import extra

SIGNATURE = "serving_default"
_SCHEMA_VERSION = 3
_ALIGNMENT = 16
_METADATA_BYTES = 16

_OPTIONS = {
    "ADD": "AddOptions",
    "ARG_MAX": "ArgMaxOptions",
    "ARG_MIN": "ArgMinOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CAST": "CastOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "CUMSUM": "CumsumOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DIV": "DivOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "ONE_HOT": "OneHotOptions",
    "REDUCE_ALL": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}
_ENUMS = {
    "padding": "Padding",
    "fusedActivationFunction": "ActivationFunctionType",
    "mode": "MirrorPadMode",
    "inDataType": "TensorType",
    "outDataType": "TensorType",
    "outputType": "TensorType",
}


class _AlignedBuffer:
    """Stands in for the schema's BufferT, whose own ``Pack`` aligns to one byte."""

    def __init__(self, schema: Any, data: Array) -> None:
        self.schema = schema
        self.data = data

    def Pack(self, builder: Any) -> Any:  # noqa: N802, called so by the schema
        size = self.data.size
        if size:
            builder.StartVector(1, size, _ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = self.data.data
            vector = builder.EndVector()
        self.schema.BufferStart(builder)
        if size:
            self.schema.BufferAddData(builder, vector)
        return self.schema.BufferEnd(builder)


def file_bytes(draft: Draft, inputs: Mapping[str, int], outputs: Mapping[str, int], metadata: bytes) -> bytearray | memoryview:
    """The TFLite file.

    Args:
        draft: all of the model.
        inputs, outputs: tensors by the name that the signature ``serving_default`` gives them.
        metadata: what it says of how it is called; see :mod:`edgekit.engine.tflite.metadata`.
    """
    with extra("tflite"):
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version = _SCHEMA_VERSION
    model.description = "edgekit"
    keys = [(operator.op, operator_version(operator, draft.tensors)) for operator in draft.operators]
    codes = list(dict.fromkeys(keys))
    model.operatorCodes = [_code(schema, op, version) for op, version in codes]
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [_tensor(schema, tensor) for tensor in draft.tensors]
    graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
    graph.operators = [_operator(schema, operator, codes.index(key)) for operator, key in zip(draft.operators, keys, strict=True)]
    model.subgraphs = [graph]
    model.signatureDefs = [_signature(schema, inputs, outputs)]
    version = np.frombuffer(runtime_version(codes).encode().ljust(_METADATA_BYTES, b"\0"), np.uint8)
    entries = {"min_runtime_version": version, ENTRY: np.frombuffer(metadata, np.uint8)}
    model.metadata = [_metadata(schema, name, len(draft.buffers) + at) for at, name in enumerate(entries)]
    model.buffers = [_AlignedBuffer(schema, data) for data in (*draft.buffers, *entries.values())]
    # Its buffer doubles as it fills, and each doubling copies it: start with what the constants will take.
    builder = flatbuffers.Builder(sum(data.size + 64 for data in draft.buffers) + 1024 * (len(draft.tensors) + 8))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return memoryview(builder.Bytes)[builder.head :]


def _code(schema: Any, op: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, op)
    # Readers older than the field above look here; 127 tells newer ones to look there.
    code.deprecatedBuiltinCode = min(code.builtinCode, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    code.version = version
    return code


def _tensor(schema: Any, tensor: DraftTensor) -> Any:
    packed = schema.TensorT()
    packed.name = tensor.name
    packed.shape = np.asarray(tensor.shape, np.int32)
    if tensor.open_axis is not None:
        packed.shapeSignature = packed.shape.copy()
        packed.shape[tensor.open_axis], packed.shapeSignature[tensor.open_axis] = 1, -1
    packed.type = getattr(schema.TensorType, tensor.dtype.upper())
    packed.buffer = tensor.buffer
    if tensor.quant is not None:
        packed.quantization = schema.QuantizationParametersT()
        packed.quantization.scale = np.asarray(tensor.quant.scale, np.float32)
        packed.quantization.zeroPoint = np.asarray(tensor.quant.zero_point, np.int64)
        packed.quantization.quantizedDimension = tensor.quant.axis
    return packed


def _operator(schema: Any, operator: DraftOperator, code: int) -> Any:
    packed = schema.OperatorT()
    packed.opcodeIndex = code
    packed.inputs = np.asarray(operator.inputs, np.int32)
    packed.outputs = np.asarray(operator.outputs, np.int32)
    table = _OPTIONS.get(operator.op)
    if table is not None:
        packed.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        packed.builtinOptions = getattr(schema, f"{table}T")()
        if operator.op in ("ADD", "SUB"):
            packed.builtinOptions.potScaleInt16 = False  # scales of int16 are no powers of two here
        for key, value in operator.options.items():
            enum = _ENUMS.get(key)
            setattr(packed.builtinOptions, key, value if enum is None else getattr(getattr(schema, enum), value))
    return packed


def _signature(schema: Any, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.inputs = [_named(schema, name, index) for name, index in inputs.items()]
    signature.outputs = [_named(schema, name, index) for name, index in outputs.items()]
    return signature


def _named(schema: Any, name: str, index: int) -> Any:
    named = schema.TensorMapT()
    named.name, named.tensorIndex = name, index
    return named


def _metadata(schema: Any, name: str, buffer: int) -> Any:
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = name, buffer
    return metadata

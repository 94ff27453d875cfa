"""TFLite files written operator by operator with LiteRT's own schema, and what LiteRT itself says of them."""

from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgekit.engine.tflite.delegates.reading import read_network

TABLES = {name.lower(): name for name in vars(schema.BuiltinOptions) if name.endswith("Options")}
SHARED = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimumOptions"),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"), "ReducerOptions"),
}
ENUMS = {
    "padding": schema.Padding,
    "fusedActivationFunction": schema.ActivationFunctionType,
    "mode": schema.MirrorPadMode,
    "outputType": schema.TensorType,
}


@dataclass
class Net:
    """A file under construction; tensors are indices."""

    model: schema.ModelT = field(default_factory=schema.ModelT)
    graph: schema.SubGraphT = field(default_factory=schema.SubGraphT)
    made: list = field(default_factory=list)

    def __post_init__(self):
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.graph.tensors, self.graph.operators, self.graph.inputs = [], [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape, dtype="float32", scale=None, zero=0, axis=0, content=None):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"t{len(self.graph.tensors)}", np.array(shape, np.int32)
        tensor.type, tensor.buffer = getattr(schema.TensorType, dtype.upper()), 0
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.full(scales.shape, zero, np.int64)
            tensor.quantization.quantizedDimension = axis
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(content).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def input(self, shape, dtype="float32", scale=None, zero=0):
        self.graph.inputs.append(self.tensor(shape, dtype, scale, zero))
        return self.graph.inputs[-1]

    def constant(self, array, scale=None, zero=0, axis=0):
        array = np.asarray(array)
        return self.tensor(array.shape, array.dtype.name, scale, zero, axis, array)

    def packed(self, shape, bits, scale, zero=0, axis=0):
        """A constant of 4 or 2 bits, all zeros."""
        content = np.zeros(-(-int(np.prod(shape)) * bits // 8), np.uint8)
        return self.tensor(shape, f"int{bits}", scale, zero, axis, content)

    def add(self, op, inputs, outputs, version=1, **options):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        table = SHARED.get(op) or TABLES.get(op.replace("_", "").lower() + "options")
        if table:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for key, value in options.items():
                assert hasattr(operator.builtinOptions, key), (op, key)
                setattr(operator.builtinOptions, key, getattr(ENUMS[key], value) if isinstance(value, str) else value)
        self.graph.operators.append(operator)
        self.made = list(outputs)
        return outputs[0] if outputs else -1

    def content(self, outputs=()):
        self.graph.outputs = list(outputs or self.made)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


@pytest.fixture
def network_of(tmp_path):
    """``network_of(content)``: a file's bytes as edgekit reads them."""

    def read(content):
        path = tmp_path / "net.tflite"
        path.write_bytes(content)
        return read_network(path)

    return read


@pytest.fixture
def new_net():
    """``new_net()``: an empty file."""
    return Net


@pytest.fixture
def is_a_model():
    """``is_a_model(content)``: whether TFLite's own kernels take the file."""

    def opens(content):
        try:
            plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=plain).allocate_tensors()
        except (RuntimeError, ValueError):
            return False
        return True

    return opens


TYPES = {
    "float32": ("float32", None, 0),
    "float16": ("float16", None, 0),
    "int8": ("int8", 0.1, 3),
    "uint8": ("uint8", 0.1, 128),
    "int16": ("int16", 0.1, 0),
    "int32": ("int32", None, 0),
    "int64": ("int64", None, 0),
    "bool": ("bool", None, 0),
}
PICTURE = [1, 4, 4, 8]
COMPARED = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
ONE = [
    "ABS",
    "CEIL",
    "COS",
    "ELU",
    "EXP",
    "FLOOR",
    "GELU",
    "HARD_SWISH",
    "LOG",
    "LOGISTIC",
    "LOG_SOFTMAX",
    "L2_NORMALIZATION",
    "NEG",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RELU_0_TO_1",
    "ROUND",
    "RSQRT",
    "SIN",
    "SQRT",
    "SQUARE",
    "TANH",
    "SIGN",
    "SOFTMAX",
    "LEAKY_RELU",
    "LOGICAL_NOT",
    "LOCAL_RESPONSE_NORMALIZATION",
    "ZEROS_LIKE",
]
TWO = [
    "ADD",
    "SUB",
    "MUL",
    "DIV",
    "MAXIMUM",
    "MINIMUM",
    "SQUARED_DIFFERENCE",
    "POW",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "ATAN2",
    "LOGICAL_AND",
    "LOGICAL_OR",
    "PRELU",
    "BITWISE_XOR",
]
REDUCED = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL")
OPTIONS = {"SOFTMAX": {"beta": 1.0}, "LEAKY_RELU": {"alpha": 0.1}}


def ints(*numbers):
    return np.array(numbers, np.int32)


PADS = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
WITH_CONSTANTS = {
    # name: (operator, shape it makes, constants it reads, options)
    "ARG_MAX": ("ARG_MAX", [1, 4, 4], [np.array(3, np.int32)], {"outputType": "INT32"}),
    "ARG_MIN": ("ARG_MIN", [1, 4, 4], [np.array(3, np.int32)], {"outputType": "INT32"}),
    "BROADCAST_TO": ("BROADCAST_TO", [2, 4, 4, 8], [ints(2, 4, 4, 8)], {}),
    "CUMSUM": ("CUMSUM", PICTURE, [ints(1)], {}),
    "DEPTH_TO_SPACE": ("DEPTH_TO_SPACE", [1, 8, 8, 2], [], {"blockSize": 2}),
    "EXPAND_DIMS": ("EXPAND_DIMS", [1, 1, 4, 4, 8], [ints(0)], {}),
    "GATHER": ("GATHER", [1, 4, 4, 2], [ints(0, 1)], {"axis": 3}),
    "MIRROR_PAD": ("MIRROR_PAD", [1, 6, 6, 8], [PADS], {"mode": "REFLECT"}),
    "MIRROR_PAD symmetric": ("MIRROR_PAD", [1, 6, 6, 8], [PADS], {"mode": "SYMMETRIC"}),
    "PAD": ("PAD", [1, 6, 6, 8], [PADS], {}),
    "RESHAPE": ("RESHAPE", [16, 8], [ints(16, 8)], {"newShape": [16, 8]}),
    "RESHAPE by options": ("RESHAPE", [16, 8], [], {"newShape": [16, 8]}),
    "RESIZE_BILINEAR": ("RESIZE_BILINEAR", [1, 8, 8, 8], [ints(8, 8)], {"halfPixelCenters": True}),
    "RESIZE_BILINEAR corners": ("RESIZE_BILINEAR", [1, 8, 8, 8], [ints(8, 8)], {"alignCorners": True}),
    "RESIZE_NEAREST_NEIGHBOR": ("RESIZE_NEAREST_NEIGHBOR", [1, 8, 8, 8], [ints(8, 8)], {"halfPixelCenters": True}),
    "REVERSE_V2": ("REVERSE_V2", PICTURE, [ints(1)], {}),
    "SLICE": ("SLICE", [1, 2, 2, 8], [ints(0, 1, 1, 0), ints(1, 2, 2, 8)], {}),
    "SLICE the rest": ("SLICE", [1, 3, 2, 8], [ints(0, 1, 1, 0), ints(1, -1, 2, 8)], {}),
    "SLICE by int64": ("SLICE", [1, 2, 2, 8], [ints(0, 1, 1, 0).astype(np.int64), ints(1, 2, 2, 8).astype(np.int64)], {}),
    "SPACE_TO_BATCH_ND": ("SPACE_TO_BATCH_ND", [4, 2, 2, 8], [ints(2, 2), np.zeros((2, 2), np.int32)], {}),
    "SPACE_TO_DEPTH": ("SPACE_TO_DEPTH", [1, 2, 2, 32], [], {"blockSize": 2}),
    "SQUEEZE": ("SQUEEZE", [4, 4, 8], [], {"squeezeDims": [0]}),
    "STRIDED_SLICE": ("STRIDED_SLICE", [1, 2, 2, 8], [ints(0, 1, 1, 0), ints(1, 3, 3, 8), ints(1, 1, 1, 1)], {}),
    "STRIDED_SLICE by 2": ("STRIDED_SLICE", [1, 2, 2, 8], [ints(0, 0, 0, 0), ints(1, 4, 4, 8), ints(1, 2, 2, 1)], {}),
    "STRIDED_SLICE shrinking": ("STRIDED_SLICE", [4, 4, 8], [ints(0, 0, 0, 0), ints(1, 4, 4, 8), ints(1, 1, 1, 1)], {"shrinkAxisMask": 1}),
    "STRIDED_SLICE of two axes": ("STRIDED_SLICE", [1, 3, 4, 8], [ints(0, 1), ints(1, 4), ints(1, 1)], {}),
    "TILE": ("TILE", [1, 8, 4, 8], [ints(1, 2, 1, 1)], {}),
    "TRANSPOSE": ("TRANSPOSE", [1, 8, 4, 4], [ints(0, 3, 1, 2)], {}),
}


def _operators():
    """Name, and what adds it to a file over one element type."""
    for op in ONE:
        yield op, _unary(op)
    for op in (*TWO, *COMPARED):
        yield op, _binary(op, constant=False)
        yield f"{op} by a constant", _binary(op, constant=True)
    for op in REDUCED:
        yield op, _reduction(op, keep=True)
        yield f"{op} without its axes", _reduction(op, keep=False)
    for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        yield op, _pool(op)
    for name, (op, shape, constants, options) in WITH_CONSTANTS.items():
        yield name, _with_constants(op, shape, constants, options)
    for count in (1, 2, 3, 4, 5, 6):
        yield f"CONCATENATION of {count}", _concatenation(count)
    for count in (2, 3, 4, 5):
        yield f"SPLIT into {count}", _split(count)
    for dtype in ("float32", "int32", "bool"):
        yield f"CAST to {dtype}", _cast(dtype)
    for dtype in ("int8", "uint8", "int16"):
        yield f"QUANTIZE to {dtype}", _quantize(dtype)
    yield "DEQUANTIZE", lambda net, *of: net.add("DEQUANTIZE", [net.input(PICTURE, *of)], [net.tensor(PICTURE)])
    yield (
        "BATCH_MATMUL",
        lambda net, *of: net.add("BATCH_MATMUL", [net.input([2, 4, 8], *of), net.input([2, 8, 5], *of)], [net.tensor([2, 4, 5], *of)]),
    )
    yield "PACK", lambda net, *of: net.add("PACK", [net.input(PICTURE, *of)] * 2, [net.tensor([2, *PICTURE], *of)], axis=0, valuesCount=2)
    yield (
        "SELECT_V2",
        lambda net, *of: net.add(
            "SELECT_V2", [net.input(PICTURE, "bool"), net.input(PICTURE, *of), net.input(PICTURE, *of)], [net.tensor(PICTURE, *of)]
        ),
    )
    yield (
        "TOPK_V2",
        lambda net, *of: net.add(
            "TOPK_V2",
            [net.input(PICTURE, *of), net.constant(np.array(2, np.int32))],
            [net.tensor([1, 4, 4, 2], *of), net.tensor([1, 4, 4, 2], "int32")],
        ),
    )
    yield "ONE_HOT", _one_hot


def _unary(op):
    return lambda net, *of: net.add(op, [net.input(PICTURE, *of)], [net.tensor(PICTURE, *of)], **OPTIONS.get(op, {}))


def _binary(op, *, constant):
    def make(net, dtype, scale, zero):
        one = net.input(PICTURE, dtype, scale, zero)
        other = net.constant(np.ones(8, dtype), scale, zero) if constant else net.input(PICTURE, dtype, scale, zero)
        result = net.tensor(PICTURE, "bool") if op in COMPARED else net.tensor(PICTURE, dtype, scale, zero)
        net.add(op, [one, other], [result])

    return make


def _reduction(op, *, keep):
    def make(net, *of):
        net.add(op, [net.input(PICTURE, *of), net.constant(ints(1, 2))], [net.tensor([1, 1, 1, 8] if keep else [1, 8], *of)], keepDims=keep)

    return make


def _pool(op):
    window = {"padding": "VALID", "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
    return lambda net, *of: net.add(op, [net.input(PICTURE, *of)], [net.tensor([1, 2, 2, 8], *of)], **window)


def _with_constants(op, shape, constants, options):
    def make(net, *of):
        made = net.tensor(shape, "int32") if op.startswith("ARG") else net.tensor(shape, *of)
        net.add(op, [net.input(PICTURE, *of), *map(net.constant, constants)], [made], **options)

    return make


def _concatenation(count):
    return lambda net, *of: net.add("CONCATENATION", [net.input(PICTURE, *of) for _ in range(count)], [net.tensor([1, 4, 4, 8 * count], *of)], axis=3)


def _split(count):
    def make(net, *of):
        outputs = [net.tensor([1, 4, 4, 60 // count], *of) for _ in range(count)]
        net.add("SPLIT", [net.constant(np.array(3, np.int32)), net.input([1, 4, 4, 60], *of)], outputs, numSplits=count)

    return make


def _cast(dtype):
    return lambda net, of, *_: net.add("CAST", [net.input(PICTURE, of)], [net.tensor(PICTURE, dtype)])


def _quantize(dtype):
    return lambda net, *of: net.add("QUANTIZE", [net.input(PICTURE, *of)], [net.tensor(PICTURE, dtype, 0.2, 0 if dtype == "int16" else 1)])


def _one_hot(net, dtype, *_):
    values = [net.constant(np.array(5, np.int32)), net.constant(np.array(1, dtype)), net.constant(np.array(0, dtype))]
    net.add("ONE_HOT", [net.input([4], "int32"), *values], [net.tensor([4, 5], dtype)], axis=-1)


@pytest.fixture
def over_types():
    """``over_types()``: name and content of a file for each operator and element type, whether TFLite has such a kernel or not."""

    def files():
        for name, make in _operators():
            for dtype, (of, scale, zero) in TYPES.items():
                net = Net()
                make(net, of, scale, zero)
                yield f"{name}, {dtype}", net.content()

    return files

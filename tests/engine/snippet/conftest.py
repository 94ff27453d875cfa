"""Pictures, small engines whose output depends on every pixel, and ways to run what was written beside them."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgekit.engine.contract import Engine, Port
from edgekit.engine.snippet import write_snippets
from edgekit.model import Preprocess, Signature, Tensor

HERE = Path(__file__).parent
CLASSES = 7
LABELS = ("tench", 'gold "fish"', "gr\u00e4y \\ whale", "$price", "it's", "tab\there", "last")

# One of each: proportions kept, stretched, left as it is and cut, grown, shrunk, grey, blue first.
PREPROCESS = {
    "photo": Preprocess(resize_short=40, crop=32, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    "stretched": Preprocess(resize=(24, 48), interpolation="bilinear", colour="bgr", mean=(127.5,), std=(127.5,)),
    "grey": Preprocess(resize_short=33, crop=(29, 31), interpolation="lanczos", colour="grey", mean=(0.1307,), std=(0.3081,)),
    "as told by the input": Preprocess(mean=(0.0,), std=(255.0,)),
    "cut": Preprocess(crop=(40, 30), interpolation="nearest"),
    "nearest": Preprocess(resize=(19, 23), interpolation="nearest"),
}
SIZES = {
    "photo": (32, 32),
    "stretched": (24, 48),
    "grey": (29, 31),
    "as told by the input": (45, 200),
    "cut": (40, 30),
    "nearest": (19, 23),
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A landscape as JPEG, a portrait turned by its EXIF data, and a small PNG with transparency."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(5)
    noise = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    landscape = Image.fromarray(noise).resize((131, 97), Image.Resampling.BICUBIC)
    landscape.save(folder / "landscape.jpg", quality=90)
    turned = Image.Exif()
    turned[0x0112] = 6
    landscape.resize((120, 80)).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(draw.integers(0, 256, (50, 41, 4), dtype=np.uint8)).save(folder / "small.png")
    return sorted(folder.iterdir())


def signature_of(kind, layout="nchw", dtype="float32"):
    how, (height, width) = PREPROCESS[kind], SIZES[kind]
    channels = 1 if how.colour == "grey" else 3
    shape = (1, height, width, channels) if layout == "nhwc" else (1, channels, height, width)
    return Signature(
        inputs=(Tensor(name="the input:0", dtype=dtype, shape=shape, layout=layout),),
        outputs=(Tensor(name="scores", dtype="float32", shape=(1, CLASSES)),),
        preprocess=how,
        labels=LABELS,
    )


def engine_of(signature, file, runtime, target="x86-64-avx2", **fields):
    ports = {
        "inputs": tuple(Port(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, layout=tensor.layout) for tensor in signature.inputs),
        "outputs": tuple(Port(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape) for tensor in signature.outputs),
    }
    return Engine(
        **{
            "file": file,
            "target": target,
            "runtime": runtime,
            "precision": "float32",
            "status": "built",
            "bytes": 1,
            "sha256": "",
            **ports,
            **fields,
        }
    )


def save_onnx(signature, path):
    """Every pixel times a weight of its own, summed for each class."""
    tensor = signature.inputs[0]
    count = int(np.prod(tensor.shape))
    weights = np.random.default_rng(9).normal(0, 1, (CLASSES, count)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", [tensor.name], ["flat"], name="flatten"),
            helper.make_node("Gemm", ["flat", "weights"], ["scores"], name="gemm", transB=1),
        ],
        "net",
        [helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, CLASSES))],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def save_tflite(signature, path, grids=None):
    """The same as a TFLite file: FULLY_CONNECTED, between DEQUANTIZE and QUANTIZE where ``grids`` gives (scale, zero point) of both ends."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tensor = signature.inputs[0]
    count = int(np.prod(tensor.shape))
    weights = np.random.default_rng(9).normal(0, 1, (CLASSES, count)).astype(np.float32)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(weights.tobytes(), np.uint8)
    graph.tensors, graph.operators = [], []

    def add(name, shape, kind=schema.TensorType.FLOAT32, buffer=0, grid=None):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, np.array(shape, np.int32), kind, buffer
        if grid:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = np.array(grid[:1], np.float32), np.array(grid[1:], np.int64)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code, options, options_type, sources, result):
        made = schema.OperatorT()
        model.operatorCodes = [*(model.operatorCodes or []), schema.OperatorCodeT()]
        model.operatorCodes[-1].builtinCode = model.operatorCodes[-1].deprecatedBuiltinCode = code
        model.operatorCodes[-1].version = 2 if code == schema.BuiltinOperator.DEQUANTIZE else 1
        made.opcodeIndex, made.builtinOptions, made.builtinOptionsType = len(model.operatorCodes) - 1, options, options_type
        made.inputs, made.outputs = np.array(sources, np.int32), np.array([result], np.int32)
        graph.operators.append(made)

    kinds, codes = schema.BuiltinOptions, schema.BuiltinOperator
    integers = schema.TensorType.INT8
    first = add("serving_default_input:0", tensor.shape, *((integers, 0, grids[0]) if grids else ()))
    real = add("real", tensor.shape) if grids else first
    if grids:
        operator(codes.DEQUANTIZE, schema.DequantizeOptionsT(), kinds.DequantizeOptions, [first], real)
    held = add("weights", weights.shape, buffer=1)
    scores = add("StatefulPartitionedCall:0", (1, CLASSES))
    operator(codes.FULLY_CONNECTED, schema.FullyConnectedOptionsT(), kinds.FullyConnectedOptions, [real, held, -1], scores)
    last = add("stored scores", (1, CLASSES), integers, 0, grids[1]) if grids else scores
    if grids:
        operator(codes.QUANTIZE, schema.QuantizeOptionsT(), kinds.QuantizeOptions, [scores], last)
    graph.inputs, graph.outputs = [first], [last]
    named = schema.SignatureDefT()
    named.signatureKey, named.inputs, named.outputs = "serving_default", [schema.TensorMapT()], [schema.TensorMapT()]
    named.inputs[0].name, named.inputs[0].tensorIndex = tensor.name, first
    named.outputs[0].name, named.outputs[0].tensorIndex = "scores", last
    model.signatureDefs = [named]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())


def imported(path):
    """A snippet as a module."""
    spec = importlib.util.spec_from_file_location("run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled(source, folder, engine, *, check_only=False, extra=()):
    """The program of a C++ file, compiled against the stubs of its runtime; its engine gives back the first bytes of its input."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here")

    def size(port):
        return int(np.prod([size if isinstance(size, int) else 1 for size in port.shape])) * np.dtype(port.dtype).itemsize

    stubs = [f"-DSTUB_INPUT_BYTES={size(engine.inputs[0])}", f"-DSTUB_OUTPUT_BYTES={size(engine.outputs[0])}", f"-I{HERE / 'include'}"]
    what = ["-fsyntax-only"] if check_only else ["-o", str(folder / "program")]
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", *stubs, *what, *extra, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "program"


@pytest.fixture(scope="session")
def kit():
    """All of the above."""
    return SimpleNamespace(
        HERE=HERE,
        LABELS=LABELS,
        CLASSES=CLASSES,
        PREPROCESS=PREPROCESS,
        signature_of=signature_of,
        engine_of=engine_of,
        save_onnx=save_onnx,
        save_tflite=save_tflite,
        imported=imported,
        compiled=compiled,
        write=write_snippets,
    )

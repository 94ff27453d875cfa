"""Each operator that a target says is computed in integers is: quantized by its scheme, built by its backend, looked at in its runtime."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.engine.onnxruntime import OnnxRuntimeBackend
from edgekit.engine.tflite import TfliteBackend
from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import Model, seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.samples import Samples, read_samples
from edgekit.target import read_target

TARGETS = Path(__file__).resolve().parents[2] / "targets"
IN_BETWEEN = {  # what makes o of h (1x8x8x8) and, where it takes two, of k; then the convolution that reads o
    "Conv": "o = Conv(h, one)",
    "ConvTranspose": "o = ConvTranspose(h, one)",
    "Gemm": "m = GlobalAveragePool(h) f = Flatten(m) d = Gemm(f, dense) o = Reshape(d, point)",
    "MatMul": "m = GlobalAveragePool(h) f = Flatten(m) d = MatMul(f, dense) o = Reshape(d, point)",
    "Add": "o = Add(h, k)",
    "Sub": "o = Sub(h, k)",
    "Mul": "o = Mul(h, k)",
    "Min": "o = Min(h, k)",
    "Max": "o = Max(h, k)",
    "Concat": "o = Concat<axis = 2>(h, k)",
    "Split": "s, p = Split<axis = 2, num_outputs = 2>(h) o = Add(s, p)",
    "AveragePool": "o = AveragePool<kernel_shape = [2,2]>(h)",
    "GlobalAveragePool": "o = GlobalAveragePool(h)",
    "ReduceMean": "o = ReduceMean(h, axes)",
    "MaxPool": "o = MaxPool<kernel_shape = [2,2]>(h)",
    "GlobalMaxPool": "o = GlobalMaxPool(h)",
    "ReduceMax": "o = ReduceMax(h, axes)",
    "ReduceMin": "o = ReduceMin(h, axes)",
    "Resize": 'o = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(h, , twice)',
    "Pad": "o = Pad(h, pads)",
    "Reshape": "o = Reshape(h, wide)",
    "Flatten": "m = GlobalAveragePool(h) f = Flatten(m) d = Gemm(f, dense) o = Reshape(d, point)",
    "Transpose": "o = Transpose<perm = [0,1,3,2]>(h)",
    "Squeeze": "m = GlobalAveragePool(h) f = Squeeze(m, axes) d = Gemm(f, dense) o = Reshape(d, point)",
    "Unsqueeze": "m = GlobalAveragePool(h) f = Flatten(m) d = Gemm(f, dense) o = Unsqueeze(d, axes)",
    "Slice": "o = Slice(h, zeros, fours, axes)",
    "DepthToSpace": "s = DepthToSpace<blocksize = 2>(h) o = Conv(s, two_to_eight)",
    "SpaceToDepth": "s = SpaceToDepth<blocksize = 2>(h) o = Conv(s, many_to_eight)",
    "Sigmoid": "o = Sigmoid(h)",
    "Tanh": "o = Tanh(h)",
    "Softmax": "o = Softmax<axis = 1>(h)",
    "LogSoftmax": "o = LogSoftmax<axis = 1>(h)",
    "LeakyRelu": "o = LeakyRelu<alpha = 0.1>(h)",
    "PRelu": "o = PRelu(h, slope)",
    "HardSigmoid": "o = HardSigmoid(h)",
    "HardSwish": "o = HardSwish(h)",
    "Elu": "o = Elu(h)",
    "Gelu": "o = Gelu(h)",
}
SHAPES = {"one": (8, 8, 1, 1), "two_to_eight": (8, 2, 1, 1), "many_to_eight": (8, 32, 1, 1), "dense": (8, 8), "slope": (8, 1, 1)}
NUMBERS = {"axes": [2, 3], "zeros": [0, 0], "fours": [4, 4], "wide": [1, 8, 4, 16], "point": [1, 8, 1, 1], "pads": [0, 0, 1, 1, 0, 0, 1, 1]}


def listed(name: str, runtime: str) -> list[str]:
    return list(read_target(TARGETS / f"{name}.toml").runtime(runtime).scheme.integer_ops)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("samples")
    random = np.random.default_rng(0)
    for index in range(3):
        np.savez(folder / f"{index}.npz", x=random.standard_normal((1, 8, 8, 8)).astype(np.float32))
    return read_samples(folder)


@pytest.fixture
def quantized(tmp_path: Path, samples: Samples):
    """A net with one operator between two convolutions, quantized for a target's runtime."""

    def make(op: str, name: str, runtime: str, *, foreseen: bool = False, **options) -> Model:
        body = f"h = Conv(x, one) {'k = Conv(x, one)' if ' k)' in f' {IN_BETWEEN[op]}' else ''} {IN_BETWEEN[op]} y = Conv(o, one)"
        text = f'<ir_version: 10, opset_import: ["" : 21]> net (float[1,8,8,8] x) => (float[1,a,b,c] y) {{ {body} }}'
        proto = onnx.parser.parse_model(text)
        random = np.random.default_rng(1)
        values = {word: random.standard_normal(shape).astype(np.float32) for word, shape in SHAPES.items()}
        values |= {word: np.asarray(numbers, np.int64) for word, numbers in NUMBERS.items()} | {"twice": np.float32([1, 1, 2, 2])}
        used = {word for node in proto.graph.node for word in node.input}
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(value, word) for word, value in values.items() if word in used)
        folder, out = tmp_path / "float", tmp_path / "quantized"
        folder.mkdir()
        out.mkdir()
        onnx_file.save(onnx_file.infer_shapes(proto), folder)
        model = seal_model(folder, signature_of(onnx_file.load(folder / "model.onnx")), ())
        scheme = read_target(TARGETS / f"{name}.toml").runtime(runtime).scheme
        step = Quantize(observer="minmax", correct_bias=False, **options)
        return step.foresee(model, Supplies(scheme=scheme), out) if foreseen else step(model, Supplies(samples=samples, scheme=scheme), out)

    return make


def test_every_operator_that_a_target_lists_is_tried_here():
    targets = [read_target(path) for path in TARGETS.glob("*.toml")]

    assert {op for target in targets for runtime in target.runtimes for op in runtime.scheme.integer_ops} == set(IN_BETWEEN)


@pytest.mark.parametrize("op", listed("x86-64", "onnxruntime"))
def test_onnxruntime_on_x86_leaves_no_float_node(op, quantized, tmp_path):
    model = quantized(op, "x86-64-vnni", "onnxruntime")
    out = tmp_path / "engine"
    out.mkdir()
    OnnxRuntimeBackend().compile(model, read_target(TARGETS / "x86-64-vnni.toml"), None, out)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(out / "model.onnx", options, providers=["CPUExecutionProvider"])

    nodes = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]

    assert nodes.count("QuantizeLinear") == 1, nodes
    assert nodes.count("DequantizeLinear") == 1, nodes


WIDE = read_target(TARGETS / "aarch64.toml").runtime("tflite").scheme.int16_activations


@pytest.mark.parametrize(("op", "bits"), [*((op, 8) for op in listed("aarch64", "tflite")), *((op, 16) for op in WIDE.integer_ops)])
def test_litert_runs_on_integers_alone(op, bits, quantized, tmp_path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = quantized(op, "aarch64", "tflite", activation_bits=bits)
    out = tmp_path / "engine"
    out.mkdir()
    TfliteBackend().compile(model, read_target(TARGETS / "aarch64.toml"), None, out)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(out / "model.tflite"), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    dtypes = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}

    computed = [one for one in interpreter._get_ops_details() if one["op_name"] not in ("QUANTIZE", "DEQUANTIZE")]
    integers = {8: np.int8, 16: np.int16}[bits]
    floats = [one["op_name"] for one in computed if dtypes[one["outputs"][0]] is np.float32 and dtypes[one["inputs"][0]] is not integers]

    assert [one["op_name"] for one in computed if dtypes[one["outputs"][0]] is integers]
    assert not [name for name in floats if name != "TRANSPOSE"], floats  # the input's own layout is float on both sides


@pytest.mark.parametrize(("op", "bits"), [*((op, 8) for op in listed("aarch64", "tflite")), *((op, 16) for op in WIDE.integer_ops)])
@pytest.mark.parametrize("foreseen", [False, True])
def test_what_xnnpack_takes_is_what_litert_hands_to_it(op, bits, foreseen, quantized, delegated, tmp_path):
    model = quantized(op, "aarch64", "tflite", activation_bits=bits, foreseen=foreseen)
    out = tmp_path / "engine"
    out.mkdir()

    found = TfliteBackend().compile(model, read_target(TARGETS / "aarch64.toml"), None, out).delegation

    operators, parts = delegated((out / "model.tflite").read_bytes())
    assert (found.taken, found.parts) == (len(operators), parts)


NOT_ON_ETHOS_U = {"LogSoftmax": "Unsupported opType"}
"""What the CPU beside the NPU computes in integers, with Vela's reason."""


@pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="needs the extra ethos-u")
@pytest.mark.parametrize(
    ("op", "name"),
    [
        *((op, "ethos-u55-128") for op in listed("ethos-u55-128", "ethos-u")),
        *((op, "ethos-u85-256") for op in ("MatMul", "Resize", "Softmax", "HardSwish", "DepthToSpace", "ReduceMean", "LogSoftmax")),
    ],
)
def test_vela_leaves_to_the_cpu_only_what_is_said(op, name, quantized, tmp_path):
    from edgekit.engine.ethos_u import EthosUBackend

    out = tmp_path / "engine"
    out.mkdir()
    engine = EthosUBackend().compile(quantized(op, name, "ethos-u"), read_target(TARGETS / f"{name}.toml"), None, out)

    assert {one.reason for one in engine.npu.cpu_operators} == {NOT_ON_ETHOS_U[op]} if op in NOT_ON_ETHOS_U else not engine.npu.cpu_operators
    assert not engine.details["float_operators"]

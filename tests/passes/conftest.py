import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import seal_model
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.samples import read_samples
from edgekit.target import Scheme

OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Concat", "MaxPool", "AveragePool", "Reshape", "Sigmoid", "Softmax", "Pad")
X86 = Scheme(activations="uint8", integer_ops=OPS, same_scale_ops=("MaxPool", "Reshape"))
TFLITE = Scheme(
    activations="int8",
    integer_ops=OPS,
    same_scale_ops=("MaxPool", "AveragePool", "Reshape", "Pad"),
    shared_input_ops=("Concat",),
    fixed_output={"Sigmoid": (1 / 256, -128), "Softmax": (1 / 256, -128), "Tanh": (1 / 128, 0)},
)
TENSORRT = Scheme(
    activations="int8 symmetric",
    bias="float32",
    integer_ops=("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "MaxPool"),
    same_scale_ops=("MaxPool",),
    residual="skip",
    float_output_ops=("Conv", "ConvTranspose", "Gemm", "MatMul", "Add"),
    float16="graph",
)


@pytest.fixture
def schemes():
    return {"x86": X86, "tflite": TFLITE, "tensorrt": TENSORRT}


@pytest.fixture
def proto_of():
    """ONNX text and weights by name become a model with all shapes."""

    def make(text, **weights):
        proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> ' + text)
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
        for index, node in enumerate(proto.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"
        proto = onnx_file.infer_shapes(proto)
        onnx.checker.check_model(proto, full_check=True)
        return proto

    return make


@pytest.fixture
def model_of(tmp_path, proto_of):
    """The same, as a Model in a folder."""

    def make(text, **weights):
        folder = tmp_path / "float"
        folder.mkdir()
        proto = proto_of(text, **weights)
        onnx_file.save(proto, folder)
        return seal_model(folder, signature_of(proto), ())

    return make


@pytest.fixture
def samples_of(tmp_path):
    """Samples that all calibrate but one, from lists of arrays by input name."""

    def make(**arrays):
        folder = tmp_path / "samples"
        folder.mkdir()
        count = len(next(iter(arrays.values())))
        for index in range(count):
            np.savez(folder / f"{index:03}.npz", **{name: values[index] for name, values in arrays.items()})
        (folder / "samples.toml").write_text(f'schema = 1\nname = "made"\nkind = "arrays"\ncalibrate = {count - 1}\n')
        return read_samples(folder)

    return make


@pytest.fixture
def quantize(tmp_path):
    """Quantize a Model; its new proto, which ONNX's checker accepts."""
    made = []

    def make(model, scheme, samples, **options):
        out = tmp_path / f"quantized{len(made)}"
        made.append(out)
        out.mkdir()
        quantized = Quantize(**options)(model, Supplies(samples=samples, scheme=scheme), out)
        onnx.checker.check_model(str(quantized.path), full_check=True)
        return onnx.load(quantized.path)

    return make


@pytest.fixture
def run():
    """All outputs of a model, a proto or a Model, on one feed."""

    def call(model, **feed):
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model.path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdqisint8allowed", "1")  # without it ORT 1.31 breaks on int8 MatMul + Add of three axes
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, feed)

    return call


@pytest.fixture
def sqnr_db():
    def of(reference, other):
        noise = np.square(reference - other, dtype=np.float64).sum()
        return 10.0 * np.log10(np.square(reference, dtype=np.float64).sum() / max(noise, 1e-30))

    return of


@pytest.fixture
def ops():
    """Operators of a graph in order, without the dequantized constants."""

    def of(proto):
        constants = {tensor.name for tensor in proto.graph.initializer}
        return [node.op_type for node in proto.graph.node if not (node.op_type == "DequantizeLinear" and node.input[0] in constants)]

    return of


@pytest.fixture
def stored():
    """Scale and zero point that a tensor of the float graph is stored with."""

    def of(proto, tensor):
        constants = {one.name: onnx.numpy_helper.to_array(one) for one in proto.graph.initializer}
        node = next(node for node in proto.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in (tensor, f"{tensor}/float"))
        return float(constants[node.input[1]]), constants[node.input[2]]

    return of

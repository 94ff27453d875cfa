import numpy as np
import onnx
import pytest

from edgekit.graph import onnx_file
from edgekit.graph.signature import signature_of
from edgekit.model import seal_model
from edgekit.target import Runtime, Target

QUANTIZED_CONV = """net (float[1,3,8,8] images) => (float[1,4,8,8] logits) {
    xq = QuantizeLinear(images, xs, xz)
    xd = DequantizeLinear(xq, xs, xz)
    wd = DequantizeLinear<axis=0>(wq, ws, wz)
    bd = DequantizeLinear<axis=0>(bq, bs)
    c = Conv<pads=[1,1,1,1]>(xd, wd, bd)
    r = Relu(c)
    yq = QuantizeLinear(r, ys, yz)
    logits = DequantizeLinear(yq, ys, yz)
}"""


def _numbers(kind):
    generator = np.random.default_rng(0)
    return {
        "xs": np.float32(0.02),
        "xz": np.array(128 if kind == "uint8" else 0, kind),
        "wq": generator.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
        "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8),
        "bq": generator.integers(-2000, 2000, 4).astype(np.int32),
        "bs": np.full(4, 0.0002, np.float32),
        "ys": np.float32(0.05),
        "yz": np.array(0 if kind == "uint8" else -128, kind),
    }


@pytest.fixture
def model_of(tmp_path):
    """ONNX text and weights by name, as a Model."""

    def make(text, **weights):
        folder = tmp_path / "model"
        folder.mkdir()
        proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> ' + text)
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
        onnx_file.name_nodes(proto.graph)
        onnx_file.save(onnx_file.infer_shapes(proto), folder)
        return seal_model(folder, signature_of(proto), ())

    return make


@pytest.fixture
def quantized_conv(model_of):
    """A quantized convolution with activations of a type."""
    return lambda kind: model_of(QUANTIZED_CONV, **_numbers(kind))


@pytest.fixture
def target_of():
    """A target with ONNX Runtime and these options."""

    def make(arch="x86_64", max_opset=21, **options):
        runtime = Runtime(name="onnxruntime", max_opset=max_opset, options=options)
        return Target(schema=1, name="bench", arch=arch, runtimes=(runtime,), sources={})

    return make


@pytest.fixture
def run():
    def call(path, *, config=None, **feed):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        for key, value in (config or {}).items():
            options.add_session_config_entry(key, value)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feed)

    return call

"""A quantization that is foreseen has the types of one that was calibrated, and nothing of its numbers."""

from collections import Counter

import numpy as np
import onnx
import pytest

from edgekit.errors import UsageError
from edgekit.passes.contract import Supplies
from edgekit.passes.quantize import Quantize
from edgekit.target import choose

SCHEME = choose("rpi5").target.runtime("tflite").scheme


@pytest.fixture
def model(tmp_path):
    from edgekit.graph import onnx_file
    from edgekit.graph.signature import signature_of
    from edgekit.model import seal_model

    text = "h = Conv<pads = [1,1,1,1]>(x, w) s = Sigmoid(h) m = Mul(h, s) p = GlobalAveragePool(m) f = Flatten(p) d = Gemm(f, v) y = Softmax(d)"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> net (float[1,3,8,8] x) => (float[1,4] y) {{ {text} }}')
    random = np.random.default_rng(2)
    for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 4))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name))
    for node in proto.graph.node:
        node.name = node.op_type.lower()
    folder = tmp_path / "float"
    folder.mkdir()
    onnx_file.save(onnx_file.infer_shapes(proto), folder)
    return seal_model(folder, signature_of(onnx_file.load(folder / "model.onnx")), ())


@pytest.fixture
def samples(tmp_path):
    from edgekit.samples import read_samples

    folder, random = tmp_path / "samples", np.random.default_rng(3)
    folder.mkdir()
    for index in range(3):
        np.savez(folder / f"{index}.npz", x=random.standard_normal((1, 3, 8, 8)).astype(np.float32))
    return read_samples(folder)


def types(model):
    """Operators with the element types of their integers."""
    proto = onnx.load(model.path)
    held = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    return Counter((node.op_type, node.name, held.get(node.input[2]) if node.op_type == "QuantizeLinear" else None) for node in proto.graph.node)


@pytest.mark.parametrize("options", [{}, {"activation_bits": 16}, {"weight_bits": 4}, {"keep_float": ("Softmax",)}])
def test_its_nodes_and_types_are_those_of_one_that_was_calibrated(options, model, samples, tmp_path):
    step = Quantize(observer="minmax", **options)
    foreseen, calibrated = tmp_path / "foreseen", tmp_path / "calibrated"
    foreseen.mkdir()
    calibrated.mkdir()

    found = step.foresee(model, Supplies(scheme=SCHEME), foreseen)

    assert types(found) == types(step(model, Supplies(samples=samples, scheme=SCHEME), calibrated))


def test_what_is_kept_in_float_has_to_be_there(model, tmp_path):
    with pytest.raises(UsageError, match="no node is called softmacks; did you mean softmax"):
        Quantize(keep_float=("softmacks",)).foresee(model, Supplies(scheme=SCHEME), tmp_path / "out")

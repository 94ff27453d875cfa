import numpy as np
import onnx
import pytest

from edgekit.graph.onnx_file import infer_shapes
from edgekit.graph.signature import signature_of
from edgekit.passes.learn import Material, Teacher, TrainOptions

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread():
    """Other tests run beside these."""
    torch.set_num_threads(1)


@pytest.fixture
def proto_of():
    """ONNX text and weights by name become a model with all shapes."""

    def make(text, **weights):
        proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> ' + text)
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items())
        for index, node in enumerate(proto.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"
        return infer_shapes(proto)

    return make


@pytest.fixture
def material():
    """Arrays, one row a sample, as material for a student."""

    def make(student, labels=None, teachers=(), **inputs):
        held = {name: np.asarray(value, np.float32)[:, None] for name, value in inputs.items()}
        count = len(next(iter(held.values())))
        known = np.full(count, -1) if labels is None else np.asarray(labels)
        signature = signature_of(student)
        return Material(held, known, signature, tuple(Teacher(one, signature_of(one), threads=1) for one in teachers))

    return make


@pytest.fixture
def options():
    """Options with one thread."""

    def make(**given):
        return TrainOptions(**{"threads": 1, **given})

    return make

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread():
    """Other tests run beside these."""
    torch.set_num_threads(1)


@pytest.fixture
def graph_of():
    """A graph of opset 21 from ONNX text; constants by name."""

    def make(text, **constants):
        proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
        for at, node in enumerate(proto.graph.node):
            node.name = node.name or f"{node.op_type}_{at}"
        return proto

    return make


@pytest.fixture
def by_onnx_runtime():
    """Outputs by name as ONNX Runtime computes the graph as written."""

    def run(proto, feed):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip([value.name for value in session.get_outputs()], session.run(None, feed), strict=True))

    return run

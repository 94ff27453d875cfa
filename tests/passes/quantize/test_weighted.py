import numpy as np
import onnxruntime
import pytest

from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.passes.quantize.patches import patches

RNG = np.random.default_rng(0)


@pytest.fixture
def unoptimized():
    def call(proto, x):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]

    return call


@pytest.mark.parametrize(
    ("op", "options"),
    [
        ("Conv", 'auto_pad="SAME_UPPER", strides=[3,3]'),
        ("Conv", 'auto_pad="SAME_LOWER", strides=[2,2]'),
        ("ConvTranspose", "strides=[2,2], pads=[1,0,0,1], output_padding=[1,1]"),
        ("ConvTranspose", 'auto_pad="SAME_UPPER", strides=[2,2]'),
        ("ConvTranspose", 'auto_pad="SAME_LOWER", strides=[2,2]'),
        ("ConvTranspose", 'auto_pad="SAME_UPPER", strides=[2,2], output_padding=[1,1]'),
        ("ConvTranspose", 'auto_pad="SAME_LOWER", strides=[2,2], output_padding=[1,1]'),
        ("ConvTranspose", 'auto_pad="SAME_UPPER", strides=[4,4], output_padding=[0,1]'),
        ("ConvTranspose", "output_shape=[10,10], strides=[2,2]"),
        ("ConvTranspose", "output_shape=[10,9], strides=[2,2], output_padding=[1,0]"),
    ],
)
@pytest.mark.parametrize("kernel", [2, 3])
def test_weights_times_the_average_input_are_the_average_output_of_onnx_runtime(proto_of, unoptimized, op, options, kernel):
    text = f"net (float[1,2,5,5] x) => (float[n,c,h,v] y) {{ y = {op}<{options}>(x, w) }}"
    proto = proto_of(text, w=RNG.normal(size=(2, 2, kernel, kernel)).astype(np.float32))
    view, x = View(proto), RNG.normal(size=(1, 2, 5, 5)).astype(np.float32)
    one = weighted_nodes(view)[f"{op}_0"]
    found = one.by_channel(view.value("w")) @ patches(one, x, 0, most=400).mean(axis=(0, 1))

    np.testing.assert_allclose(found, unoptimized(proto, x).mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)

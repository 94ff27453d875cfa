import numpy as np
import pytest

from edgekit.graph.inspect import Totals, layers, totals


def only_layer(proto):
    (layer,) = layers(proto)
    return layer


def test_a_convolution_worked_by_hand(onnx_text):
    # 8 maps of 6 x 6, each number a sum over 3 channels of 3 x 3: 8 * 36 * 27 = 7776
    layer = only_layer(onnx_text("net (float[1,3,8,8] x) => (float[1,8,6,6] y) { y = Conv(x, w, b) }", w=np.zeros((8, 3, 3, 3)), b=np.zeros(8)))
    assert layer.macs == 7776
    assert layer.parameters == 8 * 27 + 8
    assert layer.weight_bytes == (8 * 27 + 8) * 4
    assert layer.activation_bytes == 8 * 36 * 4
    assert (layer.op, layer.output, layer.shape, layer.dtype) == ("Conv", "y", (1, 8, 6, 6), "float32")


@pytest.mark.parametrize(
    ("text", "weights", "macs"),
    [
        # grouped: 8 x 8 x 8 numbers, each over 4 / 2 channels
        ("net (float[1,4,8,8] x) => (float[1,8,8,8] y) { y = Conv<group=2>(x, w) }", (8, 2, 1, 1), 8 * 64 * 2),
        # depthwise: 4 x 6 x 6 numbers, each over 3 x 3
        ("net (float[1,4,8,8] x) => (float[1,4,6,6] y) { y = Conv<group=4>(x, w) }", (4, 1, 3, 3), 4 * 36 * 9),
        # strided, batch of 2: 2 x 5 x 4 x 4 numbers over 3 channels of 2 x 2
        ("net (float[2,3,8,8] x) => (float[2,5,4,4] y) { y = Conv<strides=[2,2]>(x, w) }", (5, 3, 2, 2), 2 * 5 * 16 * 12),
        # transposed: each of 3 x 8 x 8 inputs goes into 5 maps of 2 x 2
        ("net (float[1,3,8,8] x) => (float[1,5,16,16] y) { y = ConvTranspose<strides=[2,2]>(x, w) }", (3, 5, 2, 2), 3 * 64 * 5 * 4),
        # transposed in 2 groups: each of 4 x 8 x 8 inputs goes into 6 / 2 maps
        ("net (float[1,4,8,8] x) => (float[1,6,8,8] y) { y = ConvTranspose<group=2>(x, w) }", (4, 3, 1, 1), 4 * 64 * 3),
        ("net (float[2,6] x) => (float[2,4] y) { y = Gemm(x, w) }", (6, 4), 2 * 6 * 4),
        ("net (float[2,6] x) => (float[2,4] y) { y = Gemm<transB=1>(x, w) }", (4, 6), 2 * 6 * 4),
        ("net (float[6,2] x) => (float[2,4] y) { y = Gemm<transA=1>(x, w) }", (6, 4), 2 * 6 * 4),
        ("net (float[3,2,6] x) => (float[3,2,4] y) { y = MatMul(x, w) }", (6, 4), 3 * 2 * 6 * 4),
        ("net (float[7,2,3] x, float[1,16,4] r) => (float[7,1,2,4] y) { y = LSTM<hidden_size=4>(x, w, r) }", (1, 16, 3), 7 * 2 * 4 * 4 * (3 + 4)),
    ],
)
def test_multiply_accumulates_worked_by_hand(onnx_text, text, weights, macs):
    layer = only_layer(onnx_text(text, w=np.zeros(weights)))
    assert layer.macs == macs
    assert layer.parameters == np.prod(weights)


def test_the_product_of_two_activations_has_no_parameters(onnx_text):
    layer = only_layer(onnx_text("net (float[1,2,5,8] a, float[1,2,8,5] b) => (float[1,2,5,5] y) { y = MatMul(a, b) }"))
    assert (layer.macs, layer.parameters, layer.weight_bytes) == (2 * 5 * 5 * 8, 0, 0)


def test_bounds_and_shapes_are_no_parameters(onnx_text):
    found = layers(
        onnx_text(
            "net (float[2,6] x) => (float[12] y) { c = Clip(x, lo, hi)  y = Reshape(c, s) }",
            lo=0.0,
            hi=6.0,
            s=np.array([12]),
        )
    )
    assert [(layer.parameters, layer.weight_bytes) for layer in found] == [(0, 8), (0, 8)]


def test_an_open_batch_counts_as_one(onnx_text):
    layer = only_layer(onnx_text("net (float[n,6] x) => (float[n,4] y) { y = Gemm(x, w) }", w=np.zeros((6, 4))))
    assert (layer.macs, layer.shape, layer.activation_bytes) == (24, ("n", 4), 16)


def test_a_weight_that_two_layers_share_is_counted_once(onnx_text):
    found = layers(onnx_text("net (float[2,4] x) => (float[2,4] y) { a = Gemm(x, w)  y = Gemm(a, w) }", w=np.zeros((4, 4))))
    assert [layer.parameters for layer in found] == [16, 0]
    assert totals(found) == Totals(layers=2, parameters=16, macs=64, weight_bytes=64, activation_bytes=64)


QUANTIZED = """net (float[1,3,8,8] x) => (float[1,4,8,8] y) {
    xq = QuantizeLinear(x, s, z)  xd = DequantizeLinear(xq, s, z)
    wd = DequantizeLinear<axis=0>(w, ws, wz)
    bd = DequantizeLinear<axis=0>(b, bs)
    c = Conv(xd, wd, bd)
    r = Clip(c, lo, hi)
    q = QuantizeLinear(r, s, z)  y = DequantizeLinear(q, s, z)
}"""


def test_a_quantized_layer_is_counted_as_its_integers(onnx_text):
    found = layers(
        onnx_text(
            QUANTIZED,
            s=np.float32(0.1),
            z=np.uint8(0),
            w=np.zeros((4, 3, 1, 1), np.int8),
            ws=np.ones(4, np.float32),
            wz=np.zeros(4, np.int8),
            b=np.zeros(4, np.int32),
            bs=np.ones(4, np.float32),
            lo=0.0,
            hi=6.0,
        )
    )
    assert [layer.op for layer in found] == ["QuantizeLinear", "DequantizeLinear", "Conv", "Clip", "QuantizeLinear", "DequantizeLinear"]
    convolution, clip = found[2], found[3]
    assert convolution.macs == 4 * 64 * 3
    assert convolution.parameters == 4 * 3 + 4
    # 12 weights of 1 byte, 4 biases of 4, two times 4 scales of 4, 4 zero points of 1
    assert convolution.weight_bytes == 12 + 16 + 32 + 4
    assert (convolution.dtype, convolution.activation_bytes) == ("uint8", 256)
    assert (clip.dtype, clip.activation_bytes) == ("uint8", 256)
    assert all(layer.activation_bytes == 0 for layer in found if layer.op.endswith("Linear"))
    assert totals(found).parameters == 16


def test_weights_stored_in_half_precision_count_half_the_bytes(onnx_text):
    found = layers(onnx_text("net (float[2,6] x) => (float[2,4] y) { f = Cast<to=1>(w)  y = Gemm(x, f) }", w=np.zeros((6, 4), np.float16)))
    assert [(layer.op, layer.parameters, layer.weight_bytes) for layer in found] == [("Gemm", 24, 48)]


def test_known_networks_have_their_known_costs(onnx_text):
    # LeNet-5 as LeCun et al. 1998 give it, convolutions connected fully: 61 706 parameters, 416 520 multiply-accumulates
    proto = onnx_text(
        """net (float[1,1,32,32] x) => (float[1,10] y) {
        a = Conv(x, w1, b1)  p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(a)
        b = Conv(p, w2, b2)  q = AveragePool<kernel_shape=[2,2], strides=[2,2]>(b)
        c = Conv(q, w3, b3)  f = Flatten(c)  d = Gemm(f, w4, b4)  y = Gemm(d, w5, b5)
    }""",
        w1=np.zeros((6, 1, 5, 5)),
        b1=np.zeros(6),
        w2=np.zeros((16, 6, 5, 5)),
        b2=np.zeros(16),
        w3=np.zeros((120, 16, 5, 5)),
        b3=np.zeros(120),
        w4=np.zeros((120, 84)),
        b4=np.zeros(84),
        w5=np.zeros((84, 10)),
        b5=np.zeros(10),
    )
    assert (totals(layers(proto)).parameters, totals(layers(proto)).macs) == (61706, 416520)

import numpy as np
import onnx

from edgekit.passes.fuse.rules import batchnorm_after, batchnorm_alone, batchnorm_before

ONE = {"s": [2.0], "b": [1.0], "m": [3.0], "v": [0.25]}
FOUR = {"s": [1.5, -0.5, 2.0, 0.1], "b": [0.1, 0.2, -0.3, 0.4], "m": [1.0, -2.0, 0.5, 0.0], "v": [0.5, 2.0, 1.0, 4.0]}


def constants_of(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_batchnorm_goes_into_the_convolution_before_it(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w)  y = BatchNormalization(c, s, b, m, v) }",
        w=rng.normal(size=(4, 3, 3, 3)),
        **FOUR,
    )
    becomes(before, "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv<pads=[1,1,1,1]>(x, w, b) }", batchnorm_after.RULE)


def test_the_folded_weights_are_those_worked_out_by_hand(onnx_text, becomes):
    # scale = 2 / sqrt(0.25) = 4 with epsilon 0; weight 5 becomes 20, bias 7 becomes 4 * 7 + 1 - 4 * 3 = 17
    before = onnx_text(
        "net (float[1,1,2,2] x) => (float[1,1,2,2] y) { c = Conv(x, w, k)  y = BatchNormalization<epsilon=0.0>(c, s, b, m, v) }",
        w=[[[[5.0]]]],
        k=[7.0],
        **ONE,
    )
    result = becomes(before, "net (float[1,1,2,2] x) => (float[1,1,2,2] y) { y = Conv(x, w, k) }", batchnorm_after.RULE)
    constants = constants_of(result)
    np.testing.assert_array_equal(constants["w"], np.full((1, 1, 1, 1), 20, np.float32))
    np.testing.assert_array_equal(constants["k"], np.float32([17]))


def test_batchnorm_goes_into_grouped_and_transposed_convolutions(onnx_text, becomes, rng):
    grouped = onnx_text(
        "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { c = Conv<group=2>(x, w)  y = BatchNormalization(c, s, b, m, v) }",
        w=rng.normal(size=(4, 2, 1, 1)),
        **FOUR,
    )
    becomes(grouped, "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Conv<group=2>(x, w, b) }", batchnorm_after.RULE)
    transposed = onnx_text(
        "net (float[1,4,8,8] x) => (float[1,4,10,10] y) { c = ConvTranspose<group=2>(x, w, k)  y = BatchNormalization(c, s, b, m, v) }",
        w=rng.normal(size=(4, 2, 3, 3)),
        k=rng.normal(size=4),
        **FOUR,
    )
    becomes(transposed, "net (float[1,4,8,8] x) => (float[1,4,10,10] y) { y = ConvTranspose<group=2>(x, w, b) }", batchnorm_after.RULE)


def test_batchnorm_goes_into_gemm_with_alpha_and_beta(onnx_text, becomes, rng):
    for transposed, shape in ((0, (6, 4)), (1, (4, 6))):
        before = onnx_text(
            "net (float[2,6] x) => (float[2,4] y) "
            f"{{ c = Gemm<transB={transposed}, alpha=0.5, beta=2.0>(x, w, k)  y = BatchNormalization(c, s, b, m, v) }}",
            w=rng.normal(size=shape),
            k=rng.normal(size=(1, 4)),
            **FOUR,
        )
        becomes(before, f"net (float[2,6] x) => (float[2,4] y) {{ y = Gemm<transB={transposed}>(x, w, b) }}", batchnorm_after.RULE)


def test_batchnorm_stays_where_the_convolution_is_seen_by_others(onnx_text, stays, rng):
    text = "net (float[1,3,8,8] x) => ({outputs}) {{ c = Conv(x, w)  y = BatchNormalization(c, s, b, m, v) {more} }}"
    both = "float[1,4,8,8] y, float[1,4,8,8] c"
    stays(onnx_text(text.format(outputs=both, more=""), w=rng.normal(size=(4, 3, 1, 1)), **FOUR), batchnorm_after.RULE)
    reused = text.format(outputs="float[1,4,8,8] z", more="z = Add(y, c)")
    stays(onnx_text(reused, w=rng.normal(size=(4, 3, 1, 1)), **FOUR), batchnorm_after.RULE)


def test_batchnorm_stays_after_a_convolution_whose_weights_are_an_input(onnx_text, stays):
    text = "net (float[1,3,8,8] x, float[4,3,1,1] w) => (float[1,4,8,8] y) { c = Conv(x, w)  y = BatchNormalization(c, s, b, m, v) }"
    stays(onnx_text(text, **FOUR), batchnorm_after.RULE)


def test_two_convolutions_that_share_weights_get_weights_of_their_own(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { c = Conv(x, w)  n = BatchNormalization(c, s, b, m, v)  y = Conv(n, w) }",
        w=rng.normal(size=(4, 4, 1, 1)),
        **FOUR,
    )
    becomes(before, "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { n = Conv(x, w, b)  y = Conv(n, w2) }", batchnorm_after.RULE)


def test_batchnorm_goes_into_the_convolution_after_it_that_does_not_pad(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[1,4,8,8] x) => (float[1,4,6,6] y) { n = BatchNormalization(x, s, b, m, v)  y = Conv<group=2>(n, w) }",
        w=rng.normal(size=(4, 2, 3, 3)),
        **FOUR,
    )
    becomes(before, "net (float[1,4,8,8] x) => (float[1,4,6,6] y) { y = Conv<group=2>(x, w, b) }", batchnorm_before.RULE)


def test_batchnorm_goes_into_the_gemm_after_it(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[2,4] x) => (float[2,5] y) { n = BatchNormalization(x, s, b, m, v)  y = Gemm(n, w, k) }",
        w=rng.normal(size=(4, 5)),
        k=rng.normal(size=5),
        **FOUR,
    )
    becomes(before, "net (float[2,4] x) => (float[2,5] y) { y = Gemm(x, w, k) }", batchnorm_before.RULE)


def test_batchnorm_stays_before_a_convolution_that_pads(onnx_text, stays, rng):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) {{ n = BatchNormalization(x, s, b, m, v)  y = Conv<{pads}>(n, w) }}"
    for pads in ("pads=[1,1,1,1]", 'auto_pad="SAME_UPPER"'):
        stays(onnx_text(text.format(pads=pads), w=rng.normal(size=(4, 4, 3, 3)), **FOUR), batchnorm_before.RULE)


def test_batchnorm_alone_becomes_a_depthwise_convolution(onnx_text, becomes):
    before = onnx_text(
        "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { r = Relu(x)  y = BatchNormalization(r, s, b, m, v) }",
        **FOUR,
    )
    after = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { r = Relu(x)  y = Conv<group=4, kernel_shape=[1,1]>(r, w, b) }"
    becomes(before, after, batchnorm_alone.RULE)


def test_scale_and_shift_by_channel_become_a_depthwise_convolution(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { r = Relu(x)  p = Mul(r, s)  y = Sub(p, b) }",
        s=rng.normal(size=(1, 4, 1, 1)),
        b=rng.normal(size=(4, 1, 1)),
    )
    after = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { r = Relu(x)  y = Conv<group=4, kernel_shape=[1,1]>(r, w, b) }"
    becomes(before, after, batchnorm_alone.RULE)


def test_scale_and_shift_by_single_numbers_stay(onnx_text, stays):
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { p = Mul(x, s)  y = Add(p, b) }"
    stays(onnx_text(text, s=2.0, b=-1.0), batchnorm_alone.RULE)


def test_batchnorm_over_a_matrix_stays(onnx_text, stays):
    stays(onnx_text("net (float[2,4] x) => (float[2,4] y) { y = BatchNormalization(x, s, b, m, v) }", **FOUR), batchnorm_alone.RULE)

import numpy as np
import pytest

from edgekit.passes.fuse.rules import matmul, scale_shift_after, scale_shift_before

DEPTHWISE = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) {{ c = Conv<group=4, pads=[1,1,1,1]>(x, w)  {arithmetic} }}"


def test_what_tf2onnx_leaves_of_a_depthwise_batchnorm_goes_into_the_convolution(onnx_text, becomes, rng):
    before = onnx_text(
        DEPTHWISE.format(arithmetic="p = Mul(c, s)  y = Add(p, b)"),
        w=rng.normal(size=(4, 1, 3, 3)),
        s=rng.normal(size=(1, 4, 1, 1)),
        b=rng.normal(size=(1, 4, 1, 1)),
    )
    after = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Conv<group=4, pads=[1,1,1,1]>(x, w, b) }"
    becomes(before, after, scale_shift_after.RULE)


@pytest.mark.parametrize("arithmetic", ["y = Div(c, s)", "y = Sub(c, s)", "y = Sub(s, c)", "y = Add(s, c)", "y = Mul(s, c)"])
def test_all_four_operations_fold_on_the_side_where_they_can(onnx_text, becomes, rng, arithmetic):
    before = onnx_text(
        "net (float[1,3,5,5] x) => (float[1,4,5,5] y) { c = Conv(x, w, k)  " + arithmetic + " }",
        w=rng.normal(size=(4, 3, 1, 1)),
        k=rng.normal(size=4),
        s=rng.uniform(0.5, 2, size=(4, 1, 1)),
    )
    becomes(before, "net (float[1,3,5,5] x) => (float[1,4,5,5] y) { y = Conv(x, w, k) }", scale_shift_after.RULE)


def test_a_constant_divided_by_the_convolution_stays(onnx_text, stays, rng):
    text = "net (float[1,3,5,5] x) => (float[1,4,5,5] y) { c = Conv(x, w)  y = Div(s, c) }"
    stays(onnx_text(text, w=rng.normal(size=(4, 3, 1, 1)), s=rng.normal(size=(4, 1, 1))), scale_shift_after.RULE)


@pytest.mark.parametrize("shape", [(5,), (5, 5), (1, 1, 5, 1), (2, 4, 1, 1), (1, 1, 4, 1, 1)])
def test_constants_that_differ_within_a_channel_or_make_the_result_larger_stay(onnx_text, stays, rng, shape):
    full = np.broadcast_shapes((1, 4, 5, 5), shape)
    text = f"net (float[1,3,5,5] x) => (float[{','.join(map(str, full))}] y) {{ c = Conv(x, w)  y = Mul(c, s) }}"
    stays(onnx_text(text, w=rng.normal(size=(4, 3, 1, 1)), s=rng.normal(size=shape)), scale_shift_after.RULE)


def test_the_sum_of_two_convolutions_stays(onnx_text, stays, rng):
    text = "net (float[1,3,5,5] x) => (float[1,4,5,5] y) { c = Conv(x, w)  d = Conv(x, w)  y = Add(c, d) }"
    stays(onnx_text(text, w=rng.normal(size=(4, 3, 1, 1))), scale_shift_after.RULE)


def test_a_product_that_others_see_stays(onnx_text, stays, rng):
    text = "net (float[1,3,5,5] x) => (float[1,4,5,5] y, float[1,4,5,5] c) { c = Conv(x, w)  y = Mul(c, s) }"
    stays(onnx_text(text, w=rng.normal(size=(4, 3, 1, 1)), s=2.0), scale_shift_after.RULE)


def test_matmul_and_add_become_gemm(onnx_text, becomes, rng):
    before = onnx_text("net (float[2,6] x) => (float[2,4] y) { p = MatMul(x, w)  y = Add(b, p) }", w=rng.normal(size=(6, 4)), b=rng.normal(size=4))
    becomes(before, "net (float[2,6] x) => (float[2,4] y) { y = Gemm(x, w, b) }", matmul.RULE, scale_shift_after.RULE)


def test_weights_that_only_get_a_bias_stay_shared(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[2,4] x) => (float[2,4] y) { p = Gemm(x, w)  q = Add(p, b)  r = Gemm(q, w)  y = Add(r, b) }",
        w=rng.normal(size=(4, 4)),
        b=rng.normal(size=4),
    )
    result = becomes(before, "net (float[2,4] x) => (float[2,4] y) { q = Gemm(x, w, b)  y = Gemm(q, w, b) }", scale_shift_after.RULE)
    weights = {node.input[1] for node in result.graph.node}
    assert len(weights) == 1


def test_matmul_of_higher_rank_or_of_two_tensors_stays(onnx_text, stays, rng):
    stays(onnx_text("net (float[1,2,6] x) => (float[1,2,4] y) { y = MatMul(x, w) }", w=rng.normal(size=(6, 4))), matmul.RULE)
    stays(onnx_text("net (float[2,6] x, float[6,4] w) => (float[2,4] y) { y = MatMul(x, w) }"), matmul.RULE)


def test_a_scale_after_matmul_of_any_rank_goes_into_its_weights(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[1,2,6] x) => (float[1,2,4] y) { p = MatMul(x, w)  y = Mul(p, s) }", w=rng.normal(size=(6, 4)), s=rng.normal(size=4)
    )
    becomes(before, "net (float[1,2,6] x) => (float[1,2,4] y) { y = MatMul(x, w) }", scale_shift_after.RULE)


def test_a_shift_after_matmul_of_higher_rank_stays(onnx_text, stays, rng):
    text = "net (float[1,2,6] x) => (float[1,2,4] y) { p = MatMul(x, w)  y = Add(p, s) }"
    stays(onnx_text(text, w=rng.normal(size=(6, 4)), s=rng.normal(size=4)), scale_shift_after.RULE)


def test_a_scale_goes_into_a_convolution_after_it_even_if_that_pads(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { p = Div(x, s)  y = Conv<pads=[1,1,1,1]>(p, w) }",
        w=rng.normal(size=(4, 3, 3, 3)),
        s=rng.uniform(0.5, 2, size=(3, 1, 1)),
    )
    becomes(before, "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv<pads=[1,1,1,1]>(x, w) }", scale_shift_before.RULE)


def test_a_shift_goes_into_a_convolution_after_it_only_if_that_does_not_pad(onnx_text, becomes, stays, rng):
    text = "net (float[1,3,8,8] x) => (float[1,4,{size},{size}] y) {{ p = Sub(x, s)  y = Conv{pads}(p, w) }}"
    constants = {"w": rng.normal(size=(4, 3, 3, 3)), "s": 0.5}
    after = "net (float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, w, b) }"
    becomes(onnx_text(text.format(size=6, pads=""), **constants), after, scale_shift_before.RULE)
    stays(onnx_text(text.format(size=8, pads="<pads=[1,1,1,1]>"), **constants), scale_shift_before.RULE)


def test_a_scale_goes_into_gemm_matmul_and_transposed_convolution_after_it(onnx_text, becomes, rng):
    gemm = onnx_text(
        "net (float[2,6] x) => (float[2,4] y) { p = Mul(x, s)  q = Add(p, t)  y = Gemm<transB=1>(q, w) }",
        w=rng.normal(size=(4, 6)),
        s=rng.normal(size=6),
        t=rng.normal(size=6),
    )
    becomes(gemm, "net (float[2,6] x) => (float[2,4] y) { y = Gemm<transB=1>(x, w, b) }", scale_shift_before.RULE)
    product = onnx_text(
        "net (float[1,2,6] x) => (float[1,2,4] y) { p = Mul(x, s)  y = MatMul(p, w) }", w=rng.normal(size=(6, 4)), s=rng.normal(size=6)
    )
    becomes(product, "net (float[1,2,6] x) => (float[1,2,4] y) { y = MatMul(x, w) }", scale_shift_before.RULE)
    transposed = onnx_text(
        "net (float[1,3,5,5] x) => (float[1,4,9,9] y) { p = Mul(x, s)  y = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(p, w) }",
        w=rng.normal(size=(3, 4, 3, 3)),
        s=rng.normal(size=(3, 1, 1)),
    )
    after = "net (float[1,3,5,5] x) => (float[1,4,9,9] y) { y = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(x, w) }"
    becomes(transposed, after, scale_shift_before.RULE)


def test_a_scaled_input_that_makes_the_tensor_larger_stays(onnx_text, stays, rng):
    text = "net (float[1,1,8,8] x) => (float[1,4,8,8] y) { p = Mul(x, s)  y = Conv(p, w) }"
    stays(onnx_text(text, w=rng.normal(size=(4, 3, 1, 1)), s=rng.normal(size=(3, 1, 1))), scale_shift_before.RULE)

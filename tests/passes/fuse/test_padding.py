import numpy as np
import pytest

from edgekit.passes.fuse.rules import pad_conv, pad_pool


def pads(*values):
    return np.array(values, np.int64)


ALL_SIDES = pads(0, 0, 1, 0, 0, 0, 2, 1)


def test_padding_with_zeros_goes_into_the_convolution(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[1,3,8,8] x) => (float[1,4,11,9] y) { p = Pad(x, k)  y = Conv<pads=[1,1,1,1]>(p, w) }",
        k=ALL_SIDES,
        w=rng.normal(size=(4, 3, 3, 3)),
    )
    becomes(before, "net (float[1,3,8,8] x) => (float[1,4,11,9] y) { y = Conv<pads=[2,1,3,2]>(x, w) }", pad_conv.RULE)


def test_padding_that_names_its_axes_goes_into_the_convolution(onnx_text, becomes, rng):
    before = onnx_text(
        "net (float[1,3,8,8] x) => (float[1,4,8,9] y) { p = Pad(x, k, z, a)  y = Conv(p, w) }",
        k=pads(2, 1, 1, 1),
        z=0.0,
        a=np.array([-1, 2]),
        w=rng.normal(size=(4, 3, 3, 3)),
    )
    becomes(before, "net (float[1,3,8,8] x) => (float[1,4,8,9] y) { y = Conv<pads=[1,2,1,1]>(x, w) }", pad_conv.RULE)


@pytest.mark.parametrize(
    ("pad", "amounts", "value"),
    [
        ("Pad", pads(0, 0, 1, 1, 0, 0, 1, 1), 1.0),
        ("Pad", pads(0, 0, -1, -1, 0, 0, 1, 1), 0.0),
        ("Pad", pads(0, 1, 1, 1, 0, 0, 1, 1), 0.0),
        ('Pad<mode="reflect">', pads(0, 0, 1, 1, 0, 0, 1, 1), 0.0),
    ],
    ids=["ones", "cut off", "channels", "reflected"],
)
def test_other_padding_stays_before_a_convolution(onnx_text, stays, rng, pad, amounts, value):
    channels = 3 + int(amounts[1])
    text = f"net (float[1,3,8,8] x) => (float[1,4,h,w] y) {{ p = {pad}(x, k, z)  y = Conv(p, c) }}"
    stays(onnx_text(text, k=amounts, z=value, c=rng.normal(size=(4, channels, 3, 3))), pad_conv.RULE)


def test_padding_that_others_see_stays(onnx_text, stays, rng):
    text = "net (float[1,3,8,8] x) => (float[1,4,9,7] y, float[1,3,11,9] p) { p = Pad(x, k)  y = Conv(p, w) }"
    stays(onnx_text(text, k=ALL_SIDES, w=rng.normal(size=(4, 3, 3, 3))), pad_conv.RULE)


def test_padding_stays_before_a_convolution_that_works_out_its_own(onnx_text, stays, rng):
    text = 'net (float[1,3,8,8] x) => (float[1,4,11,9] y) { p = Pad(x, k)  y = Conv<auto_pad="SAME_UPPER">(p, w) }'
    stays(onnx_text(text, k=ALL_SIDES, w=rng.normal(size=(4, 3, 3, 3))), pad_conv.RULE)


def test_zeros_are_counted_in_the_average(onnx_text, becomes):
    before = onnx_text("net (float[1,3,8,8] x) => (float[1,3,9,7] y) { p = Pad(x, k)  y = AveragePool<kernel_shape=[3,3]>(p) }", k=ALL_SIDES)
    after = "net (float[1,3,8,8] x) => (float[1,3,9,7] y) { y = AveragePool<kernel_shape=[3,3], pads=[1,0,2,1], count_include_pad=1>(x) }"
    becomes(before, after, pad_pool.RULE)


def test_zeros_before_an_average_that_pads_without_counting_stay(onnx_text, stays):
    text = "net (float[1,3,8,8] x) => (float[1,3,h,w] y) { p = Pad(x, k)  y = AveragePool<kernel_shape=[4,4], pads=[1,1,1,1]>(p) }"
    stays(onnx_text(text, k=ALL_SIDES), pad_pool.RULE)


def test_zeros_before_a_maximum_go_into_it_where_nothing_is_negative(onnx_text, becomes, stays):
    text = "net (float[1,3,8,8] x) => (float[1,3,9,7] y) {{ {first}  p = Pad(r, k)  y = MaxPool<kernel_shape=[3,3]>(p) }}"
    after = "net (float[1,3,8,8] x) => (float[1,3,9,7] y) {{ {first}  y = MaxPool<kernel_shape=[3,3], pads=[1,0,2,1]>(r) }}"
    for first in ("r = Relu(x)", "r = Clip(x, zero, six)"):
        bounds = {"zero": 0.0, "six": 6.0} if "Clip" in first else {}
        becomes(onnx_text(text.format(first=first), k=ALL_SIDES, **bounds), after.format(first=first), pad_pool.RULE)
    stays(onnx_text(text.format(first="r = Tanh(x)"), k=ALL_SIDES), pad_pool.RULE)
    stays(onnx_text(text.format(first="r = Clip(x, low)"), k=ALL_SIDES, low=-1.0), pad_pool.RULE)


def test_minus_infinity_before_a_maximum_goes_into_it(onnx_text, becomes):
    text = "net (float[1,3,8,8] x) => (float[1,3,9,7] y) { p = Pad(x, k, low)  y = MaxPool<kernel_shape=[3,3]>(p) }"
    after = "net (float[1,3,8,8] x) => (float[1,3,9,7] y) { y = MaxPool<kernel_shape=[3,3], pads=[1,0,2,1]>(x) }"
    for low in (-np.inf, np.finfo(np.float32).min):
        becomes(onnx_text(text, k=ALL_SIDES, low=np.float32(low)), after, pad_pool.RULE)


def test_padding_as_wide_as_the_kernel_or_with_ceil_mode_stays(onnx_text, stays):
    wide = "net (float[1,3,8,8] x) => (float[1,3,10,8] y) { p = Pad(x, k)  y = AveragePool<kernel_shape=[2,2]>(p) }"
    stays(onnx_text(wide, k=ALL_SIDES), pad_pool.RULE)
    ceil = "net (float[1,3,8,8] x) => (float[1,3,h,w] y) { p = Pad(x, k)  y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(p) }"
    stays(onnx_text(ceil, k=ALL_SIDES), pad_pool.RULE)

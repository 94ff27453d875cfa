"""Padding of every kind: SAME or VALID where that is exactly it, a PAD only where it is not."""

from itertools import product

import numpy as np
import pytest

from edgekit.errors import UnsupportedError

RNG = np.random.default_rng(3)
SIZES = ((7, 8), (8, 5))
SHAPES = [
    (kernel, stride, dilation)
    for kernel, stride, dilation in product((1, 2, 3, 5), (1, 2, 3), (1, 2))
    if not (dilation > 1 and (kernel == 1 or stride > 1))
]


def paddings(reach):
    """Pads (top, left, bottom, right): even, uneven, one-sided, none, larger than SAME would have."""
    most = reach // 2
    found = {(0, 0, 0, 0), (most, most, most, most), (most, 0, 0, most), (0, most, most, 0), (0, 1, 1, 2)}
    return sorted(found | {(max(most - 1, 0), most, most, max(most - 1, 0))})


def parallel(op, attributes, pads):
    """One node for each padding, all reading x."""
    nodes = " ".join(f"y{number} = {op}<{attributes}, pads=[{','.join(map(str, pad))}]>(x, w)" for number, pad in enumerate(pads))
    outputs = ", ".join(f"y{number}" for number in range(len(pads)))
    return outputs, nodes if "Conv" in op else nodes.replace("(x, w)", "(x)")


@pytest.mark.parametrize(("kernel", "stride", "dilation"), SHAPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("group", [1, 4])
def test_conv_with_any_padding(size, kernel, stride, dilation, group, graph, assert_same):
    reach = (kernel - 1) * dilation + 1
    pads = [pad for pad in paddings(reach) if min(size[0] + pad[0] + pad[2], size[1] + pad[1] + pad[3]) >= reach]
    outputs, nodes = parallel("Conv", f"group={group}, strides=[{stride},{stride}], dilations=[{dilation},{dilation}]", pads)
    weights = RNG.standard_normal((4, 4 // group, kernel, kernel)).astype(np.float32)

    if pads:
        assert_same(graph(f"(float[1,4,{size[0]},{size[1]}] x) => ({outputs}) {{ {nodes} }}", w=weights))


def all_windows_start_inside(size, kernel, stride, pad):
    """False where rounding up gives a window that starts behind the input (torch and ONNX Runtime leave it out)."""
    for axis in (0, 1):
        steps = -(-(size[axis] + pad[axis] + pad[axis + 2] - kernel) // stride) + 1
        if (steps - 1) * stride - pad[axis] >= size[axis]:
            return False
    return True


@pytest.mark.parametrize(("kernel", "stride"), list(product((2, 3, 4), (1, 2, 3))))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("extra", ["", ", ceil_mode=1"])
def test_maxpool_with_any_padding(size, kernel, stride, extra, graph, assert_same):
    pads = [pad for pad in paddings(kernel) if max(pad) < kernel and all_windows_start_inside(size, kernel, stride, pad)]
    outputs, nodes = parallel("MaxPool", f"kernel_shape=[{kernel},{kernel}], strides=[{stride},{stride}]{extra}", pads)

    assert_same(graph(f"(float[1,4,{size[0]},{size[1]}] x) => ({outputs}) {{ {nodes} }}"))


@pytest.mark.parametrize(("kernel", "stride"), list(product((2, 3, 4), (1, 2, 3))))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("extra", ["", ", ceil_mode=1", ", count_include_pad=1", ", count_include_pad=1, ceil_mode=1"])
def test_averagepool_with_any_padding(size, kernel, stride, extra, graph, assert_same):
    pads = [pad for pad in paddings(kernel) if max(pad) < kernel and all_windows_start_inside(size, kernel, stride, pad)]
    outputs, nodes = parallel("AveragePool", f"kernel_shape=[{kernel},{kernel}], strides=[{stride},{stride}]{extra}", pads)

    assert_same(graph(f"(float[1,4,{size[0]},{size[1]}] x) => ({outputs}) {{ {nodes} }}"))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_a_window_that_starts_in_the_padding_is_refused(op, graph, build):
    """Of 7 with 1 before and after, windows of 2 at every third start at -1, 2, 5 and 8."""
    proto = graph(f"(float[1,4,7,7] x) => (y) {{ y = {op}<kernel_shape=[2,2], strides=[3,3], pads=[1,1,1,1], ceil_mode=1>(x) }}")

    with pytest.raises(UnsupportedError, match="starts in the padding"):
        build(proto)


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_automatic_padding(auto, size, stride, graph, assert_same):
    strides = f'auto_pad="{auto}", strides=[{stride},{stride}]'
    weights = RNG.standard_normal((4, 4, 3, 4)).astype(np.float32)
    text = f"(float[1,4,{size[0]},{size[1]}] x) => (a, b, c) {{ a = Conv<{strides}>(x, w) b = MaxPool<kernel_shape=[2,3], {strides}>(x)"
    text += f" c = AveragePool<kernel_shape=[2,3], {strides}>(x) }}"

    assert_same(graph(text, w=weights))


@pytest.mark.parametrize(("kernel", "stride"), list(product((1, 2, 3, 4), (1, 2, 3))))
@pytest.mark.parametrize("cut", [(0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 1), (0, 1, 1, 0)])
def test_transposed_conv_with_any_padding(kernel, stride, cut, graph, assert_same):
    weights = RNG.standard_normal((4, 2, kernel, kernel)).astype(np.float32)
    bias = RNG.standard_normal(2).astype(np.float32)
    extra = [0, stride - 1]
    text = f"strides=[{stride},{stride}], pads=[{','.join(map(str, cut))}], output_padding={extra}"

    assert_same(graph(f"(float[1,4,5,4] x) => (y) {{ y = ConvTranspose<{text}>(x, w, b) }}", w=weights, b=bias))


@pytest.mark.parametrize(("kernel", "stride"), list(product((1, 2, 3, 5), (1, 2))))
@pytest.mark.parametrize("group", [1, 4])
def test_int8_conv_pads_with_the_zero_point(kernel, stride, group, graph, quantize, assert_close_in_steps):
    pads = paddings(kernel)
    outputs, nodes = parallel("Conv", f"group={group}, strides=[{stride},{stride}]", pads)
    weights = RNG.standard_normal((4, 4 // group, kernel, kernel)).astype(np.float32)

    # A zero point far from the 0 that a careless padding would fill in.
    proto = quantize(graph(f"(float[1,4,7,8] x) => ({outputs}) {{ {nodes} }}", w=weights), fixed={"x": (1 / 64, -128)})

    assert_close_in_steps(proto, steps=1)


def scheme(built):
    return built.operators["PAD"], built.operators["PADV2"]


W3 = RNG.standard_normal((4, 4, 3, 3)).astype(np.float32)


def test_even_padding_of_stride_1_is_same(graph, build):
    built = build(graph("(float[1,4,8,8] x) => (y) { y = Conv<pads=[1,1,1,1]>(x, w) }", w=W3))

    assert scheme(built) == (0, 0)


def test_padding_at_the_end_of_stride_2_is_same(graph, build):
    """What Keras' SAME becomes in ONNX: of 8, windows of 3 at every second start at 0 and reach one beyond the end."""
    built = build(graph("(float[1,4,8,8] x) => (y) { y = Conv<pads=[0,0,1,1], strides=[2,2]>(x, w) }", w=W3))

    assert scheme(built) == (0, 0)


def test_padding_no_window_touches_is_left_out(graph, build):
    """Of 9, windows of 2 at every second end at 8: the padding stated at the end is never read."""
    built = build(graph("(float[1,4,9,9] x) => (y) { y = Conv<pads=[0,0,1,1], strides=[2,2]>(x, w) }", w=W3[:, :, :1, :1]))

    assert scheme(built) == (0, 0)


def test_even_padding_of_stride_2_needs_a_pad_at_the_start_alone(graph, build):
    """torch's padding=1: SAME would start at 0, torch starts at -1 and never reads the padding at the end."""
    built = build(graph("(float[1,4,8,8] x) => (y) { y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w) }", w=W3))

    assert scheme(built) == (1, 0)
    padded = next(detail for detail in built.interpreter(delegate=False).get_tensor_details() if detail["name"].endswith("_padded"))
    assert list(padded["shape"]) == [1, 9, 9, 4]


def test_maxpool_pads_with_zeros_after_a_relu_and_with_the_least_number_otherwise(graph, build):
    pool = "MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>"

    assert scheme(build(graph(f"(float[1,4,8,8] x) => (y) {{ c = Conv(x, w) z = Relu(c) y = {pool}(z) }}", w=W3))) == (1, 0)
    assert scheme(build(graph(f"(float[1,4,8,8] x) => (y) {{ z = Conv(x, w) y = {pool}(z) }}", w=W3))) == (0, 1)

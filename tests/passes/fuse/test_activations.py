import numpy as np
import pytest

from edgekit.passes.fuse.rules import clamp, gelu, hard_sigmoid, hard_swish, prelu

NET = "net (float[1,3,4,4] x) => (float[1,3,4,4] y) {{ {body} }}"
HALF, ONE, THREE, SIX, SIXTH = 0.5, 1.0, 3.0, 6.0, 1 / 6
ROOT, COEFFICIENT, CUBE = np.sqrt(2), np.sqrt(2 / np.pi), 0.044715


# --- clamps


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ("a = Relu(x)  y = Min(a, hi)", "y = Clip(x, lo, hi)"),
        ("a = Min(hi, x)  y = Max(a, lo)", "y = Clip(x, lo, hi)"),
        ("a = Relu(x)  y = Clip(a, , hi)", "y = Clip(x, lo, hi)"),
        ("a = Clip(x, lo, hi)  y = Relu(a)", "y = Clip(x, lo, hi)"),
        ("a = Clip(x, minus, hi)  y = Clip(a, lo)", "y = Clip(x, lo, hi)"),
        ("y = Max(x, lo)", "y = Relu(x)"),
        ("y = Clip(x, lo)", "y = Relu(x)"),
        ("a = Relu(x)  y = Relu(a)", "y = Relu(x)"),
        ("y = Min(x, hi)", "y = Clip(x, , hi)"),
        ("y = Max(x, minus)", "y = Clip(x, minus)"),
    ],
)
def test_clamps_become_one_relu_or_clip(onnx_text, becomes, body, after):
    used = {name: value for name, value in {"lo": 0.0, "hi": 6.0, "minus": -1.0}.items() if name in body}
    becomes(onnx_text(NET.format(body=body), **used), NET.format(body=after), clamp.RULE)


def test_clamps_that_exclude_each_other_give_the_outer_bound(onnx_text, becomes):
    before = onnx_text(NET.format(body="a = Clip(x, two, three)  y = Clip(a, minus, one)"), two=2.0, three=3.0, minus=-1.0, one=1.0)
    becomes(before, NET.format(body="y = Clip(x, one, one)"), clamp.RULE)


def test_a_relu6_with_constant_bounds_is_left_alone(onnx_text, stays):
    stays(onnx_text(NET.format(body="y = Clip(x, lo, hi)"), lo=0.0, hi=6.0), clamp.RULE)


def test_clamps_stay_whose_bounds_are_inputs_or_differ_by_channel(onnx_text, stays):
    stays(onnx_text("net (float[1,3,4,4] x, float hi) => (float[1,3,4,4] y) { a = Relu(x)  y = Clip(a, , hi) }"), clamp.RULE)
    stays(onnx_text(NET.format(body="y = Max(x, lo)"), lo=np.zeros((3, 1, 1))), clamp.RULE)
    stays(onnx_text("net (int64[3] x) => (int64[3] y) { y = Max(x, lo) }", lo=np.array(0)), clamp.RULE)


def test_a_clamp_that_others_see_stays(onnx_text, stays):
    text = "net (float[1,3,4,4] x) => (float[1,3,4,4] y, float[1,3,4,4] a) { a = Relu(x)  y = Clip(a, , hi) }"
    stays(onnx_text(text, hi=6.0), clamp.RULE)


# --- GELU


@pytest.mark.parametrize(
    "body",
    [
        "d = Div(x, root)  e = Erf(d)  a = Add(e, one)  m = Mul(x, a)  y = Mul(m, half)",
        "d = Div(x, root)  e = Erf(d)  a = Add(one, e)  h = Mul(half, x)  y = Mul(h, a)",
        "d = Mul(inverse, x)  e = Erf(d)  a = Add(e, one)  h = Mul(a, half)  y = Mul(x, h)",
        "n = Neg(x)  d = Mul(n, inverse)  e = Erf(d)  a = Sub(one, e)  h = Mul(half, x)  y = Mul(h, a)",
    ],
    ids=["torch", "tensorflow", "scaled sum", "erfc"],
)
def test_gelu_is_found_however_its_factors_are_ordered(onnx_text, becomes, body):
    constants = {"root": ROOT, "one": ONE, "half": HALF, "inverse": 1 / ROOT}
    used = {name: value for name, value in constants.items() if name in body}
    becomes(onnx_text(NET.format(body=body), **used), NET.format(body='y = Gelu<approximate="none">(x)'), gelu.RULE)


@pytest.mark.parametrize(
    "body",
    [
        "p = Pow(x, three)  q = Mul(p, cube)  s = Add(x, q)  d = Mul(s, c)  t = Tanh(d)  a = Add(t, one)  h = Mul(half, x)  y = Mul(h, a)",
        "p = Mul(x, x)  r = Mul(p, x)  q = Mul(cube, r)  s = Add(x, q)  d = Mul(c, s)  t = Tanh(d)  a = Add(one, t)  m = Mul(x, a)  y = Mul(half, m)",
        "p = Mul(x, x)  q = Mul(p, cube)  s = Add(q, one) r = Mul(x, s) d = Mul(r, c)  t = Tanh(d)  a = Add(t, one)  h = Mul(x, half)  y = Mul(h, a)",
    ],
    ids=["pow", "products", "factored"],
)
def test_gelu_with_tanh_is_found(onnx_text, becomes, body):
    constants = {"three": THREE, "cube": CUBE, "c": COEFFICIENT, "one": ONE, "half": HALF}
    used = {name: value for name, value in constants.items() if f"{name})" in body or f"({name}," in body}
    becomes(onnx_text(NET.format(body=body), **used), NET.format(body='y = Gelu<approximate="tanh">(x)'), gelu.RULE)


def test_what_is_almost_gelu_stays(onnx_text, stays):
    body = "d = Div(x, root)  e = Erf(d)  a = Add(e, one)  m = Mul(x, a)  y = Mul(m, half)"
    for name, wrong in (("root", 1.5), ("one", 2.0), ("half", 0.4)):
        constants = {"root": ROOT, "one": ONE, "half": HALF, name: wrong}
        stays(onnx_text(NET.format(body=body), **constants), gelu.RULE)


def test_gelu_stays_where_a_part_of_it_is_seen(onnx_text, stays):
    body = "{ d = Div(x, root)  e = Erf(d)  a = Add(e, one)  m = Mul(x, a)  y = Mul(m, half) }"
    constants = {"root": ROOT, "one": ONE, "half": HALF}
    for name in ("d", "e", "a", "m"):
        stays(onnx_text(f"net (float[1,3,4,4] x) => (float[1,3,4,4] y, float[1,3,4,4] {name}) {body}", **constants), gelu.RULE)


def test_gelu_of_a_sum_reads_the_sum(onnx_text, becomes):
    body = "x = Add(u, u)  d = Div(x, root)  e = Erf(d)  a = Add(e, one)  m = Mul(x, a)  y = Mul(m, half)"
    before = onnx_text(f"net (float[2,3] u) => (float[2,3] y) {{ {body} }}", root=ROOT, one=ONE, half=HALF)
    becomes(before, 'net (float[2,3] u) => (float[2,3] y) { x = Add(u, u)  y = Gelu<approximate="none">(x) }', gelu.RULE)


# --- hard sigmoid and swish


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("a = Add(x, t)  c = Clip(a, z, s)  y = Div(c, s)", {"t": THREE, "z": 0.0, "s": SIX}),
        ("a = Add(t, x)  c = Clip(a, z, s)  y = Mul(i, c)", {"t": THREE, "z": 0.0, "s": SIX, "i": SIXTH}),
    ],
)
def test_a_scaled_relu6_becomes_hard_sigmoid(onnx_text, becomes, body, constants):
    result = becomes(
        onnx_text(NET.format(body=body), **constants),
        NET.format(body=f"y = HardSigmoid<alpha={np.float32(SIXTH)}, beta=0.5>(x)"),
        hard_sigmoid.RULE,
    )
    assert len(result.graph.initializer) == 0


def test_a_clipped_line_becomes_hard_sigmoid(onnx_text, becomes):
    before = onnx_text(NET.format(body="m = Mul(x, slope)  a = Add(m, half)  y = Clip(a, z, one)"), slope=0.25, half=HALF, z=0.0, one=ONE)
    becomes(before, NET.format(body="y = HardSigmoid<alpha=0.25, beta=0.5>(x)"), hard_sigmoid.RULE)


def test_clips_with_other_bounds_or_without_offset_are_no_hard_sigmoid(onnx_text, stays):
    offset = NET.format(body="a = Add(x, t)  y = Clip(a, z, s)")
    stays(onnx_text(offset, t=THREE, z=0.0, s=SIX), hard_sigmoid.RULE)
    stays(onnx_text(offset, t=THREE, z=-1.0, s=ONE), hard_sigmoid.RULE)
    stays(onnx_text(NET.format(body="c = Clip(x, z, s)  y = Div(c, s)"), z=0.0, s=SIX), hard_sigmoid.RULE)


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("a = Add(x, t)  c = Clip(a, z, s)  m = Mul(x, c)  y = Div(m, s)", {"t": THREE, "z": 0.0, "s": SIX}),
        ("a = Add(x, t)  c = Clip(a, z, s)  d = Div(c, s)  y = Mul(x, d)", {"t": THREE, "z": 0.0, "s": SIX}),
        ("a = Add(t, x)  c = Clip(a, z, s)  d = Mul(c, i)  y = Mul(d, x)", {"t": THREE, "z": 0.0, "s": SIX, "i": SIXTH}),
    ],
)
def test_hard_swish_is_found_however_its_factors_are_ordered(onnx_text, becomes, body, constants):
    becomes(onnx_text(NET.format(body=body), **constants), NET.format(body="y = HardSwish(x)"), hard_swish.RULE, hard_sigmoid.RULE)


def test_x_times_its_hard_sigmoid_is_hard_swish(onnx_text, becomes):
    before = onnx_text(NET.format(body=f"h = HardSigmoid<alpha={SIXTH:.8f}>(x)  y = Mul(h, x)"))
    becomes(before, NET.format(body="y = HardSwish(x)"), hard_swish.RULE)


def test_another_tensor_times_a_hard_sigmoid_is_no_hard_swish(onnx_text, stays):
    stays(onnx_text(NET.format(body=f"r = Relu(x)  h = HardSigmoid<alpha={SIXTH:.8f}>(x)  y = Mul(h, r)")), hard_swish.RULE)
    stays(onnx_text(NET.format(body="h = HardSigmoid<alpha=0.2>(x)  y = Mul(h, x)")), hard_swish.RULE)


def test_silu_stays_sigmoid_and_mul(onnx_text, stays):
    from edgekit.passes.fuse.table import LAST_RULES, RULES

    stays(onnx_text(NET.format(body="s = Sigmoid(x)  y = Mul(x, s)")), *RULES, *LAST_RULES)


# --- PRelu


def test_tensorflows_prelu_is_found(onnx_text, becomes, rng):
    before = onnx_text(NET.format(body="p = Relu(x)  n = Neg(x)  q = Relu(n)  m = Mul(q, a)  y = Add(p, m)"), a=-rng.uniform(size=(1, 3, 1, 1)))
    becomes(before, NET.format(body="y = PRelu(x, a)"), prelu.RULE)


def test_prelu_written_with_a_difference_is_found(onnx_text, becomes, rng):
    before = onnx_text(NET.format(body="p = Relu(x)  n = Neg(x)  q = Relu(n)  m = Mul(a, q)  y = Sub(p, m)"), a=rng.uniform(size=(3, 1, 1)))
    becomes(before, NET.format(body="y = PRelu(x, a)"), prelu.RULE)


def test_the_difference_the_other_way_round_is_no_prelu(onnx_text, stays, rng):
    text = NET.format(body="p = Relu(x)  n = Neg(x)  q = Relu(n)  m = Mul(a, q)  y = Sub(m, p)")
    stays(onnx_text(text, a=rng.uniform(size=(3, 1, 1))), prelu.RULE)


def test_relus_of_different_tensors_are_no_prelu(onnx_text, stays, rng):
    text = NET.format(body="p = Relu(x)  t = Tanh(x)  n = Neg(t)  q = Relu(n)  m = Mul(q, a)  y = Add(p, m)")
    stays(onnx_text(text, a=rng.uniform(size=(3, 1, 1))), prelu.RULE)


def test_a_slope_that_makes_the_product_larger_than_the_source_is_no_prelu(onnx_text, stays, rng):
    body = "p = Relu(x)  n = Neg(x)  q = Relu(n)  m = Mul(a, q)  y = Sub(p, m)"
    before = onnx_text(f"net (float[1,1,8,8] x) => (float[1,4,8,8] y) {{ {body} }}", a=rng.uniform(size=(4, 1, 1)))
    stays(before, prelu.RULE)

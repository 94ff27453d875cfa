import numpy as np
import pytest

from edgekit.passes.fuse.rules import layer_norm, layer_norm_affine

LAST, CHANNELS = np.array([-1]), np.array([1])
MOMENTS = "m = ReduceMean(x, k)  d = Sub(x, m)  q = {square}  v = ReduceMean(q, k)  w = Add(v, e)  s = Sqrt(w)"
NET = "net (float[2,5,8] x) => (float[2,5,8] y) {{ {body} }}"
NORMED = "LayerNormalization<axis=-1, epsilon=0.001>"


@pytest.mark.parametrize(("square", "two"), [("Mul(d, d)", {}), ("Pow(d, two)", {"two": 2.0})])
def test_the_textbook_formula_is_found(onnx_text, becomes, square, two):
    before = onnx_text(NET.format(body=MOMENTS.format(square=square) + " y = Div(d, s)"), k=LAST, e=0.001, **two)
    becomes(before, NET.format(body=f"y = {NORMED}(x, g)"), layer_norm.RULE)


def test_scale_and_shift_after_it_become_its_own(onnx_text, becomes, rng):
    body = MOMENTS.format(square="Mul(d, d)") + " n = Div(d, s)  p = Mul(n, g)  y = Add(b, p)"
    before = onnx_text(NET.format(body=body), k=LAST, e=0.001, g=rng.normal(size=8), b=rng.normal(size=8))
    becomes(before, NET.format(body=f"y = {NORMED}(x, g, b)"), layer_norm.RULE, layer_norm_affine.RULE)


@pytest.mark.parametrize(
    "rest",
    [
        "i = Reciprocal(s)  f = Mul(i, g)  p = Mul(x, f)  n = Neg(m)  o = Mul(n, f)  r = Add(o, b)  y = Add(p, r)",
        "i = Reciprocal(s)  f = Mul(g, i)  p = Mul(f, x)  o = Mul(m, f)  r = Sub(b, o)  y = Add(p, r)",
        "i = Div(one, s)  f = Mul(i, g)  p = Mul(x, f)  o = Mul(m, f)  r = Sub(o, b)  y = Sub(p, r)",
        "i = Reciprocal(s)  f = Mul(i, g)  p = Mul(x, f)  o = Mul(m, f)  t = Neg(o)  r = Add(b, t)  y = Add(r, p)",
    ],
    ids=["tf2onnx", "keras", "differences", "negated product"],
)
def test_tensorflows_formula_is_found(onnx_text, becomes, rng, rest):
    constants = {"k": LAST, "e": 0.001, "g": rng.normal(size=(1, 1, 8)), "b": rng.normal(size=8)}
    if "one" in rest:
        constants["one"] = 1.0
    before = onnx_text(NET.format(body=MOMENTS.format(square="Mul(d, d)") + rest), **constants)
    becomes(before, NET.format(body=f"y = {NORMED}(x, g, b)"), layer_norm.RULE)


def test_tensorflows_formula_without_scale_or_shift_is_found(onnx_text, becomes):
    rest = " i = Reciprocal(s)  p = Mul(x, i)  n = Neg(m)  o = Mul(n, i)  y = Add(p, o)"
    before = onnx_text(NET.format(body=MOMENTS.format(square="Mul(d, d)") + rest), k=LAST, e=0.001)
    becomes(before, NET.format(body=f"y = {NORMED}(x, g)"), layer_norm.RULE)


def test_tensorflows_formula_with_a_wrong_sign_stays(onnx_text, stays):
    rest = " i = Reciprocal(s)  p = Mul(x, i)  o = Mul(m, i)  y = Add(p, o)"
    stays(onnx_text(NET.format(body=MOMENTS.format(square="Mul(d, d)") + rest), k=LAST, e=0.001), layer_norm.RULE)


def test_normalization_over_channels_stands_between_two_transposes(onnx_text, becomes):
    body = MOMENTS.format(square="Mul(d, d)") + " y = Div(d, s)"
    before = onnx_text(f"net (float[1,8,3,3] x) => (float[1,8,3,3] y) {{ {body} }}", k=CHANNELS, e=0.001)
    after = f"t = Transpose<perm=[0,2,3,1]>(x)  n = {NORMED}(t, g)  y = Transpose<perm=[0,3,1,2]>(n)"
    becomes(before, f"net (float[1,8,3,3] x) => (float[1,8,3,3] y) {{ {after} }}", layer_norm.RULE)


def test_moments_over_different_axes_or_of_different_tensors_stay(onnx_text, stays):
    body = MOMENTS.format(square="Mul(d, d)") + " y = Div(d, s)"
    other_axis = body.replace("ReduceMean(q, k)", "ReduceMean(q, c)")
    stays(onnx_text(NET.format(body=other_axis), k=LAST, c=CHANNELS, e=0.001), layer_norm.RULE)
    other_tensor = "r = Relu(x) " + body.replace("ReduceMean(x, k)", "ReduceMean(r, k)")
    stays(onnx_text(NET.format(body=other_tensor), k=LAST, e=0.001), layer_norm.RULE)
    stays(onnx_text(NET.format(body=body), k=np.array([1, 2]), e=0.001), layer_norm.RULE)


def test_normalization_stays_where_its_deviation_is_seen(onnx_text, stays):
    body = MOMENTS.format(square="Mul(d, d)") + " y = Div(d, s)"
    stays(onnx_text(f"net (float[2,5,8] x) => (float[2,5,8] y, float[2,5,1] s) {{ {body} }}", k=LAST, e=0.001), layer_norm.RULE)


def test_constants_that_differ_by_row_stay_after_a_normalization(onnx_text, stays, rng):
    text = NET.format(body=f"n = {NORMED}(x, g)  y = Mul(n, r)")
    stays(onnx_text(text, g=rng.normal(size=8), r=rng.normal(size=(5, 1))), layer_norm_affine.RULE)

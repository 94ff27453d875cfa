import numpy as np

from edgekit.passes.fuse.rules import repeat, reshapes, resizes, transpose_region, transposes

NEAREST = 'Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
ROWS_AND_COLUMNS = """net (float[1,2,3,4] x) => (float[1,4,9,4] y) {
    a = Unsqueeze(x, two)  b = Tile(a, rows)  c = Reshape(b, half)
    d = Unsqueeze(c, three)  e = Tile(d, columns)  y = Reshape(e, whole)
}"""
CONSTANTS = {
    "two": np.array([2]),
    "three": np.array([3]),
    "rows": np.array([1, 1, 2, 1, 1]),
    "columns": np.array([1, 1, 1, 3, 1]),
    "half": np.array([1, 4, 3, 4]),
    "whole": np.array([1, 4, 9, 4]),
}


def test_rows_and_columns_repeated_by_tf2onnx_become_one_resize(onnx_text, becomes):
    after = f"net (float[1,2,3,4] x) => (float[1,4,9,4] y) {{ y = {NEAREST}(x, , s) }}"
    becomes(onnx_text(ROWS_AND_COLUMNS, **CONSTANTS), after, repeat.RULE, reshapes.RULE, resizes.RULE)


def test_it_is_the_same_whichever_rule_comes_first(onnx_text, becomes):
    after = f"net (float[1,2,3,4] x) => (float[1,4,9,4] y) {{ y = {NEAREST}(x, , s) }}"
    becomes(onnx_text(ROWS_AND_COLUMNS, **CONSTANTS), after, reshapes.RULE, resizes.RULE, repeat.RULE)


def test_between_transposes_the_resize_is_moved(onnx_text, becomes):
    before = onnx_text(
        """net (float[1,4,2,3] v) => (float[1,4,4,3] w) {
        x = Transpose<perm=[0,2,3,1]>(v)  a = Unsqueeze(x, two)  b = Tile(a, rows)  c = Reshape(b, half)  w = Transpose<perm=[0,3,1,2]>(c)
    }""",
        **{name: CONSTANTS[name] for name in ("two", "rows", "half")},
    )
    after = f"net (float[1,4,2,3] v) => (float[1,4,4,3] w) {{ w = {NEAREST}(v, , s) }}"
    becomes(before, after, reshapes.RULE, repeat.RULE, transposes.RULE, transpose_region.RULE)


def test_a_tile_that_repeats_the_whole_picture_stays(onnx_text, stays):
    text = "net (float[1,2,3,4] x) => (float[1,4,3,4] y) { y = Tile(x, k) }"
    stays(onnx_text(text, k=np.array([1, 2, 1, 1])), repeat.RULE)
    text = "net (float[1,2,3,4] x) => (float[1,4,3,4] y) { a = Unsqueeze(x, one)  b = Tile(a, k)  y = Reshape(b, s) }"
    two = onnx_text(text, one=np.array([1]), k=np.array([1, 1, 2, 1, 1]), s=np.array([1, 4, 3, 4]))
    stays(two, repeat.RULE)


def test_resizes_that_do_more_than_repeat_stay(onnx_text, stays):
    text = "net (float[1,2,4,4] x) => (float[1,2,h,w] y) {{ a = {first}(x, , s)  y = {second}(a, , t) }}"
    half = {"s": np.float32([1, 1, 2, 1]), "t": np.float32([1, 1, 1, 1.5])}
    stays(onnx_text(text.format(first=NEAREST, second=NEAREST), **half), resizes.RULE)
    whole = {"s": np.float32([1, 1, 2, 1]), "t": np.float32([1, 1, 1, 2])}
    linear = 'Resize<mode="linear", coordinate_transformation_mode="asymmetric">'
    stays(onnx_text(text.format(first=linear, second=NEAREST), **whole), resizes.RULE)

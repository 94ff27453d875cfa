import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgekit.numerics.affine import INT8, INT8_REDUCED, INT8_SYMMETRIC, UINT8, affine_from_range, dequantized, quantized


def test_a_range_from_minus_one_to_three_takes_a_quarter_of_the_unsigned_integers_below_zero():
    affine = affine_from_range(-1.0, 3.0, UINT8, symmetric=False)

    assert affine.scale == np.float32(4.0 / 255.0)
    assert affine.zero_point == 64  # 1.0 / (4 / 255) = 63.75
    assert affine.zero_point.dtype == np.uint8


def test_zero_is_stored_exactly_even_if_the_range_does_not_hold_it():
    for low, high in ((2.0, 5.0), (-5.0, -2.0), (-0.3, 7.7)):
        affine = affine_from_range(low, high, INT8, symmetric=False)

        assert dequantized(quantized(np.zeros(3, np.float32), affine), affine).tolist() == [0.0, 0.0, 0.0]


def test_a_range_above_zero_is_widened_down_to_zero():
    affine = affine_from_range(2.0, 5.1, UINT8, symmetric=False)

    assert affine.scale == np.float32(0.02)
    assert affine.zero_point == 0


def test_a_symmetric_range_reaches_as_far_as_its_longer_end_and_has_zero_point_zero():
    affine = affine_from_range(-1.0, 2.54, INT8_SYMMETRIC, symmetric=True)

    assert affine.scale == np.float32(0.02)
    assert affine.zero_point == 0


def test_a_scale_for_each_channel():
    affine = affine_from_range([-1.27, -2.54], [0.0, 0.0], INT8_SYMMETRIC, symmetric=True)

    assert affine.scale.tolist() == [np.float32(0.01), np.float32(0.02)]
    assert quantized(np.array([[1.0, -1.27], [1.0, -2.54]]), affine, axis=0).tolist() == [[100, -127], [50, -127]]


def test_seven_bits_are_the_integers_up_to_64():
    assert quantized(np.array([-1.0, 1.0, 2.0]), affine_from_range(-1.0, 1.0, INT8_REDUCED, symmetric=True)).tolist() == [-64, 64, 64]


def test_a_range_of_nothing_but_zero_has_a_scale_above_zero():
    assert affine_from_range(0.0, 0.0, UINT8, symmetric=False).scale == 1.0


def test_a_very_narrow_range_has_a_scale_whose_square_is_a_normal_float32():
    scale = float(affine_from_range(-1e-40, 1e-40, INT8, symmetric=False).scale)

    assert scale > 0.0
    assert scale * 2.0**-20 >= np.finfo(np.float32).tiny


@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.0, np.inf), (np.nan, 1.0)])
def test_what_is_no_range_is_refused(ends):
    with pytest.raises(ValueError, match="not a range"):
        affine_from_range(*ends, INT8, symmetric=False)


@pytest.mark.parametrize(("grid", "kind"), [(UINT8, TensorProto.UINT8), (INT8, TensorProto.INT8)])
def test_integers_are_those_of_onnx(grid, kind):
    values = np.linspace(-4.0, 4.0, 1001, dtype=np.float32)
    affine = affine_from_range(-3.0, 3.3, grid, symmetric=False)
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"])]
    inputs = [helper.make_tensor_value_info(name, dtype, shape) for name, dtype, shape in (("x", 1, [1001]), ("s", 1, []), ("z", kind, []))]
    outputs = [helper.make_tensor_value_info("q", kind, [1001]), helper.make_tensor_value_info("d", 1, [1001])]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 21)])
    integers, real = ReferenceEvaluator(model).run(None, {"x": values, "s": affine.scale, "z": affine.zero_point})

    assert np.array_equal(quantized(values, affine), integers)
    assert np.array_equal(dequantized(integers, affine), real)

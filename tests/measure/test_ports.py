import numpy as np
import pytest

from edgekit.engine.contract import Port
from edgekit.errors import SamplesError
from edgekit.measure.ports import from_port, to_port
from edgekit.model import Tensor

NCHW = Tensor("x", "float32", (1, 3, 2, 2), "nchw")


def test_channels_go_last_where_the_engine_wants_them_last():
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)

    there = to_port(image, NCHW, Port("x", "float32", (1, 2, 2, 3), "nhwc"))

    assert there[0, 1, 0].tolist() == [2, 6, 10]  # row 1, column 0 of each channel
    assert there.flags.c_contiguous


def test_a_layout_that_is_not_known_is_left_alone():
    vector = np.ones((1, 3, 2, 2), np.float32)

    assert to_port(vector, NCHW, Port("x", "float32", (1, 3, 2, 2))).shape == (1, 3, 2, 2)


def test_real_values_become_integers_by_scale_and_zero_point_and_saturate():
    port = Port("x", "int8", (1, 5), scale=0.5, zero_point=10)
    values = np.array([[0.0, 0.6, -1.0, 1000.0, -1000.0]], np.float32)

    assert to_port(values, Tensor("x", "float32", (1, 5)), port).tolist() == [[10, 11, 8, 127, -128]]


def test_integers_become_real_values_again():
    port = Port("y", "uint8", (1, 3), scale=0.25, zero_point=128)

    back = from_port(np.array([[128, 130, 0]], np.uint8), Tensor("y", "float32", (1, 3)), port)

    assert back.tolist() == [[0.0, 0.5, -32.0]]
    assert back.dtype == np.float32


def test_integers_without_a_scale_are_passed_on_as_they_are():
    port = Port("ids", "int32", (1, 2))

    assert to_port(np.array([[5, 7]], np.int64), Tensor("ids", "int64", (1, 2)), port).dtype == np.int32


def test_integers_that_do_not_fit_are_refused():
    with pytest.raises(SamplesError, match="a sample holds 300, too large for uint8"):
        to_port(np.array([[1, 300]], np.int64), Tensor("ids", "int64", (1, 2)), Port("ids", "uint8", (1, 2)))


def test_sizes_left_open_take_anything():
    port = Port("x", "float32", ("batch", 2))

    assert to_port(np.ones((7, 2), np.float32), Tensor("x", "float32", ("batch", 2)), port).shape == (7, 2)


def test_an_output_gets_its_source_layout_back():
    port = Port("y", "float32", (1, 2, 2, 3), "nhwc")
    values = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)

    assert from_port(values, NCHW, port)[0, :, 1, 0].tolist() == [6, 7, 8]

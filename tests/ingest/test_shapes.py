import pytest

from edgekit.errors import SourceError, UsageError
from edgekit.ingest.shapes import pinned


def test_sizes_that_the_source_fixes_stay():
    assert pinned({"x": (1, 3, 8, 8)}, {}) == {"x": (1, 3, 8, 8)}


def test_a_batch_that_alone_is_open_becomes_one():
    assert pinned({"x": ("N", 3, 8, 8), "y": (None, 4)}, {}) == {"x": (1, 3, 8, 8), "y": (1, 4)}


def test_sizes_can_be_given_without_a_name_for_the_only_input():
    assert pinned({"x": ("N", 3, "H", "W")}, {"": (2, 3, 16, 32)}) == {"x": (2, 3, 16, 32)}


def test_a_word_keeps_a_size_open_under_this_name():
    assert pinned({"x": (None, 3, "H", None)}, {"x": ("batch", 3, 16, "width")}) == {"x": ("batch", 3, 16, "width")}


def test_an_input_of_unknown_rank_takes_what_is_given():
    assert pinned({"x": None}, {"x": (1, 7)}) == {"x": (1, 7)}


def test_every_input_with_open_sizes_is_named_with_its_axes_and_the_remedy():
    with pytest.raises(SourceError) as caught:
        pinned({"image": (None, "H", "W", 3), "ids": ("N", "length"), "z": None}, {})
    assert caught.value.message == (
        "sizes are missing: input image is open in axis 0, axis 1 (H), axis 2 (W); input ids is open in axis 0 (N), axis 1 (length); "
        "input z has no shape"
    )
    assert "--shape image:1,224,224,3" in caught.value.hint


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"imag": (1, 8)}, "imag: no such input; did you mean image?"),
        ({"image": (1, 8, 8)}, "3 sizes for an input of 2: ?,8"),
        ({"image": (1, 9)}, "axis 1 is fixed at 8 in the source, not 9"),
        ({"image": (1, "W")}, "axis 1 is fixed at 8 in the source, not W"),
        ({"image": (0, 8)}, "sizes are 1 or more"),
        ({"": (1, 8)}, "without a name, and the model has the inputs image, other"),
    ],
)
def test_what_does_not_fit_the_source_is_a_usage_error(wanted, said):
    with pytest.raises(UsageError) as caught:
        pinned({"image": (None, 8), "other": (1, 2)}, wanted)
    assert said in caught.value.message
